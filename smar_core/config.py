"""The configuration: one frozen model a concern, nested into ``PipelineConfig``.

Each stage is handed only its own sections (``STAGE_SECTIONS``), so that a changed evaluation setting never re-trains.
Image size and vocabulary are set once, in ``prepare``; model, export and search read them from the artifacts.
"""

import difflib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from smar_core.errors import UserError

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Tower = Literal["query", "text", "image", "multimodal"]
ItemTower = Literal["text", "image", "multimodal"]
Fusion = Literal["cross_attention", "pooled", "early_concatenation"]
TEMPERATURE_RANGE = (0.01, 1.0)
"""Bounds of a learned temperature."""


class Section(BaseModel):
    """Base of every section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth(cls, value: Any) -> Any:
        """No setting is a truth value, and YAML's yes and on must not become the number 1."""
        if isinstance(value, bool):
            raise ValueError(f"{str(value).lower()} is no value for it: give a number or a word, in quotes if need be")
        return value


def _refuse_ignored(section: Section, names: Iterable[str], because: str, remedy: str) -> None:
    """Raise ValueError for a setting that nothing would read; one at its default counts as not given.

    Args:
        section: The section that is validated.
        names: Fields that play no part.
        because: The field, and its value, that leaves them none.
        remedy: What would give them a part.
    """
    for name in names:
        value = getattr(section, name)
        if value != type(section).model_fields[name].default:
            raise ValueError(f"{name} ({value}) plays no part in {because}: leave {name} out, or {remedy}")


class PrepareConfig(Section):
    """Data preparation: cleaning, images, splits, tokenizer."""

    image_width_px: Positive = Field(48, description="width to which every picture is letterboxed")
    image_height_px: Positive = Field(64, description="height to which every picture is letterboxed")
    max_views: Positive = Field(3, description="pictures of an item that are kept, in the order in which they are listed")
    vocab_size: Annotated[int, Field(ge=64)] = Field(8000, description="largest size of the WordPiece vocabulary")
    test_share: Share = Field(0.1, description="last share of the log's time span that becomes the test days")
    validation_share: Share = Field(0.1, description="share of the time span before the test days")
    crawler_max_events: Positive = Field(100, description="a session with more events than this may be a crawler ...")
    crawler_min_click_rate: Share = Field(0.8, description="... and is one when its click rate is above this")
    max_reject_share: Share = Field(0.05, description="share of unusable rows, or of broken pictures, that fails the stage")
    num_shards: Positive = Field(8, description="files a table is written to")

    @model_validator(mode="after")
    def _check_split(self) -> "PrepareConfig":
        if self.test_share <= 0 or self.validation_share <= 0 or self.test_share + self.validation_share >= 1:
            raise ValueError(
                f"test_share ({self.test_share}) and validation_share ({self.validation_share}) must both be above 0 and "
                "leave something for training: choose two that add up to less than 1"
            )
        return self


class SyntheticConfig(Section):
    """Synthetic queries by Random Substring Retrieval."""

    ratio: Annotated[float, Field(ge=0)] = Field(100.0, description="synthetic queries a distinct true training query")
    sampling: Literal["uniform", "matched"] = Field(
        "uniform", description="lengths and places drawn evenly, or by the lengths and fields of the true training queries"
    )
    max_words: Positive = Field(6, description="longest synthetic query, in words")
    max_item_share: Share = Field(0.002, description="a query that fits more than this share of the items is redrawn")
    max_redraws: Count = Field(8, description="draws after the first before an item gives a query up")
    num_shards: Positive = Field(8, description="files a table is written to")
    seed: Seed = 0


