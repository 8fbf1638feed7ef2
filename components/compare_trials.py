"""Component of the last task of an experiment, never cached: what its trials say together."""

from typing import List  # noqa: UP035  (kfp knows lists of artifacts by this name only)

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def compare_trials(
    trials: dsl.Input[List[dsl.Artifact]],  # noqa: UP006
    experiment: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    kind: str,
    baseline: str,
    results: str,
    recorded: str,
) -> None:
    """Compare the trials with a baseline and write the report.

    Args:
        trials: Evidence of the trials of this run.
        experiment: The comparison as page, table and JSON.
        report: The page alone, for Kubeflow.
        kind: "ablation" or "sweep".
        baseline: Setting that the others are compared with.
        results: Folder of evidence; "" for none.
        recorded: JSON list of the names of trials whose evidence in that folder is compared too.
    """
    import shutil
    from pathlib import Path

    from components.experiment import compare
    from components.task import surroundings_of_task

    paths = [Path(trial.path) for trial in trials]
    compare(paths, kind, baseline, results, recorded, Path(experiment.path), surroundings_of_task())
    shutil.copyfile(Path(experiment.path) / "report.html", Path(report.path))
