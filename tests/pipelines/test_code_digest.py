"""A change of code re-runs the stages that use it, and no other."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.record import STAGE_OUTPUTS
from pipelines import code_digest as module
from pipelines.code_digest import code_digest, import_closure, stage_digests
from smar_core import config
from smar_core.config import RuntimeConfig
from smar_core.training.launch import WORKER

Write = Callable[..., None]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[str, Write]:
    """A package of its own name with two entry modules, one of which uses a helper."""
    name = f"toy_{abs(hash(request.node.name))}"
    package = tmp_path / name
    (package / "inner" / "templates").mkdir(parents=True)

    def write(**files: str) -> None:
        for stem, text in files.items():
            (package / f"{stem.replace('__in__', 'inner/')}.py").write_text(text)

    write(
        __init__="",
        __in____init__="",
        __in__helper="def f():\n    return 1\n",
        uses=f"def g():\n    from {name}.inner import helper\n    return helper.f()\n",
        alone="def h():\n    return 2\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "ROOTS", (name,))
    return name, write


def test_changed_helper_changes_only_its_users(project: tuple[str, Write]) -> None:
    name, write = project
    before = code_digest(f"{name}.uses"), code_digest(f"{name}.alone")
    write(__in__helper="def f():\n    return 3\n")
    assert code_digest(f"{name}.uses") != before[0]
    assert code_digest(f"{name}.alone") == before[1]


def test_words_and_layout_change_nothing(project: tuple[str, Write]) -> None:
    name, write = project
    before = code_digest(f"{name}.uses")
    write(__in__helper='"""Words."""\n\n\ndef f():\n    """More words."""\n    # and more\n    return (1)\n')
    assert code_digest(f"{name}.uses") == before


def test_module_that_is_started_by_name_counts_and_its_imports_do_not(project: tuple[str, Write]) -> None:
    """What torchrun starts was in no digest, since its name is a string; it imports the stages of others too."""
    name, write = project
    write(uses=f"WORKER = '{name}.worker'\nNOTHING = '{name}.nothing', 'other.module'\n", worker=f"from {name} import alone\n")
    assert set(import_closure(f"{name}.uses")) == {f"{name}.uses", f"{name}.worker"}
    before = code_digest(f"{name}.uses")
    write(worker=f"from {name} import alone\n\nalone.h()\n")
    assert code_digest(f"{name}.uses") != before


def test_template_counts_as_code(project: tuple[str, Write], tmp_path: Path) -> None:
    name, _ = project
    before = code_digest(f"{name}.uses")
    (tmp_path / name / "inner" / "templates" / "page.html").write_text("<p>")
    assert code_digest(f"{name}.uses") != before


def test_closure_of_a_component_holds_its_stage_and_no_watcher() -> None:
    closure = import_closure("components.pretrain")
    assert {"components.stage", "smar_core.training.pretrain", "smar_core.losses.objectives", "smar_core.model.towers"} <= set(
        closure
    )
    assert not {"components.tracking", "components.side", "smar_core.evaluation.evaluate"} & set(closure)


def test_evaluation_code_is_in_no_closure_of_training() -> None:
    closures = {stage: import_closure(f"components.{stage}") for stage in STAGE_OUTPUTS}
    assert [stage for stage, closure in closures.items() if "smar_core.evaluation.evaluate" in closure] == ["evaluate"]


def test_the_process_that_torchrun_starts_counts_for_the_stages_that_it_trains() -> None:
    closures = {stage: set(import_closure(f"components.{stage}")) for stage in STAGE_OUTPUTS}
    assert [stage for stage, closure in closures.items() if WORKER in closure] == ["pretrain", "finetune"]
    assert "smar_core.training.finetune" not in closures["pretrain"], "a change of fine-tuning pre-trains nothing"
    assert set(import_closure(WORKER)) <= closures["pretrain"] | closures["finetune"], "the stages import what it needs"


def test_what_the_config_works_out_counts_where_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the threads of a process nor the range of the temperature is a parameter, and both make other weights."""
    before = stage_digests()

    def changed() -> set[str]:
        return {stage for stage, digest in stage_digests().items() if digest != before[stage]}

    @property  # type: ignore[misc]
    def all_threads(self: RuntimeConfig) -> int:
        return self.num_threads

    with monkeypatch.context() as patch:
        patch.setattr(RuntimeConfig, "num_threads_per_process", all_threads)
        assert {"pretrain", "finetune"} <= changed()
    monkeypatch.setattr(config, "TEMPERATURE_RANGE", (0.02, 1.0))
    assert {"pretrain", "finetune"} <= changed() and "prepare_data" not in changed()
