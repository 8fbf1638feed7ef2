"""What a person reads of an experiment: tables, Markdown and the page."""

import html.parser
from pathlib import Path

import pytest

from smar_core.experiments.charts import LABEL_CHARACTERS, draw_axis, draw_differences
from smar_core.experiments.findings import Experiment
from smar_core.experiments.markdown import as_markdown
from smar_core.experiments.page import render_page, write_page
from smar_core.experiments.records import Cell
from smar_core.experiments.table import make_tables
from tests.smar_core.experiments.test_comparison import ablation, sweep


@pytest.fixture(scope="module")
def swept() -> Experiment:
    return sweep({"": (0.5, 0.5, 0.5, 0.5), "2": (1.0, 0.5, 0.5, 0.0), "0.5": (0.25, 0.5, 0.5, 0.5)})


class _Reader(html.parser.HTMLParser):
    """Checks that what is opened is closed, and keeps what would ask the network."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asked: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.asked += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "link", "br", "wbr"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_tables_of_an_ablation() -> None:
    tables = make_tables(ablation())
    assert [table.title for table in tables] == [
        "R@50",
        "P@50 and F1@50",
        "Difference to smar in R@50, points",
        "smar less dpsr in R@50, points",
    ]
    recall, precision, differences, _ = tables
    assert [row[0] for row in recall.rows] == [row[0] for row in precision.rows] == ["smar", "smar-nc", "dpsr"]
    assert recall.rows[0][1] == "0, 1"
    assert recall.rows[0][2].startswith("0.562 [") and recall.rows[0][2].endswith("±8.8")
    assert precision.rows[0][1:3] == ("0.562", "0.625")
    assert differences.rows[0][2].startswith("\N{MINUS SIGN}25.0 [") and ", p=" in differences.rows[0][2]


def test_tables_of_a_sweep_end_with_the_choice(swept: Experiment) -> None:
    *_, differences, choices = make_tables(swept)
    assert differences.title == "loss.alpha: difference to the preset's own value, 1, in R@50, points"
    assert [row[:2] for row in choices.rows] == [("all queries", "1"), ("fashion", "2"), ("not fashion", "1")]
    assert choices.rows[0][2] == "the preset's own"
    assert choices.rows[1][2].startswith("+25.0 [")


def test_markdown_has_a_row_a_setting() -> None:
    text = as_markdown(ablation())
    assert sum(line.startswith("| dpsr |") for line in text.splitlines()) == 3
    heads = [line for line in text.splitlines() if line.startswith("| ---")]
    assert len(heads) == len(make_tables(ablation()))


def test_page_of_an_ablation_says_all_of_it_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", ablation())
    page = read((tmp_path / "report.html").read_text())
    assert page.asked == []
    for words in (
        "What each part of the model brings",
        "5 trainings; test days",
        "smar-nc",
        "points of R@50 against smar, fashion",
    ):
        assert words in page.text


def test_page_of_a_sweep_warns_of_its_choice(swept: Experiment) -> None:
    page = read(render_page(swept))
    for words in ("chosen on the validation days", "threshold and calibration are fitted", "loss.alpha: best value", "preset"):
        assert words in page.text


def test_trials_of_several_versions_of_the_code_are_told() -> None:
    assert "2 versions of the code" in render_page(ablation().model_copy(update={"num_codes": 2}))
    assert "versions of the code" not in render_page(ablation())


def test_axis_chart_stands_values_at_equal_distances(swept: Experiment) -> None:
    charts = draw_axis(swept.axes[0])
    assert [chart.title for chart in charts] == ["all queries", "fashion", "not fashion"]
    first, second, third = (point.x for point in charts[0].lines[0].points)
    assert second - first == pytest.approx(third - second)
    for chart in charts:
        assert chart.rule is not None and chart.rule.place == second
        assert all(point.high <= point.y <= point.low for point in chart.lines[0].points)  # places count downwards


def test_difference_chart_shows_zero_and_every_interval() -> None:
    differences = [d for d in ablation().differences if d.slice == "overall"]
    chart = draw_differences(differences)
    assert chart is not None
    assert [label for _, label in chart.rows] == ["smar-nc", "dpsr"]
    places = [tick.place for tick in chart.x_ticks]
    assert min(places) <= chart.zero <= max(places)
    assert all(min(places) <= point.low <= point.x <= point.high <= max(places) + 1e-6 for point in chart.points)
    assert draw_differences([]) is None


def test_a_difference_far_beyond_the_others_is_written_and_leaves_the_axis_to_them() -> None:
    """DPSR-i, 35 points below, squeezed every other variant of the first ablation into one spot."""
    (one, *_) = ablation().differences
    cells = {
        "near": Cell(value=-0.012, low=-0.026, high=0.001),
        "nearer": Cell(value=0.008, low=-0.007, high=0.024),
        "low": Cell(value=-0.353, low=-0.373, high=-0.333),
        "near too": Cell(value=-0.044, low=-0.055, high=-0.032),
        "high": Cell(value=0.4, low=0.3, high=0.5),
    }
    found = [one.model_copy(update={"setting": setting, "difference": cell}) for setting, cell in cells.items()]
    chart = draw_differences(found)
    assert chart is not None
    assert [label for _, label in chart.rows] == list(cells)
    assert [tick.label for tick in chart.x_ticks] == ["-6", "-4", "-2", "0", "2", "4"]
    rows = dict(chart.rows)
    assert [rows[mark.y] for mark in (*chart.points, *chart.off_axis)] == ["near", "nearer", "near too", "low", "high"]
    low, high = chart.off_axis
    assert low.words == "\N{MINUS SIGN}35.3 [\N{MINUS SIGN}37.3, \N{MINUS SIGN}33.3]" and "points" in low.tip
    assert (low.anchor, high.anchor) == ("start", "end") and low.text_x < chart.zero < high.text_x
    page = read(render_page(ablation().model_copy(update={"differences": tuple(found)})))
    assert low.words in page.text and "An arrow stands for a row" in page.text
    assert "An arrow stands for a row" not in read(render_page(ablation())).text


def test_long_settings_and_bars_stay_within_their_places() -> None:
    (one, *_) = ablation().differences
    difference = one.model_copy(update={"setting": "smar,finetune.hard_negatives=64,gate.visual_categories=[A|B]"})
    chart = draw_differences([difference])
    assert chart is not None
    assert len(chart.rows[0][1]) <= LABEL_CHARACTERS and difference.setting in chart.points[0].tip
    experiment = ablation().model_copy(update={"differences": (difference,)})
    assert "smar,<wbr>finetune.hard_negatives=64,<wbr>gate." in render_page(experiment)
    text = as_markdown(experiment)
    (line,) = [line for line in text.splitlines() if "hard_negatives" in line]
    assert line.count("|") == 4
