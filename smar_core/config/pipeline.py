"""All sections together, what must hold between them, and which stage is handed which."""

from collections.abc import Mapping

from pydantic import model_validator

from smar_core.config.cluster import ClusterConfig
from smar_core.config.data import BeamConfig, PrepareConfig, SyntheticConfig
from smar_core.config.model import GateConfig, LossConfig, ModelConfig
from smar_core.config.platform import RuntimeConfig, TrackingConfig
from smar_core.config.promotion import PromotionConfig
from smar_core.config.results import EvaluateConfig, ExportConfig
from smar_core.config.section import Section
from smar_core.config.training import FinetuneConfig, PretrainConfig


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
    promotion: PromotionConfig = PromotionConfig()
    tracking: TrackingConfig = TrackingConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    beam: BeamConfig = BeamConfig()
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _check_across(self) -> "PipelineConfig":
        patch, prepare = self.model.patch_size_px, self.prepare
        for name, size in (("image_width_px", prepare.image_width_px), ("image_height_px", prepare.image_height_px)):
            if "image" in self.model.item_towers and self.model.image_encoder is None and size % patch:
                raise ValueError(
                    f"prepare.{name} ({size}) must divide by model.patch_size_px ({patch}): "
                    f"choose {size // patch * patch or patch}"
                )
        self._check_parts()
        self._check_pictures()
        self._check_frozen()
        self._check_trained()
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

    def _check_pictures(self) -> None:
        """Only a model of pictures alone learns what stands for a missing one; under any other such an item cannot be ranked."""
        towers = self.model.item_towers
        if self.gate.mode == "always_image" and towers != ("image",):
            raise ValueError(
                f"gate.mode always_image answers by pictures alone, and with model.item_towers {list(towers)} an item without a "
                "picture has nothing to be found by: choose the variant dpsr-i, whose one tower is image, or another gate.mode"
            )

    def _check_frozen(self) -> None:
        """Fine-tuning must have a tower to move, and freezing one must make a difference."""
        represented = "multimodal" if self.gate.mode == "learned" else self.gate.mode.removeprefix("always_")
        item_towers = ("text", "image", "multimodal") if represented == "multimodal" else (represented,)
        moved, frozen = {"query", *item_towers}, set(self.finetune.freeze)
        for tower in sorted(frozen - moved):
            raise ValueError(
                f"finetune.freeze {tower} changes nothing, since gate.mode {self.gate.mode} fine-tunes only "
                f"{', '.join(sorted(moved))}: leave it out"
            )
        if self.finetune.num_steps and frozen >= moved:
            raise ValueError(
                f"finetune.freeze {sorted(frozen)} names every tower that gate.mode {self.gate.mode} fine-tunes, so nothing "
                "would move: name fewer, or leave it out and set finetune.num_steps to 0"
            )

    def _check_trained(self) -> None:
        """What is read of a pre-trained model must have been trained at all, S_t by alpha and S_m by gamma."""
        weights = {"alpha": self.loss.alpha, "gamma": self.loss.gamma, "beta": self.loss.beta}
        gates = {"supervision": "utility", "side": "item"}
        needs: dict[str, tuple[str, ...]] = {
            f"gate.{key} {gates[key]}": ("alpha", "gamma") for key in gates if getattr(self.gate, key) == gates[key]
        }
        if self.finetune.hard_negatives:
            mined = {"always_text": "alpha", "always_image": "beta"}.get(self.gate.mode, "gamma")
            needs["finetune.hard_negatives"] = (mined,)
        for setting, names in needs.items():
            absent = [f"loss.{name}" for name in names if not weights[name]]
            if not self.pretrain.num_steps:
                absent.insert(0, "pretrain.num_steps")
            if absent:
                raise ValueError(
                    f"{setting} ranks by the pre-trained model, and {absent[0]} is 0, so that what it ranks by is not "
                    f"trained: set {absent[0]} above 0, or leave {setting.split()[0]} out"
                )


RUN_SECTIONS = tuple(name for name in PipelineConfig.model_fields if name not in {"cluster", "promotion"})
"""Sections that a training is told, as parameters of its pipeline; ``cluster`` shapes the compiled pipeline itself."""

REFRESH_SECTIONS = ("prepare", "export", "evaluate", "promotion", "tracking", "runtime", "beam")
"""Sections that a refresh is told."""

STAGE_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "prepare_data": ("prepare", "beam", "runtime"),
    "generate_synthetic_queries": ("synthetic", "beam", "runtime"),
    "pretrain": ("model", "loss", "pretrain", "runtime"),
    "train_gate": ("gate", "runtime"),
    "finetune": ("loss", "finetune", "runtime"),
    "export_embeddings": ("export", "runtime"),
    "evaluate": ("evaluate", "runtime"),
}
"""Sections that each stage of a training, in the order in which they run, is handed."""

REFRESH_STAGE_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "fetch_models": ("runtime",),
    "prepare_refresh": ("prepare", "beam", "runtime"),
    "export_embeddings": ("export", "runtime"),
    "decide_promotion": ("promotion", "evaluate", "runtime"),
}
"""Sections that each stage of a refresh is handed."""
