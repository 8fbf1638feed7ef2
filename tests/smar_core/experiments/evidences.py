"""Evidence of trials that nobody trained, with values chosen by the test."""

from collections.abc import Mapping, Sequence
from typing import Any

from smar_core.experiments.evidence import Evidence, Queries
from smar_core.experiments.trials import Trial, shaping_values

QUERIES = Queries(query_ids=("a", "b", "c", "d"), slices={"fashion": (0, 1), "not_fashion": (2, 3), "seen_query": (0,)})
SMALL = ("evaluate.split=validation",)


def cell(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def make_scores(value: float) -> dict[str, Any]:
    """Return what a ``scores.json`` has of everything that a diagnosis keeps, and more; slices differ by .01."""

    def by_slice(value: float) -> dict[str, Any]:
        places = enumerate(("overall", "fashion", "not_fashion", "seen_query"))
        return {name: {"num_queries": 2, "R@50": cell(value + 0.01 * n), "P@50": cell(0.9)} for n, name in places}

    of_systems = {"model": by_slice(0.02), "multimodal": by_slice(0.03)}
    share = {"overall": cell(0.8), "fashion": cell(0.9), "not_fashion": None}
    return {
        "model": by_slice(value),
        "text_only": by_slice(value - 0.2),
        "multimodal": by_slice(value - 0.1),
        "gate": {
            "threshold": 0.4,
            "policies": {policy: by_slice(value) for policy in ("always_text", "routed")},
            "differences": {"routed - always_text": by_slice(0.05)},
            "utility": {"auc": cell(0.6), "num_equal": 1},
        },
        "reliance": {"shuffled": {"loss": of_systems, "share_of_gain_lost": {"model": share}}, "blank": {"loss": of_systems}},
        "exclusive": {
            "overall": {"num_pairs": 8, "num_multimodal_only": 2, "num_text_only": 1, "num_both": 3},
            "category:Shoes": {"num_pairs": 1},
        },
        "judged": {"model": {"overall": {"nDCG@10": cell(0.85)}}, "num_judgments": 9, "digest": "judgments"},
        "queries": {"split": "test", "confidence": 0.9, "num_bootstrap_samples": 400, "seed": 3},
        "traffic": {"model": by_slice(0.75)},
        "attainable": {"cutoff": 50, "slices": {"overall": {"attainable": cell(0.78), "num_queries": 4}}},
        "ann": {"model": by_slice(value), "text": {"recall@50": cell(0.9876)}},
    }


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
        "training": {"pretrain": {"best_step": 3, "num_distinct_synthetic_pairs_seen": 50}},
        "num_train_queries": 20,
        "metrics": metrics,
        "queries": QUERIES.digest,
        "values": tuple(values),
    }
    return Evidence.model_validate(fields | changes)
