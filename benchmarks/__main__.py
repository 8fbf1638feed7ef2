"""``python -m benchmarks``: measure the stages, print the figures, leave them as JSON on request.

By default on the demo shop with the preset ``small``, in about two minutes on two cores. Each stage runs in a process of
its own. Compare figures of one machine only, with nothing else running on it.
"""

import argparse
import json
import multiprocessing
import platform
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.stages import MEASUREMENTS, Figures, Job, measure
from smar_core.config import PRESETS, load_config
from smar_core.data.demo import write_demo


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="smar-benchmarks-") as scratch:
        folder = Path(scratch)
        items, clicks = arguments.items, arguments.clicks
        if items is None:
            write_demo(folder / "shop")
            items, clicks = (str(folder / "shop" / name) for name in ("items.parquet", "clicks.parquet"))
        steps = arguments.steps
        once = [f"pretrain.{key}={steps}" for key in ("num_steps", "validate_every_steps", "checkpoint_every_steps")]
        config = load_config(arguments.preset, [*once, *arguments.settings])
        figures = run(Job(str(Path(items).resolve()), str(Path(clicks).resolve()), folder, config))
    record = {
        "machine": platform.machine(),
        "num_threads": config.runtime.num_threads,
        "preset": arguments.preset,
        "stages": figures,
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def run(job: Job) -> Mapping[str, Figures]:
    """Run every measurement in order and print its figures as they come."""
    figures = {}
    for name in MEASUREMENTS:
        # A pool of one, made anew: the peak memory of a process never goes down.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            figures[name] = pool.submit(measure, name, job).result()
        print(f"{name:28}" + "".join(f"{_readable(value):>10} {figure}" for figure, value in figures[name].items()), flush=True)
    return figures


def _readable(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.3g}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed and memory of the stages.")
    parser.add_argument("--items", help="catalogue (default: the demo shop)")
    parser.add_argument("--clicks", help="click log; goes with --items")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--steps", type=int, default=30, help="pre-training steps (default: 30)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if (arguments.items is None) != (arguments.clicks is None):
        parser.error("--items and --clicks go together")
    if arguments.steps < 2:
        parser.error("--steps must be 2 or more: the first one is not timed")
    return arguments


if __name__ == "__main__":
    main()
