"""Settings that somebody wrote and nothing would read: each is a mistake, and said to be one.

What is looked at is what was written for one configuration, whatever its value. Presets are not: ``paper`` has the depth of an
image tower, and the variant ``dpsr``, which has no such tower, may still be laid over it. Nor is what several configurations
share (``load_config``'s ``shared``), as long as one of them reads it. Left out: settings that contradict each other, which are
wrong wherever they come from; the sections' own validators refuse those.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from smar_core.config.pipeline import PipelineConfig
from smar_core.errors import UserError


@dataclass(frozen=True)
class Rule:
    """Keys that are read only under some values of another key.

    Attributes:
        keys: ``section.key`` each.
        by: The other key.
        is_read: Whether they are, by its value.
        remedy: What would give them a part: an imperative clause.
    """

    keys: tuple[str, ...]
    by: str
    is_read: Callable[[Any], bool]
    remedy: str


def _under(by: str, values: tuple[str, ...], keys: tuple[str, ...]) -> Rule:
    return Rule(keys, by, lambda value: value in values, f"set {by} to {' or '.join(values)}")


def _with_tower(tower: str, keys: tuple[str, ...]) -> Rule:
    return Rule(keys, "model.item_towers", lambda towers: tower in towers, f"choose a variant with the {tower} tower")


def _from_scratch(encoder: str, keys: tuple[str, ...]) -> Rule:
    return Rule(keys, encoder, lambda source: source is None, f"leave {encoder} out")


def _above_0(by: str, keys: tuple[str, ...]) -> Rule:
    return Rule(keys, by, lambda value: value > 0, f"set {by} above 0")


_HEADER = ("num_steps", "batch_size", "learning_rate", "weight_decay", "hidden_size", "seed")
_MINING = ("mine_every_steps", "hard_negative_depth", "hard_negative_margin")
_STEPS = (
    "batch_size",
    "queries_per_item",
    "chunk_size",
    "learning_rate",
    "warmup_share",
    "weight_decay",
    "max_grad_norm",
    "validate_every_steps",
    "checkpoint_every_steps",
    "hard_negatives",
)
_DRAWING = ("synthetic.sampling", "synthetic.max_item_share", "synthetic.max_redraws", "pretrain.synthetic_share")

RULES = (
    _above_0("synthetic.ratio", _DRAWING),
    _under("synthetic.sampling", ("uniform",), ("synthetic.max_redraws",)),
    _under("beam.runner", ("embedded",), ("beam.num_workers",)),
    _with_tower("text", ("model.num_text_layers", "model.max_item_tokens", "model.text_encoder")),
    _with_tower("image", ("model.num_image_layers", "model.patch_size_px", "model.patch_stem", "model.image_encoder")),
    _with_tower("multimodal", ("model.num_fusion_layers", "model.fusion")),
    _under("model.fusion", ("cross_attention", "early_concatenation"), ("model.num_fusion_layers",)),
    _from_scratch("model.query_encoder", ("model.num_query_layers",)),
    _from_scratch("model.text_encoder", ("model.num_text_layers",)),
    _from_scratch("model.image_encoder", ("model.num_image_layers", "model.patch_size_px", "model.patch_stem")),
    _under("loss.kind", ("info_nce",), ("loss.temperature",)),
    _under("loss.kind", ("hinge",), ("loss.margin",)),
    _under("loss.weights", ("per_category", "per_pair"), ("loss.weight_entropy",)),
    *(_above_0(f"{stage}.num_steps", tuple(f"{stage}.{key}" for key in _STEPS)) for stage in ("pretrain", "finetune")),
    _above_0(
        "pretrain.num_steps",
        ("pretrain.synthetic_share", "loss.alpha", "loss.beta", "loss.gamma", "loss.weights", "loss.weight_entropy"),
    ),
    _above_0(
        "finetune.num_steps",
        ("finetune.dropout", "finetune.gate_weighting", "finetune.text_weight", "finetune.freeze", "finetune.seed"),
    ),
    *(_above_0(f"{stage}.hard_negatives", tuple(f"{stage}.{key}" for key in _MINING)) for stage in ("pretrain", "finetune")),
    _under("gate.mode", ("learned",), tuple(f"gate.{key}" for key in _HEADER)),
    _under("gate.mode", ("learned",), ("finetune.gate_weighting", "finetune.text_weight")),
    _under("export.index", ("hnsw",), ("export.hnsw_num_links", "export.hnsw_build_depth", "export.hnsw_search_depth")),
    _under("export.index", ("ivf_pq",), ("export.ivf_num_lists", "export.ivf_num_probes", "export.pq_num_codes")),
    _under("export.index", ("hnsw", "ivf_pq"), ("export.seed",)),
    _under("gate.mode", ("learned", "always_multimodal", "always_image"), ("evaluate.reliance",)),
    _under("gate.mode", ("learned", "always_multimodal"), ("evaluate.num_examples",)),
    _under("runtime.launcher", ("trainjob",), ("runtime.num_nodes",)),
)
"""Which settings depend on which."""


def find_ignored(config: PipelineConfig, overrides: Iterable[str]) -> dict[str, UserError]:
    """Return the overrides that a configuration does not read, each with the error that says why.

    Args:
        config: The whole configuration.
        overrides: ``section.key=value`` each.

    >>> list(find_ignored(PipelineConfig(), ["loss.margin=0.2", "loss.temperature=0.1"]))
    ['loss.margin=0.2']
    """
    found = {}
    for override in overrides:
        key = override.partition("=")[0].strip()
        rule = next((rule for rule in RULES if key in rule.keys and not rule.is_read(_value(config, rule.by))), None)
        if rule is not None:
            problem = f"{key} ({_value(config, key)}) plays no part in {rule.by} {_value(config, rule.by)}"
            found[override] = UserError(problem, f"leave {key} out, or {rule.remedy}")
    return found


def _value(config: PipelineConfig, key: str) -> Any:
    """Return the value of ``section.key``, as JSON has it."""
    section, field = key.split(".")
    value = getattr(getattr(config, section), field)
    return list(value) if isinstance(value, tuple) else value
