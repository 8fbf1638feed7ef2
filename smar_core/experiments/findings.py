"""What an experiment found, as data: the content of ``experiment.json``, and all that its page and tables are made of."""

from smar_core.experiments.diagnosis import Diagnosis, Intervals
from smar_core.experiments.records import Cell, Record
from smar_core.experiments.trials import Kind

MEASURES = ("R@50", "P@50", "F1@50")
"""Measures that are shown of every setting."""


class Difference(Record):
    """A setting against another in one slice, R@50.

    Attributes:
        setting, baseline: What is compared: setting less baseline.
        slice: Kind of queries.
        num_queries: Queries of the slice.
        seeds: Seeds that both were trained with.
        difference: With its paired interval over queries.
        over_seeds: The same with an interval over queries and trainings; None for one seed.
        relative: The same in percent of the baseline's mean; None where that is 0.
        p_value: Of the paired randomisation test.
        holm_p_value: Corrected for the family it was asked in.
        deviation, baseline_deviation: Standard deviation between seeds; None for one seed.
    """

    setting: str
    baseline: str
    slice: str
    num_queries: int
    seeds: tuple[int, ...]
    difference: Cell
    over_seeds: Cell | None
    relative: Cell | None
    p_value: float
    holm_p_value: float
    deviation: float | None
    baseline_deviation: float | None


class Row(Record):
    """A setting's measures.

    Attributes:
        setting: Name.
        seeds: Seeds that it was trained with.
        measures: Mean over the seeds by slice and measure; with an interval (of R@50, over queries) where it is known.
        deviation: Standard deviation of R@50 between seeds by slice; empty for one seed.
        seconds: Mean time of a trial in all stages.
        synthetic_ratio_seen: Distinct synthetic pairs that pre-training has seen, a training query; None where files do not say.
        diagnosis: Means over ``diagnosed_seeds`` of what stands beside the routed search.
        diagnosed_seeds: Seeds whose files have it: those of earlier versions do not.
    """

    setting: str
    seeds: tuple[int, ...]
    measures: dict[str, dict[str, Cell]]
    deviation: dict[str, float]
    seconds: float
    synthetic_ratio_seen: float | None
    diagnosis: Diagnosis
    diagnosed_seeds: tuple[int, ...]


class Choice(Record):
    """The best value of an axis in a slice, by the difference to the preset's own over the seeds that both were trained with.

    Attributes:
        slice: Kind of queries.
        value: The best value.
        against_own: Its difference to the preset's own value; None when that is the best.
    """

    slice: str
    value: str
    against_own: Difference | None


class Axis(Record):
    """What a sweep says of one setting that it moved.

    Attributes:
        key: ``section.key``.
        values: In order, the preset's own among them.
        own: The preset's own value.
        points: R@50 with its interval by slice, a value each.
        differences: Of every other value to the preset's own.
        choices: The best value by slice.
    """

    key: str
    values: tuple[str, ...]
    own: str
    points: dict[str, tuple[Cell, ...]]
    differences: tuple[Difference, ...]
    choices: tuple[Choice, ...]


class Experiment(Record):
    """Everything that an experiment found; the content of ``experiment.json``.

    Attributes:
        kind: Whether variants were compared, or settings.
        preset, settings: What the trials started from; settings are those of the baseline.
        baseline: The setting that the others are compared with.
        split: Days that were measured.
        num_queries: Queries of each compared slice.
        rows: A setting each, the baseline first.
        differences: Of each setting to the baseline by slice, R@50; in a sweep without those of its axes, which hold their own.
        headline: Of the baseline to ``ALSO_AGAINST``, where both were trained; uncorrected, as it is asked by itself.
        axes: What a sweep says of each axis.
        hardware, versions: Different ones among the trials.
        num_codes: How many versions of the code the trials were made by.
        judgments: Digests of the different judgments that the rows' ``judged`` and ``attainable`` rest on.
        intervals: What the intervals of the rows' diagnoses were made with, where it differs. In both, None stands for what a
            file of an earlier version does not say.
    """

    kind: Kind
    preset: str
    settings: tuple[str, ...]
    baseline: str
    split: str
    num_queries: dict[str, int]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    headline: tuple[Difference, ...]
    axes: tuple[Axis, ...]
    hardware: tuple[str, ...]
    versions: tuple[dict[str, str], ...]
    num_codes: int
    judgments: tuple[str | None, ...]
    intervals: tuple[Intervals | None, ...]
