"""The measures that a single query has, for tests that make values up."""

from collections.abc import Sequence


def measure_names(cutoffs: Sequence[int]) -> list[str]:
    return [f"{name}@{cutoff}{end}" for cutoff in cutoffs for name, end in _PER_CUTOFF] + ["RR@10"]


_PER_CUTOFF = (("R", ""), ("P", ""), ("nDCG", ""), ("P", "_max"))
