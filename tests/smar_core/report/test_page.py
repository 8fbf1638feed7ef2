"""The report page: complete, self-contained, escaped, and content with whatever a run lacks."""

import dataclasses
import html.parser
import json
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from smar_core import schemas
from smar_core.data.demo_pictures import COLOURS, SHAPES, draw_product
from smar_core.report import diagnosis as diagnosis_of_page
from smar_core.report.data import Example, Match, ReportData, ResultItem
from smar_core.report.page import render_report

VOID = {"meta", "br", "img", "link", "input", "hr"}


def cell(value: float, half_width: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value - half_width, "high": value + half_width}


def difference(value: float, p: float) -> dict[str, Any]:
    return cell(value, 0.012) | {"relative_percent": cell(100 * value / 0.7, 1.0), "p": p, "p_holm": min(1.0, 2 * p)}


def diagnosis(system: Callable[[float, float, float], dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """What evaluate says beyond the scores of the systems."""
    main = ("overall", "fashion", "not_fashion")

    def of_main(part: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: part[name] for name in main}

    def by_slice(*values: float) -> dict[str, dict[str, Any]]:
        return {name: {"num_queries": 300, "R@50": difference(value, 0.01)} for name, value in zip(main, values, strict=True)}

    def disturbed(overall: float, fashion: float) -> dict[str, Any]:
        shares = {"overall": cell(2.43, 0.3), "fashion": cell(2.42, 0.3), "not_fashion": None}
        return {
            "scores": {"model": of_main(system(overall, fashion, 0.894)), "multimodal": of_main(system(overall, fashion, 0.88))},
            "loss": {name: by_slice(0.734 - overall, 0.689 - fashion, 0.0) for name in ("model", "multimodal")},
            "share_of_gain_lost": {"model": shares, "multimodal": shares},
        }

    policies = {
        "routed": (0.734, 0.689, 0.894),
        "always_text": (0.672, 0.618, 0.896),
        "always_multimodal": (0.731, 0.689, 0.884),
        "oracle": (0.748, 0.7, 0.9),
    }
    return {
        "gate": {
            "threshold": 0.44,
            "policies": {name: of_main(system(*values)) for name, values in policies.items()},
            "differences": {
                f"routed - {name}": by_slice(*(0.734 - value for value in values))
                for name, values in policies.items()
                if name != "routed"
            },
            "curve": [
                {"threshold": n / 50, "share_multimodal": 1 - n / 50} | cell(0.731 + 0.003 * (n < 40) - 0.06 * (n == 50), 0.01)
                for n in range(51)
            ],
            "utility": {
                "auc": cell(0.55, 0.08),
                "num_multimodal_better": 278,
                "num_text_better": 53,
                "num_equal": 909,
            },
        },
        "exclusive": {
            name: {"num_pairs": 1000, "num_both": 600, "num_multimodal_only": 112, "num_text_only": 18, "num_neither": 270}
            for name in main
        },
        "reliance": {"shuffled": disturbed(0.6, 0.52), "blank": disturbed(0.65, 0.59)},
        "signatures": [
            {"name": "No gain in fashion", "is_present": False, "evidence": "It gains +7.1 points.", "check": "Nothing to do."},
            {"name": "Unstable training", "is_present": None, "evidence": "No curve was logged.", "check": "Look at the curves."},
            {"name": "Generic pictures hurt", "is_present": True, "evidence": "They cost 3 points.", "check": "Look at them."},
        ],
    }


def match(found_by: str, rank: int, other_rank: int | None, rng: random.Random) -> Match:
    picture = draw_product(rng.choice(SHAPES), rng.choice(tuple(COLOURS)), "striped", rng)
    return Match("red striped shirt", found_by, rank, other_rank, "Harbour Shirt", "Apparel > Tops > Shirts", picture)


def made_up_report() -> ReportData:
    """A report of every part, with figures that nobody measured."""
    rng = random.Random(2)

    def system(overall: float, fashion: float, other: float) -> dict[str, dict[str, Any]]:
        slices = {
            "overall": (1240, overall),
            "fashion": (905, fashion),
            "not_fashion": (335, other),
            "seen_query": (1011, overall + 0.02),
            "unseen_query": (229, overall - 0.06),
            "unseen_pair": (840, overall - 0.1),
            "unseen_item": (91, overall - 0.12),
            "tail": (420, overall - 0.03),
            "head": (400, overall + 0.02),
            "category:Apparel": (700, fashion - 0.01),
            "picture_stock": (31, overall),
            "left_handed": (12, overall),
        }
        return {
            name: {
                "num_queries": num_queries,
                "R@50": cell(value, 0.6 / num_queries**0.5),
                "P@50": cell(value / 20, 0.002),
                "P@50_max": cell(0.06, 0.002),
                "nDCG@10": cell(value * 0.6),
                "RR@10": cell(value * 0.7),
            }
            for name, (num_queries, value) in slices.items()
        }

    scores: dict[str, Any] = {
        "model": system(0.734, 0.689, 0.894),
        "text_only": system(0.672, 0.618, 0.896),
        "text_only_pretrained": system(0.664, 0.607, 0.881),
        "multimodal": system(0.731, 0.689, 0.884),
        "image": system(0.35, 0.41, 0.12),
        "click_memory": system(0.31, 0.3, 0.33),
    }
    scores["judged"] = {"model": system(0.5, 0.45, 0.7), "num_unknown_items": 12}
    foreseen = {"num_queries": 1200, "model": cell(0.734), "attainable": cell(0.801), "share": cell(0.916)}
    scores["attainable"] = {"cutoff": 50, "slices": {"overall": foreseen}}
    scores["ann"] = {
        "text": {"recall@50": cell(0.991)},
        "multimodal": {"recall@50": cell(0.987)},
        "model": system(0.733, 0.688, 0.893),
    }
    scores["differences"] = {
        "model - click_memory": {"overall": {"num_queries": 1240, "R@50": difference(0.424, 0.0001)}},
        "model - text_only": {
            "overall": {"num_queries": 1240, "R@50": difference(0.062, 0.0004), "P@50": difference(0.0031, 0.03)},
            "tail": {"num_queries": 420, "R@50": difference(0.051, 0.002)},
        },
    }
    scores["traffic"] = {"model": system(0.801, 0.77, 0.9), "text_only": system(0.75, 0.7, 0.9)}
    scores["traffic"]["differences"] = {"model - text_only": {"overall": {"num_queries": 1240, "R@50": difference(0.051, 0.01)}}}
    scores["queries"] = {"num_test": 1243, "num_excluded": 3}
    scores |= diagnosis(system)
    lengths = {
        "true": {"mean": 2.6, "histogram": {"1": 0.1, "2": 0.4, "3": 0.3, "4": 0.15, "5": 0.05}},
        "synthetic": {"mean": 3.1, "histogram": {"1": 0.2, "2": 0.2, "3": 0.2, "4": 0.2, "5": 0.1, "6": 0.1}},
    }
    bins = [
        {"low": n / 10, "high": (n + 1) / 10, "num_queries": count, "mean_probability": n / 10 + 0.05, "mean_label": label}
        for n, (count, label) in enumerate(
            [(160, 0.02), (12, 0.1), (6, 0.3), (4, 0.3), (0, 0.0), (4, 0.6), (5, 0.6), (9, 0.8), (25, 0.9), (300, 0.99)]
        )
    ]
    gate = {
        "num_queries": 525,
        "auc": 0.985,
        "accuracy": 0.961,
        "calibration_error": 0.021,
        "share_multimodal_queries": 0.66,
        "share_multimodal_traffic": 0.71,
        "bins": bins,
    }
    split = {"num_queries": 6100, "num_pairs": 30210, "num_clicks": 45200, "num_seen_queries": 900, "num_seen_pairs": 300}
    training = {
        "best_step": 900,
        "num_steps": 1000,
        "batch_size": 384,
        "num_true_pairs": 30210,
        "num_synthetic_pairs": 610000,
        "num_distinct_synthetic_pairs_seen": 171234,
        "num_parameters": 3141592,
        "best": {"validation_R@50_multimodal": 0.74},
    }
    return ReportData(
        title="Fashion & home, preset small",
        scores=scores,
        curves={"pretrain": curve(1000, rng), "finetune": curve(500, rng)},
        training={"pretrain": training, "finetune": training | {"num_steps": 500, "best_step": 450, "num_synthetic_pairs": 0}},
        gate_report={
            "mode": "learned",
            "side": "query",
            "supervision": "category",
            "threshold": 0.43,
            "visual_categories": ["Apparel", "Footwear", "Accessories"],
            "validation": gate,
            "test": gate | {"auc": None},
        },
        gate_probabilities=[rng.betavariate(8, 0.7) for _ in range(350)] + [rng.betavariate(0.6, 8) for _ in range(175)],
        gate_is_visual=[True] * 350 + [False] * 175,
        statistics={
            "items": {
                "num_items": 18155,
                "num_with_image": 18149,
                "num_undecodable_images": 3,
                "num_rejects": 0,
                "image_width_px": 48,
                "image_height_px": 64,
                "top_categories": {"Apparel": 11000, "Footwear": 4000, "Home": 3155},
            },
            "clicks": {
                "num_rows": 400800,
                "num_rejects": 620,
                "num_duplicates": 310,
                "num_crawler_sessions": 2,
                "num_crawler_rows": 1500,
                "num_not_clicked": 340000,
                "num_clicks": 58370,
                "splits": {
                    "train": split | {"start": "2026-08-01T00:00:03+00:00", "end": "2026-09-18T14:00:00+00:00"},
                    "validation": split | {"start": "2026-09-18T14:00:00+00:00", "end": "2026-09-24T00:00:00+00:00"},
                    "test": split | {"start": "2026-09-24T00:00:00+00:00", "end": "2026-09-29T23:59:00+00:00"},
                },
            },
        },
        matches=[match("multimodal", 1, None, rng), match("multimodal", 4, 77, rng), match("text", 2, 51, rng)],
        drift={
            "num_synthetic": 598000,
            "num_requested": 610000,
            "num_dropped_held_out": 812,
            "num_given_up": 11188,
            "length_words": lengths,
            "token_jensen_shannon": 0.31,
            "out_of_vocabulary_share": {"true": 0.004, "synthetic": 0.0},
        },
        bundle={"embed_dim": 144, "num_items": 18155, "index": {"kind": "hnsw", "num_links": 32}},
        examples=[
            example("red striped shirt", 0.33, 1.0, rng),
            example("blue dress", 0.75, 0.25, rng),
            example("usb-c cable 2 m", 1.0, 1.0, rng),
        ],
    )


def curve(num_steps: int, rng: random.Random) -> pa.Table:
    rows = []
    for step in range(1, num_steps + 1):
        for part, end in (("text", 1.4), ("image", 3.1), ("multimodal", 1.2)):
            rows.append((step, f"loss_{part}", end + 4 / (1 + step / 80) + rng.gauss(0, 0.15)))
        if step % 100 == 0:
            for part, best in (("text", 0.67), ("image", 0.36), ("multimodal", 0.73), ("routed", 0.735)):
                rows.append((step, f"validation_R@50_{part}", best * (1 - 0.5 * 0.7 ** (step / 100))))
    return pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=["step", "name", "value"]).cast(schemas.CURVE)


def example(query: str, recall_text_only: float, recall_routed: float, rng: random.Random) -> Example:
    def items(num_relevant: int) -> tuple[ResultItem, ...]:
        return tuple(
            ResultItem(
                item_id=f"i{n}",
                title="Tarnholt Women's Harbour Shirt with a rather long name",
                brand="Tarnholt",
                category="Apparel > Tops > Shirts",
                score=0.8 - n / 50,
                is_relevant=n < num_relevant,
                picture=None if n == 6 else draw_product(rng.choice(SHAPES), rng.choice(tuple(COLOURS)), "striped", rng),
            )
            for n in range(10)
        )

    return Example(query, 0.97, "multimodal", items(1), items(4), recall_text_only, recall_routed)


class _Reader(html.parser.HTMLParser):
    """Checks nesting and collects what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_page_is_well_formed_and_asks_nothing_of_the_network() -> None:
    page = render_report(made_up_report())
    reader = read(page)
    assert "script" not in reader.tags and "link" not in reader.tags
    assert all(reference.startswith(("#", "data:image/jpeg;base64,")) for reference in reader.references)
    assert {reference[1:] for reference in reader.references if reference.startswith("#")} <= set(reader.ids)
    assert "@import" not in page and "url(" not in page
    assert "None" not in "".join(reader.text) and "nan" not in page


def test_page_says_the_headline_in_figures_and_words() -> None:
    text = " ".join("".join(read(render_report(made_up_report())).text).split())
    assert "SMAR0.7340.717 to 0.751" in text.replace(" 0.734 ", "0.734")
    assert "+6.2" in text and "+7.1 points in fashion" in text and "\N{MINUS SIGN}0.2 elsewhere" in text
    assert "+5.0 to +7.4" in text
    assert "1,240 queries" in text and "3 test queries without" in text


def test_tables_show_the_reachable_maximum_and_the_loss_of_the_index() -> None:
    text = " ".join("".join(read(render_report(made_up_report())).text).split())
    assert "P@50_max" not in text
    assert text.count("Reachable maximum") == 3  # clicks, traffic and judgments
    assert "text index, recall@50 of the exact ranking0.991" in text
    assert "approximate search0.733" in text and "exact search0.734" in text


def test_wins_losses_and_clicked_items_are_marked() -> None:
    page = render_report(made_up_report())
    assert page.count("▲ win") == 1 and page.count("▼ loss") == 1 and page.count("= no difference") == 1
    assert page.count('aria-label="clicked"') == 3 * (1 + 4)
    assert "1 that pictures helped, 1 that they hurt, 1 without a difference" in page
    assert page.count("no picture<") == 6


def test_everything_from_the_data_is_escaped() -> None:
    data = made_up_report()
    evil = "<script>alert('x')</script>"
    item = dataclasses.replace(data.examples[0].routed[0], title=evil, brand=evil, category=evil)
    examples = [dataclasses.replace(data.examples[0], query=evil, routed=(item,))]
    matches = [dataclasses.replace(data.matches[0], query=evil, title=evil, category=evil)]
    gate = dict(data.gate_report) | {"visual_categories": [evil]}
    statistics = dict(data.statistics) | {"items": dict(data.statistics["items"]) | {"top_categories": {evil: 3}}}
    page = render_report(
        dataclasses.replace(
            data, title=evil, examples=examples, matches=matches, gate_report=gate, statistics=statistics, bundle={evil: evil}
        )
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 11


@pytest.mark.parametrize(
    "name", ["curves", "training", "gate_report", "gate_probabilities", "statistics", "drift", "bundle", "examples", "matches"]
)
def test_a_missing_part_is_left_out(name: str) -> None:
    data = made_up_report()
    missing: dict[str, Any] = {name: type(getattr(data, name))()}
    if name == "gate_probabilities":
        missing["gate_is_visual"] = []
    page = render_report(dataclasses.replace(data, **missing))
    assert len(page) < len(render_report(data))
    read(page)


def test_scores_alone_make_a_page_and_so_does_nothing() -> None:
    scores = {"model": made_up_report().scores["model"]}
    assert "Scores" in render_report(ReportData("only scores", scores))
    read(render_report(ReportData("nothing", {})))


@pytest.mark.parametrize(
    "name", ["gate", "exclusive", "reliance", "signatures", "traffic", "differences", "judged", "attainable", "ann"]
)
def test_a_missing_part_of_the_scores_is_left_out(name: str) -> None:
    data = made_up_report()
    page = render_report(dataclasses.replace(data, scores={key: part for key, part in data.scores.items() if key != name}))
    assert len(page) < len(render_report(data))
    read(page)


def said() -> str:
    return " ".join("".join(read(render_report(made_up_report())).text).split())


def test_signatures_that_are_present_come_first_with_their_check_open() -> None:
    page = render_report(made_up_report())
    places = [page.index(name) for name in ("Generic pictures hurt", "Unstable training", "No gain in fashion")]
    assert places == sorted(places)
    assert page.count("<details open>") == 1
    assert "3 ways in which such a model is known to fail: 1 present, 1 not measured in this run" in said()


def test_what_can_be_foreseen_stands_beside_what_the_model_reaches() -> None:
    assert all(figure in said() for figure in ("Share reached", "0.801", "0.916"))


def test_differences_say_points_percent_and_corrected_p() -> None:
    text = said()
    assert "SMAR against text only+6.2+5.0 to +7.4+8.9%, p < 0.001" in text
    assert "+0.31\N{MINUS SIGN}0.89 to +1.51+0.4%, p 0.060" in text  # P@50 is small: two decimals


def test_small_slices_are_rows_in_their_groups() -> None:
    text = said()
    assert "SMAR against text only by category, frequency, pictures of the clicked products, other queries" in text
    assert text.index("Head400") < text.index("Tail420") < text.index("Left handed12")
    assert "Tail4200.704" in text and "Apparel7000.679" in text


def test_reliance_says_what_share_of_the_gain_the_pictures_carry() -> None:
    text = said()
    assert "With shuffled pictures the routed search loses 13.4 points of R@50 (12.2 to 14.6), in fashion 16.9." in text
    assert "Of its gain over text only in fashion that is 242% (212% to 272%): wrong pictures are worse than none." in text


def test_exclusive_matches_are_counted_and_shown() -> None:
    text = said()
    assert "Of 1,000 pairs of a query and a product clicked for it, the multimodal index alone finds 112" in text
    assert "rank 1, other index not in its list" in text and "rank 4, other index 77" in text


def test_gate_report_compares_the_routings() -> None:
    text = said()
    assert "Always 1" in text and "Oracle" in text and "chosen: 0.44" in text
    assert "AUC of 0.550 (0.470 to 0.630)" in text
    assert "In hindsight no other would have given more R@50." in text


def test_of_equally_good_thresholds_the_nearest_to_the_chosen_one_is_named() -> None:
    curve = [{"threshold": n / 10, "value": value} for n, value in enumerate((0.5, 0.7, 0.6, 0.7, 0.7))]
    assert diagnosis_of_page.best_threshold({"threshold": 0.24, "curve": curve}) == {"threshold": 0.3, "value": 0.7}
    assert diagnosis_of_page.best_threshold({}) is None


@pytest.mark.parametrize(
    ("mode", "name"),
    [("always_text", "Text model"), ("always_multimodal", "Multimodal model"), ("always_image", "Picture model")],
)
def test_a_model_of_one_index_says_what_it_has_not(mode: str, name: str) -> None:
    data = made_up_report()
    shown = {"model", "click_memory", "queries", *(["text_only"] if mode == "always_text" else [])}
    scores = {key: part for key, part in data.scores.items() if key in shown}
    page = render_report(
        dataclasses.replace(data, scores=scores, gate_report=dict(data.gate_report) | {"mode": mode}, matches=(), examples=())
    )
    text = " ".join("".join(read(page).text).split())
    assert f"{name} finds 73% among its first 50." in text and "SMAR finds" not in text
    assert "Not measured: the model has one index only." in text and "there is no routing to compare" in text
    assert "Not measured: the model does not look at pictures" in text and "Difference" not in text


def test_the_order_of_stored_keys_does_not_matter() -> None:
    """scores.json has its keys in alphabetical order; a page made from it is the same."""
    data = made_up_report()
    stored = json.loads(json.dumps(data.scores, sort_keys=True))
    pages = [render_report(dataclasses.replace(data, scores=scores)) for scores in (data.scores, stored)]
    headers = [[line for line in page.splitlines() if "<th scope" in line] for page in pages]
    first = next(line for line in headers[1] if "All queries" in line)
    assert first.index("All queries") < first.index("Fashion")
    assert headers[0] == headers[1]


def test_a_gate_that_was_not_learned_has_no_histogram() -> None:
    data = made_up_report()
    page = render_report(dataclasses.replace(data, gate_report=dict(data.gate_report) | {"mode": "always_text"}))
    assert "What the gate says" not in page and "always_text" in page


def test_a_slice_without_a_value_shows_a_dash() -> None:
    data = made_up_report()
    empty = {"num_queries": 0, "R@50": {"value": None, "low": None, "high": None}}
    scores = {"model": dict(data.scores["model"]) | {"unseen_query": empty}, "text_only": data.scores["text_only"]}
    page = render_report(dataclasses.replace(data, scores=scores))
    assert "<td>\N{EN DASH}</td>" in page


def test_without_a_synthetic_query_nothing_is_said_of_its_words() -> None:
    """``synthetic.ratio=0`` trained for hours, and its evaluation ended here."""
    data = made_up_report()
    assert data.drift is not None and "Jensen-Shannon" in render_report(data)
    none = data.drift | {
        "num_synthetic": 0,
        "token_jensen_shannon": None,
        "out_of_vocabulary_share": {"true": 0.004, "synthetic": None},
    }
    page = render_report(dataclasses.replace(data, drift=none))
    assert "0 synthetic queries of" in page and "Jensen-Shannon" not in page


def test_splits_are_shown_in_order_of_time() -> None:
    """Stored JSON has its keys in alphabetical order."""
    data = made_up_report()
    clicks = dict(data.statistics["clicks"])
    clicks["splits"] = dict(sorted(clicks["splits"].items()))
    page = render_report(dataclasses.replace(data, statistics={"clicks": clicks}))
    places = [page.index(f'<th scope="row">{name}</th>') for name in ("train", "validation", "test")]
    assert places == sorted(places)


def test_equal_data_gives_equal_text() -> None:
    assert render_report(made_up_report()) == render_report(made_up_report())


def test_what_a_loss_learned_is_drawn() -> None:
    """Weights and temperature have charts of their own where training logged them, and none where it did not."""
    report = made_up_report()
    logged = [
        (step, name, 1.0 / step)
        for step in (1, 2)
        for name in ("loss", "loss_text", "weight_text", "weight_image", "temperature")
    ]
    columns = [pa.array(column) for column in zip(*logged, strict=True)]
    learned = pa.table(columns, names=["step", "name", "value"]).cast(schemas.CURVE)
    page = render_report(dataclasses.replace(report, curves={**report.curves, "pretrain": learned}))
    assert "Pre-training: learned weights of the losses" in page and "Pre-training: learned temperature" in page
    assert "learned weights" not in render_report(report)


def test_intervals_are_called_by_their_confidence() -> None:
    """Every page said 95%, whatever ``evaluate.confidence`` was; scores of earlier versions do not say and were made with it."""
    data = made_up_report()
    assert render_report(data).count("95%") == 4
    page = render_report(dataclasses.replace(data, scores=data.scores | {"queries": {"confidence": 0.9}}))
    assert page.count("90%") == 4 and "95%" not in page


def test_a_share_that_may_be_of_nothing_is_a_dash() -> None:
    data = made_up_report()
    row = data.scores["attainable"]["slices"]["overall"] | {"share": None}
    page = render_report(dataclasses.replace(data, scores=data.scores | {"attainable": {"slices": {"overall": row}}}))
    assert "0.821</small></td><td>\N{EN DASH}</td></tr>" in page