class ModelConfig(Section):
    """The towers. Image size and vocabulary come from the prepared data."""

    item_towers: tuple[ItemTower, ...] = Field(
        ("text", "image", "multimodal"), description="towers that represent an item; what is not named is not built"
    )
    fusion: Fusion = Field(
        "cross_attention",
        description="multimodal tower: text attends to patches; pooled text and image joined; or one sequence of both",
    )
    hidden_size: Positive = Field(144, description="width of every tower")
    embed_dim: Positive = Field(144, description="length of an embedding")
    num_heads: Positive = Field(12, description="attention heads of every layer")
    feed_forward_size: Positive = Field(576, description="inner width of a layer's feed-forward part")
    num_query_layers: Positive = 4
    num_text_layers: Positive = 1
    num_image_layers: Positive = 2
    num_fusion_layers: Positive = Field(
        1, description="layers of the multimodal tower; early_concatenation adds the image tower's"
    )
    patch_size_px: Positive = Field(16, description="side of a square image patch")
    patch_init: Literal["random", "pca"] = Field(
        "random", description="start of the patch projection: noise, or whitened principal components of the catalogue's patches"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_query_tokens: Positive = 16
    max_item_tokens: Positive = 40
    query_encoder: str | None = Field(None, description="local folder or hub name of a text checkpoint to start from")
    text_encoder: str | None = Field(None, description="local folder or hub name of a text checkpoint to start from")
    image_encoder: str | None = Field(None, description="local folder or hub name of a vision checkpoint to start from")

    @model_validator(mode="after")
    def _check_heads(self) -> "ModelConfig":
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must divide by num_heads ({self.num_heads}): "
                f"choose {self.hidden_size // self.num_heads * self.num_heads or self.num_heads} or another multiple"
            )
        return self

    @model_validator(mode="after")
    def _check_towers(self) -> "ModelConfig":
        towers = self.item_towers
        if not towers or len(set(towers)) != len(towers):
            raise ValueError(f"item_towers {list(towers)} is empty or names a tower twice: name each wanted tower once")
        if "multimodal" in towers and not {"text", "image"} <= set(towers):
            raise ValueError(f"item_towers {list(towers)} has multimodal without both text and image: add them")
        if self.patch_init == "pca" and (self.image_encoder or "image" not in towers):
            raise ValueError(
                f"patch_init pca starts an image tower from scratch, and item_towers is {list(towers)} with image_encoder "
                f"{self.image_encoder!r}: set patch_init to random"
            )
        if self.fusion == "early_concatenation" and (self.text_encoder or self.image_encoder):
            raise ValueError(
                "fusion early_concatenation joins token and patch embeddings, which a text_encoder or image_encoder does not "
                "give: leave both encoders out, or choose another fusion"
            )
        return self


class LossConfig(Section):
    """The objective of pre-training and the shape of every contrastive loss."""

    kind: Literal["info_nce", "hinge"] = Field("info_nce", description="softmax cross-entropy, or DPSR's margin form")
    temperature: Annotated[float, Field(gt=0)] = Field(1 / 30, description="divides the cosine in info_nce")
    margin: Annotated[float, Field(gt=0)] = Field(0.1, description="margin of the hinge")
    alpha: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of L_t, query against item text")
    beta: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of L_i, query against item image")
    gamma: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of L_m, query against multimodal item")
    weights: Literal["fixed", "per_category", "uncertainty", "per_pair"] = Field(
        "fixed",
        description="alpha, beta and gamma as they are; or the start of weights that are learned, for each top category of "
        "the item, for each loss by its uncertainty, or for each pair by its query",
    )
    weight_entropy: Annotated[float, Field(ge=0)] = Field(
        1.0, description="weight of the entropy of per_category and per_pair weights; 0 lets them end on the easiest loss"
    )
    temperature_mode: Literal["fixed", "learned"] = Field(
        "fixed", description="learned: each stage trains the temperature with the towers, between 0.01 and 1"
    )
    popularity: Literal["none", "logq"] = Field(
        "none", description="logq: an item's logit less the log of its probability to be in a batch"
    )
    matryoshka_dims: tuple[Positive, ...] = Field(
        (), description="lengths below embed_dim at which the first dimensions are trained to be embeddings by themselves"
    )

    @model_validator(mode="after")
    def _check_weights(self) -> "LossConfig":
        num_parts = sum(weight > 0 for weight in (self.alpha, self.beta, self.gamma))
        if not num_parts:
            raise ValueError("alpha, beta and gamma are all 0: set at least one above 0")
        if self.weights != "fixed" and num_parts < 2:
            raise ValueError(
                f"weights {self.weights} has one loss to weigh (alpha {self.alpha}, beta {self.beta}, gamma {self.gamma}): "
                "set a second above 0, or weights to fixed"
            )
        return self

    @model_validator(mode="after")
    def _check_softmax(self) -> "LossConfig":
        low, high = TEMPERATURE_RANGE
        for name, value in (("temperature_mode", self.temperature_mode), ("popularity", self.popularity)):
            if self.kind == "hinge" and value in ("learned", "logq"):
                raise ValueError(f"{name} {value} has no meaning for kind hinge: leave it out, or set kind to info_nce")
        if self.temperature_mode == "learned" and not low <= self.temperature <= high:
            raise ValueError(
                f"temperature ({self.temperature}) is outside what temperature_mode learned allows: "
                f"choose a start from {low} to {high}"
            )
        return self

    @model_validator(mode="after")
    def _check_ignored(self) -> "LossConfig":
        unused, other = ("temperature", "info_nce") if self.kind == "hinge" else ("margin", "hinge")
        _refuse_ignored(self, [unused], f"kind {self.kind}", f"set kind to {other}")
        if self.weights in ("fixed", "uncertainty"):
            _refuse_ignored(self, ["weight_entropy"], f"weights {self.weights}", "set weights to per_category or per_pair")
        return self

    @model_validator(mode="after")
    def _check_matryoshka(self) -> "LossConfig":
        if len(set(self.matryoshka_dims)) < len(self.matryoshka_dims):
            raise ValueError(f"matryoshka_dims {list(self.matryoshka_dims)} names a length twice: name each once")
        return self


