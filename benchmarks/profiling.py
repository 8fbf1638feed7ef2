"""Where a pre-training step and an export spend their time, and how far that is from the floor.

The real stages run. First the work is timed with nothing watching, then profiled (shares), then counted (operations, shapes
and bytes, for the floor). Shares are of the profiled time, which is a little more than the plain one.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.floor import CountWork, Work, measure_floor
from benchmarks.stages import Figures, Job, measure_pretrain
from smar_core.model.device import resolve_device
from smar_core.model.encoding import encode_catalogue
from smar_core.model.pictures import PictureStore
from smar_core.training.model_artifact import open_model
from smar_core.training.negatives import FalseNegatives
from smar_core.training.sampler import PairSampler

NUM_WARM, NUM_TIMED, NUM_PROFILED = 2, 6, 4  # steps of a training
NUM_PASSES = 3  # over the catalogue

_LOADER = "loader: "
_LOADER_PARTS = ((PairSampler, "draw"), (FalseNegatives, "excluded"), (PictureStore, "take"))

SHARES = (
    ("loader", (_LOADER,)),
    ("optimiser", ("Optimizer.", "vector_norm", "_foreach", "clip_grad")),
    ("embedding_backward", ("Embedding",)),
    ("attention", ("scaled_dot_product",)),
    ("matrix_products", ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")),
    ("convolutions", ("convolution",)),
    ("elementwise_and_norm", ("aten::",)),
)
"""Group of an operation: the first of which it, or a call that it is part of, has a word in its name."""


@dataclass
class Watch:
    """A ``Progress`` that measures the steps of one phase: what it is told after each starts and stops the measurements.

    Attributes:
        phase: Its name.
        seconds: Of each step timed with nothing watching.
        profiler: Has seen ``NUM_PROFILED`` steps.
        counter: Has seen one step.
    """

    phase: str
    seconds: list[float] = field(default_factory=list)
    profiler: profile = field(default_factory=lambda: profile(activities=[ProfilerActivity.CPU]))
    counter: CountWork = field(default_factory=CountWork)
    _num_seen: int = 0
    _last: float = 0.0

    def update(self, phase: str, done: int, total: int, **figures: float) -> None:
        if phase != self.phase:
            return
        now, seen = time.perf_counter(), self._num_seen
        if NUM_WARM < seen <= NUM_WARM + NUM_TIMED:
            self.seconds.append(now - self._last)
        first_profiled = NUM_WARM + NUM_TIMED
        if seen == first_profiled:
            self.profiler.start()
        elif seen == first_profiled + NUM_PROFILED:
            self.profiler.stop()
            self.counter.__enter__()
        elif seen == first_profiled + NUM_PROFILED + 1:
            self.counter.__exit__(None, None, None)
        self._num_seen += 1
        self._last = time.perf_counter()


NUM_STEPS = NUM_WARM + NUM_TIMED + NUM_PROFILED + 2
"""Steps a profiled phase must have."""


def profile_pretrain(job: Job) -> Figures:
    """Profile pre-training of a job whose data are prepared; ``pretrain.num_steps`` is at least ``NUM_STEPS``."""
    watch = Watch("train")
    with _loader_named():
        measure_pretrain(job, watch)
    return _figures(watch.seconds, watch.profiler, watch.counter.work)


def profile_export(job: Job) -> Figures:
    """Profile the encoding of the whole catalogue by the pre-trained model, which is what an export does before the index."""
    model, tokenizer = open_model(job.artifact("pretrained", "model"))
    items, batch_size, device = job.artifact("items"), job.config.export.batch_size, resolve_device(job.config.runtime)

    def encode() -> float:
        start = time.perf_counter()
        encode_catalogue(model, tokenizer, items, batch_size=batch_size, device=device)
        return time.perf_counter() - start

    encode()
    seconds = [encode() for _ in range(NUM_PASSES)]
    with _loader_named(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        encode()
    with CountWork() as counter:
        encode()
    return _figures(seconds, profiler, counter.work)


def shares_of(events: list[torch.autograd.profiler_util.FunctionEvent], seconds: float) -> dict[str, float]:
    """Return the share of each group of ``SHARES`` in a time, and the rest: Python and autograd's own work."""
    spent: Counter[str] = Counter()
    for event in events:
        spent[_group(event)] += event.self_cpu_time_total / 1e6
    shares = {name: spent[name] / seconds for name, _ in SHARES}
    return shares | {"python": 1.0 - sum(shares.values())}


def _group(event: torch.autograd.profiler_util.FunctionEvent) -> str:
    names: list[str] = []
    call: torch.autograd.profiler_util.FunctionEvent | None = event
    while call is not None:
        names.append(call.name)
        call = call.cpu_parent
    return next((group for group, words in SHARES if any(word in name for word in words for name in names)), "python")


def _figures(seconds: list[float], profiler: profile, work: Work) -> Figures:
    """Return the figures of a repeated piece of work: a step, or a pass over the catalogue."""
    events = list(profiler.events())
    start, end = min(event.time_range.start for event in events), max(event.time_range.end for event in events)
    shares = shares_of(events, (end - start) / 1e6)
    floor, median = measure_floor(work), statistics.median(seconds)
    return {
        "seconds": median,
        "least_seconds": min(seconds),
        "floor_seconds": floor.seconds,
        "achieved_to_floor": median / floor.seconds,
        "floor_matrix_seconds": floor.matrix_seconds,
        "floor_attention_seconds": floor.attention_seconds,
        "floor_other_seconds": floor.other_seconds,
        "matrix_gigaflop": work.matrix_flops / 1e9,
        "attention_gigaflop": work.attention_flops / 1e9,
        "other_gigabyte": work.other_bytes / 1e9,
        "matrix_gigaflop_per_second_at_shapes": floor.matrix_flops_per_second / 1e9,
        "matrix_gigaflop_per_second_in_place": work.matrix_flops / 1e9 / (shares["matrix_products"] * median),
        "copy_gigabyte_per_second": floor.bytes_per_second / 1e9,
    } | {f"share_{name}": share for name, share in shares.items()}


@contextmanager
def _loader_named() -> Iterator[None]:
    """Make the parts of the loader, which are no operations of torch, appear in the profile."""
    originals = [(owner, name, getattr(owner, name)) for owner, name in _LOADER_PARTS]
    for owner, name, method in originals:
        setattr(owner, name, _recorded(_LOADER + name, method))
    try:
        yield
    finally:
        for owner, name, method in originals:
            setattr(owner, name, method)


def _recorded(label: str, method: Callable[..., object]) -> Callable[..., object]:
    def recorded(*args: object, **kwargs: object) -> object:
        with record_function(label):
            return method(*args, **kwargs)

    return recorded
