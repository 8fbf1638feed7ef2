"""Evidence of trials that nobody trained, with values chosen by the test."""

from collections.abc import Mapping, Sequence

from smar_core.experiments.evidence import Evidence, Queries
from smar_core.experiments.trials import Trial, shaping_values

QUERIES = Queries(query_ids=("a", "b", "c", "d"), slices={"fashion": (0, 1), "not_fashion": (2, 3), "seen_query": (0,)})
SMALL = ("evaluate.split=validation",)


def cell(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def make_evidence(
    trial: Trial, values: Sequence[float], *, preset: str = "demo", settings: Sequence[str] = (), **changes: object
) -> Evidence:
    """Return a trial's evidence on ``QUERIES``."""
    config = trial.configure(preset, settings)
    slices: Mapping[str, Sequence[int]] = {"overall": range(4), **QUERIES.slices}
    metrics = {
        name: {"num_queries": len(places)}
        | {measure: cell(sum(values[p] for p in places) / len(places)) for measure in ("R@50", "P@50", "F1@50")}
        for name, places in slices.items()
    }
    fields = {
        "preset": preset,
        "settings": tuple(settings),
        "trial": trial,
        "split": config.evaluate.split,
        "config": shaping_values(config),
        "config_digest": "digest",
        "data_digest": "data",
        "code": {"pretrain": "code"},
        "versions": {"smar": "1"},
        "hardware": "a machine",
        "seconds": {"pretrain": 60.0, "evaluate": 30.0},
        "training": {"pretrain": {"best_step": 3}},
        "metrics": metrics,
        "queries": QUERIES.digest,
        "values": tuple(values),
    }
    return Evidence.model_validate(fields | changes)
