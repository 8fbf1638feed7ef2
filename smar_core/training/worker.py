"""One process of a training: ``torchrun ... -m smar_core.training.worker JOB`` (see ``job`` and ``launch``)."""

import sys
from collections.abc import Callable
from pathlib import Path

from torch import distributed

from smar_core.artifact import open_artifact
from smar_core.config import FinetuneConfig, LossConfig, ModelConfig, PretrainConfig, RuntimeConfig, Section
from smar_core.errors import EXIT_OK, EXIT_OUR_FAULT
from smar_core.progress import SILENT, FileProgress
from smar_core.stage import StageContext
from smar_core.training.distributed import join_ranks
from smar_core.training.finetune import finetune
from smar_core.training.job import Job
from smar_core.training.launch import UNTIL_STDIN_ENDS, end_with_starter
from smar_core.training.pretrain import pretrain

_STAGES: dict[str, Callable[..., dict[str, float]]] = {"pretrain": pretrain, "finetune": finetune}
_SHARED: dict[str, type[Section]] = {"model": ModelConfig, "loss": LossConfig, "runtime": RuntimeConfig}
_SECTIONS = {"pretrain": _SHARED | {"config": PretrainConfig}, "finetune": _SHARED | {"config": FinetuneConfig}}


def run_job(job: Job) -> None:
    """Run the job as one of the processes that ``torchrun`` started; the first leaves the figures."""
    sections = {name: _SECTIONS[job.stage][name].model_validate(value) for name, value in job.sections.items()}
    # Opened and verified by the stage already.
    inputs = {name: open_artifact(Path(path), kind, verify=False) for name, (kind, path) in job.inputs.items()}
    runtime = sections["runtime"]
    assert isinstance(runtime, RuntimeConfig)
    ranks = join_ranks(runtime)
    progress = FileProgress(job.progress_file, job.stage) if ranks.is_first else SILENT
    context = StageContext(job.config_digest, Path(job.work), job.parents, progress)
    figures = _STAGES[job.stage](**inputs, **sections, output=Path(job.output), context=context, ranks=ranks)
    if ranks.is_first:
        job.leave_figures(figures)
    distributed.destroy_process_group()


def main(arguments: list[str]) -> int:
    """Run the job of a job file; returns the exit code."""
    job = Job.read(Path(arguments[0]))
    if UNTIL_STDIN_ENDS in arguments:
        end_with_starter()
    try:
        run_job(job)
    except Exception as error:  # whatever it was, the stage must learn of it
        job.leave_error(error)
        return EXIT_OUR_FAULT
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
