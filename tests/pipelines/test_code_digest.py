"""A change of code re-runs the stages that use it, and no other."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.record import STAGE_OUTPUTS
from pipelines import code_digest as module
from pipelines.code_digest import code_digest, import_closure

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