class OptimiserConfig(Section):
    """What pre-training and fine-tuning share: the optimiser, its schedule, and when to look."""

    batch_size: Positive = Field(384, description="(query, item) pairs a step")
    queries_per_item: Positive = Field(3, description="pairs of a batch that share an item, encoded once; 1: no grouping")
    chunk_size: Positive | None = Field(
        None, description="pairs encoded at a time; the loss is still that of the whole batch; absent: all at once"
    )
    num_steps: Count = Field(1000, description="optimiser steps; 0 skips the training")
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    warmup_share: Share = Field(0.05, description="share of the steps over which the rate rises; then a cosine to 0")
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    validate_every_steps: Positive = Field(250, description="steps between looks at the validation days")
    validation_queries: Positive = Field(1000, description="validation queries used for a look during training")
    checkpoint_every_steps: Positive = Field(100, description="steps between checkpoints from which a killed run resumes")
    hard_negatives: Count = Field(
        0, description="items a batch gets beside those of its pairs, mined from the current model as negatives; 0: none"
    )
    mine_every_steps: Positive = Field(250, description="steps between minings of hard negatives, the first before step 1")
    hard_negative_depth: Positive = Field(50, description="best-ranked items of a query among which hard negatives are sought")
    hard_negative_margin: Share = Field(
        0.05, description="an item above (1 - this) of the positive's score is taken for a false negative and skipped"
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_batch(self) -> "OptimiserConfig":
        if self.batch_size <= self.queries_per_item:
            raise ValueError(
                f"batch_size ({self.batch_size}) must be above queries_per_item ({self.queries_per_item}), else a batch "
                f"holds one item and no negative: choose at least {2 * self.queries_per_item}"
            )
        return self

    @model_validator(mode="after")
    def _check_mining(self) -> "OptimiserConfig":
        if not self.hard_negatives:
            names = ("mine_every_steps", "hard_negative_depth", "hard_negative_margin")
            _refuse_ignored(self, names, "hard_negatives 0", "set hard_negatives above 0")
        return self


class PretrainConfig(OptimiserConfig):
    """Multi-task pre-training on clicks and synthetic queries."""

    num_steps: Count = 1800
    validate_every_steps: Positive = 450
    synthetic_share: Share = Field(0.5, description="share of a batch's pairs that are synthetic")


class FinetuneConfig(OptimiserConfig):
    """Fine-tuning on clicks: P(q) * L_m + (1 - P(q)) * L_t."""

    num_steps: Count = 500
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    gate_weighting: Literal["soft", "hard"] = Field("soft", description="P(q) as a probability, or as a decision")
    text_weight: Annotated[float, Field(ge=0)] = Field(
        0.1, description="least weight of L_t under a learned gate, keeps the text index alive"
    )
    freeze: tuple[Tower, ...] = Field((), description="towers that do not move")

    @model_validator(mode="after")
    def _check_freeze(self) -> "FinetuneConfig":
        if self.num_steps and set(self.freeze) == set(get_args(Tower)):
            raise ValueError("freeze names every tower, so nothing would move: name fewer, or set num_steps to 0")
        return self


class GateConfig(Section):
    """The prediction header P: does the picture help this query, or to find this item?"""

    mode: Literal["learned", "always_text", "always_multimodal", "always_image"] = Field(
        "learned", description="P decides between text and multimodal, or one representation answers every query"
    )
    supervision: Literal["category", "utility"] = Field(
        "category", description="what P learns: whether clicks fall on visual items, or how much better S_m finds them than S_t"
    )
    side: Literal["query", "item"] = Field(
        "query", description="P(q) routes a query to one of two indexes, or P(item) chooses what represents it in a single one"
    )
    visual_categories: tuple[str, ...] = Field(
        ("Apparel", "Footwear", "Accessories"), description="prefixes of the category path whose items are visual"
    )
    num_steps: Positive = Field(400, description="optimiser steps of the header")
    batch_size: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    hidden_size: Positive = Field(64, description="width of the header's hidden layer")
    num_bins: Positive = Field(10, description="bins of the calibration error and of the histogram")
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_categories(self) -> "GateConfig":
        if not self.visual_categories or not all(c.strip() for c in self.visual_categories):
            raise ValueError("visual_categories is empty or holds a blank: name at least one category prefix")
        return self

    @model_validator(mode="after")
    def _check_mode(self) -> "GateConfig":
        for name, value, default in (("supervision", self.supervision, "category"), ("side", self.side, "query")):
            if self.mode != "learned" and value != default:
                raise ValueError(
                    f"{name} {value} says how P is learned, and mode is {self.mode}: set mode=learned, or leave {name} out"
                )
        return self


class ExportConfig(Section):
    """Embeddings and the approximate index."""

    index: Literal["flat", "hnsw", "ivf_pq"] = "hnsw"
    batch_size: Positive = Field(256, description="items encoded at a time")
    num_dims: Positive | None = Field(
        None, description="first dimensions of the embeddings that are kept, one of loss.matryoshka_dims; absent: all"
    )
    hnsw_num_links: Annotated[int, Field(ge=2)] = 32
    hnsw_build_depth: Positive = 200
    hnsw_search_depth: Positive = 128
    ivf_num_lists: Positive = Field(64, description="coarse cells; lowered to what the catalogue allows, and recorded")
    ivf_num_probes: Positive = 16
    pq_num_codes: Positive = Field(24, description="product-quantiser codes an embedding; must divide its length")
    seed: Seed = 0


class EvaluateConfig(Section):
    """Measures, intervals and the report."""

    split: Literal["test", "validation"] = Field(
        "test", description="days that are evaluated; choose between settings on validation"
    )
    cutoffs: tuple[Positive, ...] = (10, 50, 100)
    min_slice_queries: Positive = Field(30, description="a category of fewer test queries has no slice of its own")
    num_synthetic_queries: Count = Field(300, description="held-out synthetic queries that are measured beside the true ones")
    num_bootstrap_samples: Positive = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    batch_size: Positive = Field(256, description="queries or items encoded at a time")
    num_examples: Count = Field(8, description="queries of the report whose results are shown as pictures")
    reliance: Literal["measured", "skipped"] = Field(
        "measured", description="rank with shuffled and with blank pictures too; encodes the catalogue twice more"
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _check_cutoffs(self) -> "EvaluateConfig":
        if not {10, 50}.issubset(self.cutoffs):
            raise ValueError(f"cutoffs {list(self.cutoffs)} must hold 10 and 50, the cutoffs of the summary: add them")
        return self


class TrackingConfig(Section):
    """MLflow. Not part of any stage's cache key."""

    uri: str | None = Field(None, description="tracking server; absent: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db")
    experiment: str = Field("smar", min_length=1)
    model_name: str = Field("smar", min_length=1, description="name under which the bundle is registered")
    run_name: str | None = None


class RuntimeConfig(Section):
    """The machine: what may be used, and how much of it."""

    num_threads: Positive = Field(2, description="torch threads; another number gives other weights")
    num_processes: Positive = Field(
        1, description="processes that train one model together, on one GPU or on num_threads / num_processes threads each"
    )
    num_workers: Positive = Field(2, description="Beam worker processes; the output does not depend on it")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on CUDA, else float32")


class PipelineConfig(Section):
    """Everything that one pipeline run is configured by."""

    prepare: PrepareConfig = PrepareConfig()
    synthetic: SyntheticConfig = SyntheticConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    pretrain: PretrainConfig = PretrainConfig()
    gate: GateConfig = GateConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    export: ExportConfig = ExportConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    tracking: TrackingConfig = TrackingConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _check_across(self) -> "PipelineConfig":
        patch, prepare = self.model.patch_size_px, self.prepare
        for name, size in (("image_width_px", prepare.image_width_px), ("image_height_px", prepare.image_height_px)):
            if self.model.image_encoder is None and size % patch:
                raise ValueError(
                    f"prepare.{name} ({size}) must divide by model.patch_size_px ({patch}): "
                    f"choose {size // patch * patch or patch}"
                )
        self._check_parts()
        self._check_lengths()
        self._check_popularity()
        return self

    def _check_lengths(self) -> None:
        """Lengths of an embedding: those that are trained, the one that is exported, and what it is cut into."""
        embed_dim, trained, exported = self.model.embed_dim, self.loss.matryoshka_dims, self.export.num_dims
        if any(num_dims >= embed_dim for num_dims in trained):
            raise ValueError(
                f"loss.matryoshka_dims {list(trained)} must all be below model.embed_dim ({embed_dim}), which is trained anyway: "
                "leave the others out"
            )
        if exported is not None and exported not in (*trained, embed_dim):
            raise ValueError(
                f"export.num_dims ({exported}) is neither model.embed_dim ({embed_dim}) nor one of loss.matryoshka_dims "
                f"{list(trained)}: add it to them, or leave it out"
            )
        name, length = ("model.embed_dim", embed_dim) if exported is None else ("export.num_dims", exported)
        if self.export.index == "ivf_pq" and length % self.export.pq_num_codes:
            raise ValueError(
                f"{name} ({length}) must divide by export.pq_num_codes ({self.export.pq_num_codes}): choose a divisor"
            )

    def _check_popularity(self) -> None:
        """The correction knows how the sampler draws items, not how likely one is to be mined."""
        for stage, config in (("pretrain", self.pretrain), ("finetune", self.finetune)):
            if self.loss.popularity == "logq" and config.hard_negatives:
                raise ValueError(
                    f"loss.popularity logq does not hold for items that are mined, and {stage}.hard_negatives "
                    f"({config.hard_negatives}) asks for them: set loss.popularity to none, or hard_negatives to 0"
                )

    def _check_parts(self) -> None:
        """Losses, gate and frozen towers may name only towers that are built."""
        towers = self.model.item_towers
        wanted = {
            "loss.alpha": ("text", self.loss.alpha > 0),
            "loss.beta": ("image", self.loss.beta > 0),
            "loss.gamma": ("multimodal", self.loss.gamma > 0),
            f"gate.mode {self.gate.mode}": (
                "multimodal" if self.gate.mode == "learned" else self.gate.mode.removeprefix("always_"),
                True,
            ),
            **{f"finetune.freeze {tower}": (tower, tower != "query") for tower in self.finetune.freeze},
        }
        for name, (tower, is_wanted) in wanted.items():
            if is_wanted and tower not in towers:
                raise ValueError(
                    f"{name} needs the {tower} tower, and model.item_towers is {list(towers)}: add the tower, or choose a "
                    "variant, which sets all of them"
                )


STAGE_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "prepare_data": ("prepare", "runtime"),
    "generate_synthetic_queries": ("synthetic", "runtime"),
    "pretrain": ("model", "loss", "pretrain", "runtime"),
    "train_gate": ("gate", "runtime"),
    "finetune": ("loss", "finetune", "runtime"),
    "export_embeddings": ("export", "runtime"),
    "evaluate": ("evaluate", "runtime"),
}
"""Sections that each stage, in the order in which they run, is handed."""

PRESETS = ("demo", "study", "small", "paper")
"""Sizes: data, towers and steps for a machine and a shop."""

VARIANTS = ("smar", "smar-nc", "smar-concat", "smar-ni", "smar-nt", "smar-nm", "smar-always", "dpsr", "dpsr-i")
"""Models of the paper's comparison, laid over a preset: towers, losses and gate (PAPER.md 16)."""


def load_config(preset: str | None = None, overrides: Iterable[str] = (), variant: str = "smar") -> PipelineConfig:
    """Build the configuration from a preset, a variant and ``section.key=value`` overrides.

    Args:
        preset: One of ``PRESETS``; None takes the defaults, which are those of ``small``.
        overrides: Each ``section.key=value``, the value in YAML.
        variant: One of ``VARIANTS``; ``smar`` is the preset as it is.

    Raises:
        UserError: An unknown preset, variant, section or key, or a value that does not fit, naming it and the remedy.

    >>> load_config("demo", ["pretrain.num_steps=7"]).pretrain.num_steps
    7
    >>> load_config("demo", variant="dpsr").model.item_towers
    ('text',)
    """
    values = _read_preset(preset) if preset is not None else {}
    for section, settings in _read_variant(variant).items():
        values.setdefault(section, {}).update(settings)
    for override in overrides:
        _apply_override(values, override)
    return parse_config(values)


def override_config(config: PipelineConfig, overrides: Iterable[str]) -> PipelineConfig:
    """Return a configuration with ``section.key=value`` overrides applied; raises UserError as ``load_config`` does."""
    values = config.model_dump(mode="json")
    for override in overrides:
        _apply_override(values, override)
    return parse_config(values)


def parse_config(values: Mapping[str, Any]) -> PipelineConfig:
    """Validate nested values into a ``PipelineConfig``; raises UserError naming the key, its value and the remedy."""
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        raise _explain(error) from None


def _read_preset(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}", f"choose one of {', '.join(PRESETS)}")
    return _read_yaml(f"{name}.yaml")


def _read_variant(name: str) -> dict[str, Any]:
    if name not in VARIANTS:
        raise UserError(f"there is no variant {name!r}", f"choose one of {', '.join(VARIANTS)}{_did_you_mean(name, VARIANTS)}")
    return _read_yaml("variants", f"{name}.yaml")


def _read_yaml(*parts: str) -> dict[str, Any]:
    text = resources.files("smar_core").joinpath("presets", *parts).read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text) or {}
    return values


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    section, dot, field = key.strip().partition(".")
    if not equals or not dot or not section or not field:
        raise UserError(f"override {override!r} is not of the form section.key=value", "write for example pretrain.num_steps=200")
    _check_key(section, field)
    try:
        value = yaml.safe_load(text) if text.strip() else ""
    except yaml.YAMLError:
        raise UserError(f"the value of {key} ({text!r}) is not valid YAML", "quote it") from None
    values.setdefault(section, {})[field] = value


