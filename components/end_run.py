"""Component of every pipeline's exit handler, never cached: run when all other tasks are over, however they ended."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def end_run(run_name: str) -> None:
    """End the pipeline run's run in MLflow as failed where no task has ended it, and call it what Kubeflow calls it.

    Args:
        run_name: Name of the pipeline run.
    """
    from components.ending import end

    end(run_name)
