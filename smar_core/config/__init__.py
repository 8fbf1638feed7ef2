"""The configuration: one frozen model a concern, nested into ``PipelineConfig``.

Each stage is handed only its own sections (``STAGE_SECTIONS``), so that a changed evaluation setting never re-trains.
Image size and vocabulary are set once, in ``prepare``; model, export and search read them from the artifacts.
"""

from smar_core.config.cluster import ClusterConfig
from smar_core.config.data import BeamConfig, PrepareConfig, SyntheticConfig
from smar_core.config.loading import PRESETS, VARIANTS, load_config, override_config, parse_config
from smar_core.config.model import TEMPERATURE_RANGE, Fusion, GateConfig, LossConfig, ModelConfig
from smar_core.config.pipeline import REFRESH_SECTIONS, REFRESH_STAGE_SECTIONS, RUN_SECTIONS, STAGE_SECTIONS, PipelineConfig
from smar_core.config.platform import RuntimeConfig, TrackingConfig
from smar_core.config.promotion import PromotionConfig
from smar_core.config.results import EvaluateConfig, ExportConfig
from smar_core.config.section import ItemTower, Section, Tower
from smar_core.config.training import FinetuneConfig, OptimiserConfig, PretrainConfig

__all__ = [
    "PRESETS",
    "REFRESH_SECTIONS",
    "REFRESH_STAGE_SECTIONS",
    "RUN_SECTIONS",
    "STAGE_SECTIONS",
    "TEMPERATURE_RANGE",
    "VARIANTS",
    "BeamConfig",
    "ClusterConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FinetuneConfig",
    "Fusion",
    "GateConfig",
    "ItemTower",
    "LossConfig",
    "ModelConfig",
    "OptimiserConfig",
    "PipelineConfig",
    "PrepareConfig",
    "PretrainConfig",
    "PromotionConfig",
    "RuntimeConfig",
    "Section",
    "SyntheticConfig",
    "Tower",
    "TrackingConfig",
    "load_config",
    "override_config",
    "parse_config",
]
