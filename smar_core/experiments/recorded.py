"""Which trials of a plan are recorded in a folder already, and which are to be run.

A file counts when its settings and data are those of now; the code may have changed, which the comparison tells. What belongs to
another experiment is never replaced: that is refused.
"""

from collections.abc import Iterable
from pathlib import Path

from smar_core.errors import UserError
from smar_core.experiments.evidence import Evidence, Queries, evidence_file, read_evidence, read_queries
from smar_core.experiments.trials import Plan, Trial, changed_keys


def read_recorded(folder: Path, names: Iterable[str]) -> tuple[list[Evidence], dict[str, Queries]]:
    """Read the files of trials, by name, and the queries they are of, by digest.

    Raises:
        UserError: One is not there, is none or was altered.
    """
    evidences = [Evidence.read(folder / f"{name}.json") for name in names]
    return evidences, {digest: read_queries(folder, digest) for digest in {e.queries: None for e in evidences}}


def split_recorded(
    plan: Plan, folder: Path, data: str, *, use_recorded: bool = True
) -> tuple[list[Trial], list[Trial], list[str]]:
    """Say which trials of a plan are recorded in a folder and which are to be run.

    Args:
        plan: The experiment.
        folder: Folder of the results.
        data: ``data_digest`` of now.
        use_recorded: Whether a trial that is recorded need not run.

    Returns:
        The recorded trials, those to run, and a sentence for each whose file does not fit any more.

    Raises:
        UserError: A file is of another trial of that name, or of an experiment of another preset, other settings or days: it
            would be overwritten.
    """
    recorded: list[Trial] = []
    missing: list[Trial] = []
    told: list[str] = []
    for trial in plan.trials:
        evidence = read_evidence(folder, trial)
        if evidence is None:
            missing.append(trial)
            continue
        config = plan.configure(trial)
        changed = changed_keys(evidence.config, config)
        _check_same_experiment(plan, trial, evidence, config.evaluate.split, changed, evidence_file(folder, trial))
        changed += ["data"] if evidence.data_digest != data else []
        if changed:
            told.append(f"{trial.name}: recorded with other {', '.join(changed)}; it is run again and replaced")
        (missing if changed or not use_recorded else recorded).append(trial)
    return recorded, missing, told


def _check_same_experiment(plan: Plan, trial: Trial, evidence: Evidence, split: str, changed: list[str], path: Path) -> None:
    """Refuse a file of another experiment. Other ``--set`` count when they change a figure: a number of workers does not."""
    named = [
        ("trial", evidence.trial.setting, trial.setting),
        ("preset", evidence.preset, plan.preset),
        ("days", evidence.split, split),
    ]
    if changed:
        named.append(("settings", " ".join(evidence.settings) or "none", " ".join(plan.settings) or "none"))
    for name, then, now in named:
        if then != now:
            raise UserError(f"{path} has the {name} {then}, this experiment {now}", "name another folder with --results")
