"""The command of a task as the committed YAML has it, with the executor input that Kubeflow's launcher would put into it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.compile import compiled
from tests.pipelines.compiled_tasks import main_tasks, pipeline_parameter


@dataclass(frozen=True)
class Task:
    """A task of the compiled training pipeline.

    Attributes:
        command: Program and arguments, without the executor input.
        inputs: Its input artifacts' types, by name.
        outputs: Its output artifacts' types, by name.
        parameters: The pipeline's parameter that each of its own takes its value from; constants are defaults and left out.
    """

    command: tuple[str, ...]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    parameters: Mapping[str, str]

    @classmethod
    def read(cls, stage: str) -> "Task":
        """Read the task of a stage from the committed YAML."""
        spec = next(yaml.safe_load_all(compiled("training").read_text()))
        task = main_tasks(spec)[stage.replace("_", "-")]
        component = spec["components"][task["componentRef"]["name"]]
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        given = task["inputs"]["parameters"]
        return cls(
            command=(*container["command"], *container["args"]),
            inputs=component["inputDefinitions"].get("artifacts", {}),
            outputs=component.get("outputDefinitions", {}).get("artifacts", {}),
            parameters={
                name: parameter for name, source in given.items() if (parameter := pipeline_parameter(source)) is not None
            },
        )

    def command_line(self, run: Mapping[str, Any], outputs: str, changes: Mapping[str, str]) -> list[str]:
        """Return the whole command.

        Args:
            run: The run.json of a finished run: its arguments are the parameters, its artifacts the inputs.
            outputs: Folder of the outputs, as the command sees it.
            changes: Parameters that differ from the run's.
        """
        executor_input = {
            "inputs": {
                "parameterValues": {name: run["arguments"][source] for name, source in self.parameters.items()} | dict(changes),
                "artifacts": {
                    name: _artifact(name, of, run["artifacts"][name]["path"], {"digest": run["artifacts"][name]["digest"]})
                    for name, of in self.inputs.items()
                },
            },
            "outputs": {
                "artifacts": {name: _artifact(name, of, f"{outputs}/{name}", {}) for name, of in self.outputs.items()},
                "outputFile": f"{outputs}/executor_output.json",
            },
        }
        return [json.dumps(executor_input) if part == "{{$}}" else part for part in self.command]


def input_folders(run: Mapping[str, Any]) -> dict[Path, str]:
    """Return what a run's tasks read, for mounting it where it is: the artifacts and the input files' folders."""
    artifacts = {Path(artifact["path"]) for artifact in run["artifacts"].values()}
    files = {Path(run["arguments"][name]).parent for name in ("items", "clicks", "judgments")}
    return {path: str(path) for path in artifacts | files}


def _artifact(name: str, of: Mapping[str, Any], uri: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    return {"artifacts": [{"name": name, "type": of["artifactType"], "uri": uri, "metadata": dict(metadata)}]}