def _check_key(section: str, field: str) -> None:
    sections = PipelineConfig.model_fields
    if section not in sections:
        hint = _did_you_mean(section, sections)
        raise UserError(f"there is no config section {section!r}", f"choose one of {', '.join(sections)}{hint}")
    model = sections[section].annotation
    assert isinstance(model, type) and issubclass(model, Section)
    if field not in model.model_fields:
        raise UserError(
            f"config section {section!r} has no key {field!r}",
            f"choose one of {', '.join(model.model_fields)}{_did_you_mean(field, model.model_fields)}",
        )


def _did_you_mean(word: str, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _explain(error: ValidationError) -> UserError:
    first = error.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        parts = [str(part) for part in first["loc"]]
        if len(parts) > 1:
            try:
                _check_key(parts[0], parts[1])
            except UserError as unknown:
                return unknown
        return UserError(f"unknown config key {location!r}", "remove it or correct its spelling")
    if first["type"] == "value_error":
        problem, _, remedy = str(first["ctx"]["error"]).rpartition(": ")
        return UserError(f"{location}: {problem}" if location else problem, remedy)
    message = first["msg"][0].lower() + first["msg"][1:]
    return UserError(f"config key {location} has the value {first['input']!r}", f"{message.replace('input should', 'it should')}")
