"""What is left in OUT."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.preflight import MARKS, check_out
from pipelines.results import put_in_place
from smar_core.errors import UserError


def fill(*names: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for name in names:
            (folder / name).write_text(name)

    return write


def test_runs_of_a_system_that_is_no_more_do_not_stay(tmp_path: Path) -> None:
    """A run of DPSR into the folder of SMAR's left that one's multimodal run beside its own queries."""
    (tmp_path / "mine.txt").write_text("mine")
    put_in_place(tmp_path, fill("run-model.trec", "run-multimodal.trec", "metrics.json"))
    put_in_place(tmp_path, fill("run-model.trec", "metrics.json"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "mine.txt", "run-model.trec"]


@pytest.mark.parametrize("mark", MARKS)
def test_results_of_another_kind_are_not_half_replaced(mark: str, tmp_path: Path) -> None:
    (tmp_path / mark).write_text("{}")
    check_out(tmp_path, mark)
    check_out(tmp_path)
    for other in MARKS.keys() - {mark}:
        with pytest.raises(UserError, match=f"has the results of {MARKS[mark]}; name another folder"):
            check_out(tmp_path, other)
