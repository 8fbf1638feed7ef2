"""Modality reliance: what the rankings lose when the pictures say something else, or nothing.

The catalogue is encoded again with ``shuffled`` pictures, where every item is shown with those of another one, and with
``blank`` ones, the mean colour of the catalogue; texts, queries and routing stay as they are. A model that gains from its
pictures must lose that gain when they are wrong. Shuffled pictures look as real as ever, so they ask whether it matters that
picture and item belong together; blank ones ask what is left without any, though nothing like them was seen in training.
Either costs one more encoding of the catalogue. Left out: shuffling within a category, which would keep what the pictures of
a category have in common.

Shapes: N items, V views of an item, H x W pixels, Q queries, S resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smar_core.artifact import Artifact
from smar_core.config import EvaluateConfig
from smar_core.evaluation.bootstrap import percentile_interval, resample_means
from smar_core.evaluation.measures import Values
from smar_core.evaluation.slices import Mask
from smar_core.evaluation.summary import SystemValues, summarise
from smar_core.evaluation.systems import EncodedTest, route
from smar_core.model.encoding import encode_catalogue
from smar_core.model.modeling import SmarModel
from smar_core.model.pictures import Pictures, PictureStore
from smar_core.model.tokens import TextTokenizer
from smar_core.progress import Progress
from smar_core.retrieval.bundle import id_order
from smar_core.retrieval.exact import Ranking, exact_search
from smar_core.retrieval.truncation import truncate

MEASURE = "R@50"
MAX_PICTURES_OF_MEAN = 4096
"""Most items, evenly spread over the catalogue, whose pictures give the mean colour."""
_BATCH = 256


@dataclass(frozen=True)
class ShuffledPictures:
    """Pictures of which each item with any is given another such item's.

    Attributes:
        has_image: [N] bool, as before.
        pictures: The true ones.
        source_N: Item row whose pictures an item is given.
    """

    has_image: NDArray[np.bool_]
    pictures: Pictures
    source_N: NDArray[np.int64]

    @classmethod
    def draw(cls, pictures: Pictures, seed: int) -> "ShuffledPictures":
        """Draw one cycle through all items that have a picture: nobody keeps his own, unless he is the only one."""
        cycle = np.random.default_rng(seed).permutation(np.flatnonzero(pictures.has_image))
        source_N = np.arange(len(pictures.has_image))
        source_N[cycle] = np.roll(cycle, 1)
        return cls(pictures.has_image, pictures, source_N)

    def take(self, rows: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """Return pixels [n, V, H, W, 3] and has_view [n, V] of the items whose pictures those rows are given."""
        return self.pictures.take(self.source_N[rows])


@dataclass(frozen=True)
class BlankPictures:
    """Pictures of one colour, where there is a picture.

    Attributes:
        has_image: [N] bool, as before.
        pictures: The true ones.
        colour_C: uint8 [3].
    """

    has_image: NDArray[np.bool_]
    pictures: Pictures
    colour_C: Tensor

    @classmethod
    def of_mean_colour(cls, pictures: Pictures) -> "BlankPictures":
        """Return pictures of the catalogue's mean colour; black where it has none."""
        with_image = np.flatnonzero(pictures.has_image)
        chosen = with_image[:: max(1, -(-len(with_image) // MAX_PICTURES_OF_MEAN))]
        sum_C, num_pixels = torch.zeros(3, dtype=torch.int64), 0
        for start in range(0, len(chosen), _BATCH):
            pixels_NVHWC, has_view_NV = pictures.take(chosen[start : start + _BATCH])
            pixels_KHWC = pixels_NVHWC[has_view_NV]
            sum_C += pixels_KHWC.sum(dim=(0, 1, 2))
            num_pixels += pixels_KHWC[..., 0].numel()
        mean_C = sum_C.double() / max(1, num_pixels)
        return cls(pictures.has_image, pictures, mean_C.round().to(torch.uint8))

    def take(self, rows: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """Return pixels [n, V, H, W, 3], all of one colour, and has_view [n, V] of item rows."""
        pixels_NVHWC, has_view_NV = self.pictures.take(rows)
        return self.colour_C.expand_as(pixels_NVHWC).contiguous(), has_view_NV


def rank_disturbed(
    finetuned: Artifact,
    items: Artifact,
    encoded: EncodedTest,
    rankings: Mapping[str, Ranking],
    top_k: int,
    *,
    config: EvaluateConfig,
    device: torch.device,
    progress: Progress,
) -> dict[str, dict[str, Ranking]]:
    """Rank the catalogue for every test query with each kind of disturbed pictures.

    Args:
        finetuned: The model of the bundle.
        items: The catalogue.
        encoded: Test queries and their routing.
        rankings: Of the true pictures; of them ``text_only`` answers the queries that are routed to the text.
        top_k: Places of a ranking.
        config: Batch size and seed.
        device: Where items are encoded.
        progress: Told about the items encoded.

    Returns:
        By kind, ``shuffled`` and ``blank``, the rankings of ``model`` and, where queries may be routed to it, ``multimodal``.
    """
    model = SmarModel.from_pretrained(finetuned.path)
    tokenizer = TextTokenizer.load(finetuned.path / "tokenizer.json")
    pictures = PictureStore.open(items)
    disturbed: dict[str, Pictures] = {
        "shuffled": ShuffledPictures.draw(pictures, config.seed),
        "blank": BlankPictures.of_mean_colour(pictures),
    }
    found: dict[str, dict[str, Ranking]] = {}
    for kind, shown in disturbed.items():
        embeddings = encode_catalogue(
            model, tokenizer, items, pictures=shown, batch_size=config.batch_size, device=device, progress=progress
        )
        order = id_order(embeddings.item_ids)
        represented = encoded.gate.represent(embeddings.item_ids, embeddings.by_tower)
        num_dims = encoded.query_QD.shape[1]
        by_modality = {
            modality: rankings["text_only"]
            if modality == "text"
            else exact_search(encoded.query_QD, truncate(item_ND[order], num_dims), top_k)
            for modality, item_ND in represented.items()
        }
        found[kind] = {"model": route([by_modality[modality] for modality in encoded.modalities], encoded.route)}
        if "multimodal" in by_modality:
            found[kind]["multimodal"] = by_modality["multimodal"]
    return found


def measure_reliance(
    values: SystemValues, disturbed: Mapping[str, SystemValues], slices: Mapping[str, Mask], config: EvaluateConfig
) -> dict[str, Any]:
    """Compare the rankings of disturbed pictures with those of the true ones.

    Args:
        values: Values [Q] by system and measure with the true pictures.
        disturbed: The same by kind, of the systems that look at pictures.
        slices: Mask over the queries by name.
        config: Resamples, confidence and seed.

    Returns:
        By kind: ``scores`` by system; ``loss``, true less disturbed, by system; and ``share_of_gain_lost`` by system and
        slice, as ``share_of_gain`` gives it, where there is a text index to gain over.
    """
    reliance: dict[str, Any] = {}
    for kind, of_kind in disturbed.items():
        both = {f"true {system}": values[system] for system in of_kind} | dict(of_kind)
        scores, loss = summarise(both, slices, [(f"true {system}", system) for system in of_kind], config)
        reliance[kind] = {
            "scores": {system: scores[system] for system in of_kind},
            "loss": {system: loss[f"true {system} - {system}"] for system in of_kind},
        }
        if "text_only" in values:
            text_Q = values["text_only"][MEASURE]
            reliance[kind]["share_of_gain_lost"] = {
                system: {
                    name: share_of_gain(values[system][MEASURE][mask], of_kind[system][MEASURE][mask], text_Q[mask], config)
                    for name, mask in slices.items()
                    if mask.any()
                }
                for system in of_kind
            }
    return reliance


def share_of_gain(true_Q: Values, disturbed_Q: Values, text_Q: Values, config: EvaluateConfig) -> dict[str, float] | None:
    """Return (true - disturbed) / (true - text) of the means, with its paired bootstrap interval.

    1 means that the whole gain over text is lost, above 1 that wrong pictures are worse than none. None when the gain's own
    interval holds 0: a share of what may be nothing means nothing.
    """
    sample_SM = resample_means(np.stack([true_Q, disturbed_Q, text_Q], axis=1), config.num_bootstrap_samples, config.seed)
    gain_S, lost_S = sample_SM[:, 0] - sample_SM[:, 2], sample_SM[:, 0] - sample_SM[:, 1]
    gain = percentile_interval((true_Q - text_Q).mean().item(), gain_S, config.confidence)
    if gain.low <= 0:
        return None
    is_gain_S = gain_S > 0
    value = (true_Q - disturbed_Q).mean().item() / gain.value
    return percentile_interval(value, lost_S[is_gain_S] / gain_S[is_gain_S], config.confidence).as_json()
