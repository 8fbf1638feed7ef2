"""bfloat16 against float32 on the CPU: what a step says in both, within stated tolerances."""

from typing import Any

import pytest
import torch

from smar_core.config import LossConfig, RuntimeConfig
from smar_core.losses.objectives import PretrainingObjective
from smar_core.training.gradients import BatchGradients
from smar_core.training.sampler import Batch

LEAST_COSINE = 0.9995
LOSS_TOLERANCE = 0.005
LEAST_GRADIENT_COSINE = 0.999


@pytest.mark.parametrize(
    ("fusion", "patch_stem"),
    [("cross_attention", "linear"), ("cross_attention", "convolution"), ("pooled", "linear"), ("early_concatenation", "linear")],
)
@pytest.mark.parametrize(("temperature", "chunk_size"), [(0.1, None), (0.1, 3), (LossConfig().temperature, None)])
def test_bfloat16_is_near_float32(
    workbench: Any, batch: Batch, fusion: str, patch_stem: str, temperature: float, chunk_size: int | None
) -> None:
    """Cosine of every embedding, the loss, and the direction of the whole gradient; a low temperature magnifies what differs."""
    found = {}
    for precision in ("float32", "bfloat16"):
        model = workbench.model(fusion=fusion, patch_stem=patch_stem).train()
        encoder = workbench.encoder(model, RuntimeConfig(device="cpu", precision=precision))
        with torch.no_grad():
            embeddings = {"query": encoder.queries(batch), **encoder.items(batch)}
        loss, _ = BatchGradients(encoder, PretrainingObjective(LossConfig(temperature=temperature)), chunk_size)(batch, 0)
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found[precision] = embeddings, float(loss), gradient
    (embeddings, loss, gradient), (rough_embeddings, rough_loss, rough_gradient) = found["float32"], found["bfloat16"]
    for tower, x in embeddings.items():
        assert rough_embeddings[tower].dtype == torch.float32
        cosine = (x * rough_embeddings[tower]).sum(dim=1)
        assert cosine[x.norm(dim=1) > 0].min() > LEAST_COSINE, tower
        assert not torch.equal(x, rough_embeddings[tower])
    assert rough_loss == pytest.approx(loss, rel=LOSS_TOLERANCE)
    assert torch.cosine_similarity(gradient, rough_gradient, dim=0) > LEAST_GRADIENT_COSINE
