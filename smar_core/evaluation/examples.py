"""Queries and products that the report shows with pictures: chosen by a rule, not by hand.

Of the queries, half are the biggest wins of the routed search over the text index in R@50, a quarter its biggest losses, the
rest drawn without looking at the result (the smallest query ids, which are hashes). Too few wins or losses leave more of the
rest. Many queries gain equally much; of those, the ones whose clicked products stand among the pictures shown come first. The
products are exclusive matches, by the rule of ``exclusive.choose_pairs``.
"""

from collections.abc import Mapping

import numpy as np

from smar_core.evaluation.diagnosis import has_two_indexes
from smar_core.evaluation.exclusive import NOT_RANKED, choose_pairs, ranks_of
from smar_core.evaluation.measures import Values
from smar_core.evaluation.shelf import Shelf
from smar_core.evaluation.systems import EncodedTest
from smar_core.evaluation.testset import ClickTest
from smar_core.report.data import Example, Match, ResultItem
from smar_core.retrieval.exact import NO_ITEM, Ranking

NUM_RESULTS = 8
"""Products shown of a ranking."""


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
    shelf: Shelf,
    num_examples: int,
) -> list[Example]:
    """Return the chosen queries with what ``model`` and ``text_only`` found; none when these are one, or one is not there.

    Args:
        test: The test queries.
        encoded: The gate's answers.
        rankings: By system.
        recalls: R@50 [Q] by system.
        shelf: Titles and pictures.
        num_examples: How many.
    """
    if "text_only" not in rankings or encoded.modalities == ("text",):
        return []
    shown = {system: test.qrels.grades_of(rankings[system].rows_QK[:, :NUM_RESULTS]) > 0 for system in ("model", "text_only")}
    shown_gain_Q = shown["model"].sum(axis=1) - shown["text_only"].sum(axis=1)
    return [
        Example(
            query=test.queries[place],
            probability=float(encoded.probabilities[place]),
            routed_to=encoded.modalities[encoded.route[place]],
            text_only=_results(shelf, rankings["text_only"], test, place),
            routed=_results(shelf, rankings["model"], test, place),
            recall_text_only=float(recalls["text_only"][place]),
            recall_routed=float(recalls["model"][place]),
        )
        for place in choose_queries(recalls["model"] - recalls["text_only"], shown_gain_Q, num_examples)
    ]


def build_matches(
    test: ClickTest, encoded: EncodedTest, rankings: Mapping[str, Ranking], shelf: Shelf, num_matches: int
) -> list[Match]:
    """Return clicked products that one index alone finds, half of each; none where there are no two indexes.

    Args:
        test: The test queries.
        encoded: The gate's answers.
        rankings: By system.
        shelf: Titles and pictures.
        num_matches: Most products to show.
    """
    if not has_two_indexes(encoded):
        return []
    ranks = {name: ranks_of(rankings[system].rows_QK, test.qrels) for name, system in _INDEX_SYSTEMS.items()}
    matches = []
    for name, other in (("multimodal", "text"), ("text", "multimodal")):
        entries = choose_pairs(ranks[name], ranks[other], test.qrels, num_matches // 2)
        for entry, record in zip(entries, shelf.take(test.qrels.row_E[entries]), strict=True):
            other_rank = int(ranks[other][entry])
            matches.append(
                Match(
                    query=test.queries[test.qrels.query_E[entry]],
                    found_by=name,
                    rank=int(ranks[name][entry]),
                    other_rank=None if other_rank == NOT_RANKED else other_rank,
                    title=record["title"],
                    category=record["category"],
                    picture=record["picture"],
                )
            )
    return matches


_INDEX_SYSTEMS = {"multimodal": "multimodal", "text": "text_only"}


def _results(shelf: Shelf, ranking: Ranking, test: ClickTest, place: int) -> tuple[ResultItem, ...]:
    rows = ranking.rows_QK[place, :NUM_RESULTS]
    rows = rows[rows != NO_ITEM]
    relevant = set(test.qrels.row_E[test.qrels.query_E == place].tolist())
    scores = ranking.scores_QK[place].tolist()
    return tuple(
        ResultItem(**record, score=scores[rank], is_relevant=int(row) in relevant)
        for rank, (row, record) in enumerate(zip(rows, shelf.take(rows), strict=True))
    )
