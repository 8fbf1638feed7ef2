"""What every pipeline run on this machine is made of: the compiled pipeline, its folders, and what its stages are told."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.image import IMAGE, image_reference
from components.surroundings import Surroundings
from pipelines.compile import compile_pipeline, fit_local_runner
from pipelines.local import worker_environment
from pipelines.local_worker import Job
from pipelines.placement import IMAGE_PARAMETER
from pipelines.state import RunFolder, StateFolder
from smar_core.config import RuntimeConfig
from smar_core.data.sources import Sources

INPUT_FILES = ("items", "clicks", "images", "judgments")


def data_arguments(sources: Sources, judgments: str | None, digests: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that name the input files.

    Args:
        sources: Catalogue and click log, with absolute paths.
        judgments: Graded judgments, likewise; None for none.
        digests: What ``check_inputs`` returned.
    """
    return {
        "items": sources.items,
        "clicks": sources.clicks,
        "images": sources.images or "",
        "judgments": judgments or "",
        "column_map": json.dumps(dict(sources.column_map), sort_keys=True),
        **{f"{name}_digest": digests.get(name, "") for name in INPUT_FILES},
    }


def make_job(
    pipeline: str,
    arguments: Mapping[str, Any],
    runtime: RuntimeConfig,
    *,
    state: StateFolder,
    run: RunFolder,
    around: Surroundings,
    runner: str,
    use_cache: bool,
    run_name: str,
    parameters: Mapping[str, str],
    writable: tuple[Path, ...] = (),
) -> Job:
    """Return the job of a run, and compile its pipeline, with its image, into the run's folder.

    The committed file may be older than the components; to compile takes 0.2 s.

    Args:
        pipeline: One of ``pipelines.compile.PIPELINES``.
        arguments: Its parameters, those of ``data_arguments`` among them.
        runtime: Its threads.
        state: Where caches and artifacts are.
        run: Folder of the run.
        around: What the stages are told through their environment.
        runner: One of ``preflight.RUNNERS``.
        use_cache: Whether stages may be taken from the cache.
        run_name: Name of the run in MLflow.
        parameters: What MLflow shows of it in its table.
        writable: Folders that a container may write, beside the working folder and that of the tracking store.
    """
    compile_pipeline(pipeline, run.pipeline, cluster=None)
    # Without containers no tag: it moves with every edit, and the local cache has the image among its keys.
    image = image_reference() if runner == "docker" else IMAGE
    fit_local_runner(run.pipeline, image)
    mounts = sorted({*_writable_folders(state, around), *writable})
    files = {name: (arguments[name], arguments[f"{name}_digest"]) for name in INPUT_FILES if arguments[name]}
    return Job(
        pipeline=run.pipeline,
        arguments={IMAGE_PARAMETER: image, **arguments},
        pipeline_root=state.pipeline_root,
        cache_root=state.cache,
        use_cache=use_cache,
        runner=runner,
        mounts=mounts,
        read_only_mounts=sorted({Path(path) for path, _ in files.values() if "://" not in path} - set(mounts)),
        environment=dict(worker_environment(around, runtime.num_threads)),
        run_name=run_name,
        parameters=dict(parameters),
        files=files,
    )


def _writable_folders(state: StateFolder, around: Surroundings) -> set[Path]:
    """Return the folders that a container writes to: the working folder, and that of the tracking store if it is a file."""
    folders = {state.path.parent}
    if around.tracking_uri is not None and around.tracking_uri.startswith("sqlite:///"):
        folders.add(Path(around.tracking_uri.removeprefix("sqlite:///")).parent)
    return folders
