"""The tasks of a compiled pipeline."""

from collections.abc import Iterator
from typing import Any

from pipelines.placement import EXIT_HANDLER


def main_tasks(pipeline: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tasks that the exit handler holds, by name."""
    (held,) = (task for task in pipeline["root"]["dag"]["tasks"].values() if task["taskInfo"]["name"] == EXIT_HANDLER)
    found: dict[str, dict[str, Any]] = pipeline["components"][held["componentRef"]["name"]]["dag"]["tasks"]
    return found


def all_tasks(pipeline: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every task and group of tasks, those in loops and conditions too."""
    for component in (pipeline["root"], *pipeline["components"].values()):
        yield from component.get("dag", {}).get("tasks", {}).values()


def pipeline_parameter(source: dict[str, Any]) -> str | None:
    """Return the pipeline's parameter that a parameter of a main task takes its value from; None where it takes none.

    Digests that are known come through ``digest_inputs`` as they are.
    """
    handed_on = source.get("taskOutputParameter", {})
    if handed_on.get("producerTask") == "digest-inputs":
        return str(handed_on["outputParameterKey"])
    name: str | None = source.get("componentInputParameter")
    return None if name is None else name.removeprefix("pipelinechannel--")
