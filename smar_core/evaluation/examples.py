"""Queries that the report shows with pictures: chosen by a rule, not by hand.

Half are the biggest wins of the routed search over the text index in R@50, a quarter its biggest losses, the rest queries
drawn without looking at the result (the smallest query ids, which are hashes). Too few wins or losses leave more of the rest.
Many queries gain equally much; of those, the ones whose clicked products stand among the pictures shown come first.
"""

import io
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from PIL import Image

from smar_core.artifact import Artifact
from smar_core.evaluation.measures import Values
from smar_core.evaluation.systems import EncodedTest
from smar_core.evaluation.testset import ClickTest
from smar_core.model.pictures import PictureStore
from smar_core.report.page import Example, ResultItem
from smar_core.retrieval.exact import NO_ITEM, Ranking

NUM_RESULTS = 8
"""Products shown of a ranking."""

JPEG_QUALITY = 85


def choose_queries(gain_Q: Values, shown_gain_Q: Values, num_examples: int) -> list[int]:
    """Return the places of the queries to show: wins, losses, then ordinary ones.

    Args:
        gain_Q: R@50 of the routed search less that of the text index; queries in the order of their ids.
        shown_gain_Q: Clicked products among the pictures shown of the one less those of the other; breaks ties, then the place.
        num_examples: How many.

    >>> choose_queries(np.array([0.0, 0.5, -0.2, 0.5, 0.0, 0.9]), np.array([0, 1, 0, 2, 0, 0]), 4)
    [5, 3, 2, 0]
    """
    wins = [int(place) for place in np.lexsort((-shown_gain_Q, -gain_Q)) if gain_Q[place] > 0][: num_examples // 2]
    worst = np.lexsort((shown_gain_Q, gain_Q))
    losses = [int(place) for place in worst if gain_Q[place] < 0][: num_examples // 4]
    rest = [place for place in range(len(gain_Q)) if place not in {*wins, *losses}]
    return [*wins, *losses, *rest[: num_examples - len(wins) - len(losses)]]


def build_examples(
    test: ClickTest,
    encoded: EncodedTest,
    rankings: Mapping[str, Ranking],
    recalls: Mapping[str, Values],
    items: Artifact,
    num_examples: int,
) -> list[Example]:
    """Return the chosen queries with what ``model`` and ``text_only`` found; none when these are one, or one is not there.

    Args:
        test: The test queries.
        encoded: The gate's answers.
        rankings: By system.
        recalls: R@50 [Q] by system.
        items: Artifact with titles and pictures.
        num_examples: How many.
    """
    if "text_only" not in rankings or encoded.modalities == ("text",):
        return []
    shelf = _Shelf(items)
    shown = {system: test.qrels.grades_of(rankings[system].rows_QK[:, :NUM_RESULTS]) > 0 for system in ("model", "text_only")}
    shown_gain_Q = shown["model"].sum(axis=1) - shown["text_only"].sum(axis=1)
    return [
        Example(
            query=test.queries[place],
            probability=float(encoded.probabilities[place]),
            routed_to=encoded.modalities[encoded.route[place]],
            text_only=shelf.results(rankings["text_only"], test, place),
            routed=shelf.results(rankings["model"], test, place),
            recall_text_only=float(recalls["text_only"][place]),
            recall_routed=float(recalls["model"][place]),
        )
        for place in choose_queries(recalls["model"] - recalls["text_only"], shown_gain_Q, num_examples)
    ]


class _Shelf:
    """Titles and pictures by catalogue row (the order of the ids)."""

    def __init__(self, items: Artifact) -> None:
        table = items.read_table("items", ["item_id", "title", "brand", "category"])
        item_ids = table["item_id"].to_pylist()
        self._order = np.array(sorted(range(len(item_ids)), key=item_ids.__getitem__))
        self._table = table
        self._pictures = PictureStore.open(items)

    def results(self, ranking: Ranking, test: ClickTest, place: int) -> tuple[ResultItem, ...]:
        rows = ranking.rows_QK[place, :NUM_RESULTS]
        rows = rows[rows != NO_ITEM]
        relevant = set(test.qrels.row_E[test.qrels.query_E == place].tolist())
        records = self._table.take(pa.array(self._order[rows])).to_pylist()
        scores = ranking.scores_QK[place].tolist()
        pixels_RVHWC, has_view_RV = self._pictures.take(self._order[rows])
        return tuple(
            ResultItem(
                **record,
                score=scores[rank],
                is_relevant=int(row) in relevant,
                picture=encode_jpeg(pixels_RVHWC[rank, 0].numpy()) if has_view_RV[rank, 0] else None,
            )
            for rank, (row, record) in enumerate(zip(rows, records, strict=True))
        )


def encode_jpeg(pixels_HWC: np.ndarray) -> bytes:
    """Return an RGB picture, uint8 [H, W, 3], as JPEG."""
    out = io.BytesIO()
    Image.fromarray(pixels_HWC).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()
