"""One measurement a stage: each runs the real stage function and returns figures with their unit in the name.

A measurement finds the artifacts of those before it in the same folder. Rates leave out what a longer run would not notice:
starting Python, the first training step, looks at the validation days.
"""

import functools
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smar_core.artifact import Artifact, open_artifact
from smar_core.config import PipelineConfig
from smar_core.progress import SILENT, Progress
from smar_core.stage import StageContext

Figures = dict[str, float]

NUM_SINGLE_QUERIES = 200
NUM_BATCH_QUERIES = 1000
TOP_K = 50
PREPARED = ("items", "clicks", "tokenizer", "synthetic")
"""Artifacts that training starts from."""


@dataclass(frozen=True)
class Job:
    """What is measured.

    Attributes:
        items: The catalogue.
        clicks: The click log.
        folder: Where the artifacts of the measurements lie.
        config: Preset with overrides.
    """

    items: str
    clicks: str
    folder: Path
    config: PipelineConfig

    def artifact(self, name: str, kind: str | None = None) -> Artifact:
        return open_artifact(self.folder / name, kind or name, verify=False)

    def beside(self, name: str, config: PipelineConfig) -> "Job":
        """Return a job in a folder below this one's that starts from the same prepared data."""
        folder = self.folder / name
        folder.mkdir()
        for kind in PREPARED:
            (folder / kind).symlink_to((self.folder / kind).resolve())
        return Job(self.items, self.clicks, folder, config)

    def context(self, progress: "Stopwatch") -> StageContext:
        return StageContext(config_digest="", work=self.folder / "work", progress=progress)


@dataclass
class Stopwatch:
    """A ``Progress`` that remembers when each step of each phase was done, and tells another."""

    also: Progress = SILENT
    times: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def update(self, phase: str, done: int, total: int, **figures: float) -> None:
        self.times.setdefault(phase, []).append((done, time.perf_counter()))
        self.also.update(phase, done, total, **figures)

    def rate(self, phase: str) -> float:
        """Return steps a second between a phase's first and last report."""
        (first, start), (last, end) = self.times[phase][0], self.times[phase][-1]
        return (last - first) / (end - start)


def measure_prepare(job: Job) -> Figures:
    from smar_core.data.prepare import prepare_data
    from smar_core.data.sources import PrepareOutputs, Sources

    kinds = ("items", "clicks", "tokenizer", "rejects")
    outputs = PrepareOutputs(**{kind: job.folder / kind for kind in kinds})
    sources = Sources(job.items, job.clicks)
    seconds = _seconds(lambda: prepare_data(sources, outputs, job.config.prepare, job.config.beam, job.context(Stopwatch())))
    num_items, num_rows = job.artifact("items").counts["items"], job.artifact("clicks").read_json("statistics.json")["num_rows"]
    return {
        "num_items": num_items,
        "num_rows": num_items + num_rows,
        "seconds": seconds,
        "rows_per_second": (num_items + num_rows) / seconds,
    }


def measure_synthetic(job: Job) -> Figures:
    from smar_core.data.synthetic import generate_synthetic_queries

    inputs = job.artifact("items"), job.artifact("clicks"), job.artifact("tokenizer")
    config, context = job.config, job.context(Stopwatch())
    seconds = _seconds(
        lambda: generate_synthetic_queries(*inputs, job.folder / "synthetic", config.synthetic, config.beam, context)
    )
    num_queries = job.artifact("synthetic").counts["synthetic"]
    return {"num_queries": num_queries, "seconds": seconds, "queries_per_second": num_queries / seconds}


def measure_pretrain(job: Job, progress: Progress | None = None) -> Figures:
    """Pre-train; ``progress`` hears of each step too."""
    from smar_core.training.pretrain import pretrain

    inputs = job.artifact("items"), job.artifact("clicks"), job.artifact("tokenizer"), job.artifact("synthetic")
    config, stopwatch = job.config, Stopwatch(also=progress or SILENT)
    output = job.folder / "pretrained"
    seconds = _seconds(
        lambda: pretrain(*inputs, output, config.model, config.loss, config.pretrain, config.runtime, job.context(stopwatch))
    )
    return {"seconds": seconds, "pairs_per_second": stopwatch.rate("train") * config.pretrain.batch_size}


def measure_gate(job: Job) -> Figures:
    from smar_core.training.gate import train_gate

    inputs = job.artifact("items"), job.artifact("clicks"), job.artifact("pretrained", "model")
    config = job.config
    return {
        "seconds": _seconds(
            lambda: train_gate(*inputs, job.folder / "gate", config.gate, config.runtime, job.context(Stopwatch()))
        )
    }


def measure_export(job: Job) -> Figures:
    """Export the pre-trained model: fine-tuning changes its weights, not its speed."""
    from smar_core.retrieval.export import export_embeddings

    inputs = job.artifact("items"), job.artifact("pretrained", "model"), job.artifact("gate")
    config = job.config
    seconds = _seconds(
        lambda: export_embeddings(*inputs, job.folder / "bundle", config.export, config.runtime, job.context(Stopwatch()))
    )
    return {"seconds": seconds, "items_per_second": inputs[0].counts["items"] / seconds}


def measure_search(job: Job) -> Figures:
    from smar_core.retrieval.bundle import Bundle

    queries = job.artifact("clicks").read_table("queries", ["query"])["query"].unique().to_pylist()
    opened: list[Bundle] = []
    open_seconds = _seconds(lambda: opened.append(Bundle.open(job.folder / "bundle")))
    bundle = opened[0]
    bundle.search(queries[:1], TOP_K)  # reads the indexes
    singles = [_seconds(functools.partial(bundle.search, [query], TOP_K)) for query in queries[:NUM_SINGLE_QUERIES]]
    batch = (queries * (NUM_BATCH_QUERIES // len(queries) + 1))[:NUM_BATCH_QUERIES]
    return {
        "open_seconds": open_seconds,
        "median_seconds_per_query": statistics.median(singles),
        "seconds_per_1000_queries": _seconds(lambda: bundle.search(batch, TOP_K)) * 1000 / NUM_BATCH_QUERIES,
    }


MEASUREMENTS: Mapping[str, Callable[[Job], Figures]] = {
    "prepare_data": measure_prepare,
    "generate_synthetic_queries": measure_synthetic,
    "pretrain": measure_pretrain,
    "train_gate": measure_gate,
    "export_embeddings": measure_export,
    "search": measure_search,
}
"""In the order in which they must run."""


def measure(name: str, job: Job) -> Figures:
    """Run one measurement; meant for a process of its own, whose peak memory is then the stage's.

    Returns:
        The figures, and the peak memory of the largest process that took part, in megabytes.
    """
    figures = MEASUREMENTS[name](job)
    kibibytes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return figures | {"peak_megabytes": kibibytes * 1024 / 1e6}


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
