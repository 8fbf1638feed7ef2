"""``python -m benchmarks WHAT``: measure, print the figures, leave them as JSON on request.

| WHAT | measures |
|---|---|
| ``stages`` (default) | speed and memory of every stage, each in a process of its own |
| ``profile`` | where a pre-training step and an export spend their time, and how far that is from the floor |
| ``grouping`` | the cost of a pair by the number of queries that share an item |
| ``rivals`` | pairs and items a second against other libraries, in turns; needs ``benchmarks/requirements.txt`` |

What a gate on query and item would find is no matter of speed: ``python -m benchmarks.pair_gate``.

By default on the demo shop with the preset ``small``, in about two minutes each on two cores. Compare figures of one machine
only, with nothing else running on it.
"""

import argparse
import json
import multiprocessing
import platform
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.stages import MEASUREMENTS, Figures, Job, measure
from smar_core.config import PRESETS, VARIANTS, PipelineConfig, load_config, override_config
from smar_core.data.demo import write_demo

Results = Mapping[str, Figures]


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="smar-benchmarks-") as scratch:
        folder = Path(scratch)
        items, clicks = arguments.items, arguments.clicks
        if items is None:
            write_demo(folder / "shop")
            items, clicks = (str(folder / "shop" / name) for name in ("items.parquet", "clicks.parquet"))
        config = load_config(arguments.preset, arguments.settings, variant=arguments.variant)
        job = Job(str(Path(items).resolve()), str(Path(clicks).resolve()), folder, config)
        results = MEASURED[arguments.what](job, arguments)
    record = {
        "machine": platform.machine(),
        "num_threads": config.runtime.num_threads,
        "preset": arguments.preset,
        "variant": arguments.variant,
        arguments.what: results,
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def measure_stages(job: Job, arguments: argparse.Namespace) -> Results:
    """Run every stage in order."""
    return _in_processes(_with_steps(job, arguments.steps), list(MEASUREMENTS))


def measure_profile(job: Job, arguments: argparse.Namespace) -> Results:
    """Profile one pre-training and one export, in this process."""
    from benchmarks.profiling import NUM_STEPS, profile_export, profile_pretrain

    job = _with_steps(job, NUM_STEPS)
    _prepare(job)
    results = {}
    for name, measurement in (("pretraining step", profile_pretrain), ("export, whole catalogue", profile_export)):
        results[name] = measurement(job)
        _print_column(name, results[name])
    return results


def measure_groupings(job: Job, arguments: argparse.Namespace) -> Results:
    """Compare groupings in turns."""
    from benchmarks.grouping import measure_grouping

    job = _with_steps(job, arguments.steps)
    _prepare(job)
    results = measure_grouping(job, arguments.rounds)
    for name, figures in results.items():
        _print_row(name, figures)
    return results


def measure_rivals(job: Job, arguments: argparse.Namespace) -> Results:
    """Run every race on the same data, with one square picture an item and linear patches: CLIP takes no others."""
    from benchmarks.rivals import RACES, run_race

    if any(setting.partition("=")[0].strip() == "model.patch_stem" for setting in arguments.settings):
        raise SystemExit("rivals are compared with linear patches, as CLIP has them: leave model.patch_stem out")
    as_clip = ["model.patch_stem=linear"]
    pictures = [f"prepare.image_height_px={job.config.prepare.image_width_px}", "prepare.max_views=1"]
    _prepare(Job(job.items, job.clicks, job.folder, override_config(job.config, pictures)))
    results = {}
    for race in RACES:
        config = load_config(arguments.preset, variant=race.variant, shared=[*arguments.settings, *pictures, *as_clip])
        own = Job(job.items, job.clicks, job.folder, config)
        for name, figures in run_race(race, own, arguments.packages.resolve(), arguments.rounds).items():
            results[f"{race.title}: {name}"] = figures
            _print_row(f"{race.title}: {name}", figures)
    return results


MEASURED: Mapping[str, Callable[[Job, argparse.Namespace], Results]] = {
    "stages": measure_stages,
    "profile": measure_profile,
    "grouping": measure_groupings,
    "rivals": measure_rivals,
}


def _with_steps(job: Job, steps: int) -> Job:
    """Return the job with a pre-training of so many steps and one look at the validation days at either end."""
    once = [f"pretrain.{key}={steps}" for key in ("num_steps", "validate_every_steps", "checkpoint_every_steps")]
    config: PipelineConfig = override_config(job.config, once)
    return Job(job.items, job.clicks, job.folder, config)


def _prepare(job: Job) -> None:
    _in_processes(job, ["prepare_data", "generate_synthetic_queries"])


def _in_processes(job: Job, names: list[str]) -> Results:
    """Run measurements in order, each in a process of its own, and print their figures as they come."""
    results = {}
    for name in names:
        # A pool of one, made anew: the peak memory of a process never goes down.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            results[name] = pool.submit(measure, name, job).result()
        _print_row(name, results[name])
    return results


def _print_row(name: str, figures: Figures) -> None:
    print(f"{name:28}" + "".join(f"{_readable(value):>10} {figure}" for figure, value in figures.items()), flush=True)


def _print_column(name: str, figures: Figures) -> None:
    print(name)
    for figure, value in figures.items():
        print(f"  {figure:42}{_readable(value):>10}", flush=True)


def _readable(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.3g}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed and memory.")
    parser.add_argument("what", nargs="?", choices=MEASURED, default="stages")
    parser.add_argument("--items", help="catalogue (default: the demo shop)")
    parser.add_argument("--clicks", help="click log; goes with --items")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--variant", choices=VARIANTS, default="smar", help="of all but rivals, which has its own")
    parser.add_argument("--steps", type=int, default=30, help="pre-training steps of stages and grouping (default: 30)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender or grouping (default: 5)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--packages", type=Path, default=Path(".bench"), help="folder with the rivals (default: .bench)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if (arguments.items is None) != (arguments.clicks is None):
        parser.error("--items and --clicks go together")
    if arguments.steps < 2:
        parser.error("--steps must be 2 or more: the first one is not timed")
    return arguments


if __name__ == "__main__":
    main()
