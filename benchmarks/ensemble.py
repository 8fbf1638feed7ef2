"""``python -m benchmarks.ensemble BUNDLE BUNDLE ...``: how much do several trainings together find?

Quality, not speed. The members are trainings of one model with several seeds. Their vectors are laid side by side, so that the
inner product is the sum of their cosines: one index again, as many times as wide, and each query is encoded by all of them. What
a member loses by the chance of its own training is averaged out; what all of them lose is not. Every query is ranked by what
stands last in a bundle's ``indexed``: S_m where there is one, without the gate. Searches are exact.
With ``--against``, the ensemble of other bundles (a baseline's) is the other side of the differences.

Shapes: Q queries, N items, M members, D the sum of their embed_dims.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from benchmarks.lineage import open_made_from
from smar_core.artifact import write_json
from smar_core.errors import UserError
from smar_core.evaluation.bootstrap import percentile_interval, resample_means
from smar_core.evaluation.measures import Values, measure_run
from smar_core.evaluation.significance import paired_comparison_of_seeds
from smar_core.evaluation.slices import Mask, query_slices, visual_items
from smar_core.evaluation.testset import ClickTest, load_click_test
from smar_core.retrieval.bundle import Bundle
from smar_core.retrieval.exact import Floats, exact_search

Days = Literal["validation", "test"]
CUTOFF = 50
SLICES = ("overall", "fashion", "not_fashion")
NUM_BOOTSTRAP_SAMPLES = 1000


def recall_of(query_QD: Floats, item_ND: Floats, test: ClickTest) -> Values:
    """Return R@50 of each query [Q]."""
    return measure_run(exact_search(query_QD, item_ND, CUTOFF).rows_QK, test.qrels, [CUTOFF])[f"R@{CUTOFF}"]


def measure_members(members: Sequence[tuple[Floats, Floats]], test: ClickTest) -> tuple[np.ndarray, Values]:
    """Return R@50 of every member [M, Q] and of all together [Q].

    Args:
        members: Embeddings of the queries and of the catalogue, L2-normalised, of each member.
        test: The queries.
    """
    value_MQ = np.stack([recall_of(query_QD, item_ND, test) for query_QD, item_ND in members])
    query_QD, item_ND = (np.concatenate(side, axis=1) for side in zip(*members, strict=True))
    return value_MQ, recall_of(query_QD, item_ND, test)


def read_members(folders: Sequence[Path], days: Days) -> tuple[list[tuple[Floats, Floats]], ClickTest, Mapping[str, Mask]]:
    """Open bundles of one catalogue and log, and encode the evaluated days' queries by each.

    Raises:
        UserError: They are of different catalogues or logs.
    """
    members: list[tuple[Floats, Floats]] = []
    found: tuple[Bundle, ClickTest] | None = None
    for folder in folders:
        bundle, _, clicks = open_made_from(folder)
        test = load_click_test(clicks, bundle.item_ids, days)
        if found is not None and (bundle.item_ids != found[0].item_ids or not _is_same(test, found[1])):
            raise UserError(f"{folder} is of other items or clicks than {folders[0]}", "name bundles of one catalogue and log")
        found = found or (bundle, test)
        members.append((bundle.encode(test.queries), bundle.embeddings(bundle.indexed[-1])))
    assert found is not None
    bundle, test = found
    slices = query_slices(test.qrels, visual_items(bundle.categories, bundle.gate.visual_categories), test.is_seen_query)
    return members, test, {name: slices[name] for name in SLICES if slices[name].any()}


def compare(folders: Sequence[Path], against: Sequence[Path], days: Days) -> dict[str, Any]:
    """Measure two sides, of which the second may be empty.

    Returns:
        By slice: ``num_queries``; ``members`` (their mean) and ``ensemble``, R@50 with its interval over queries; ``seeds``,
        that of each member; ``gain``, ensemble less members; and where there is another side the same with ``against_``,
        ``members_less_against`` and ``ensemble_less_against``.
    """
    members, test, slices = read_members(folders, days)
    sides = {"": measure_members(members, test)}
    if against:
        others, other_test, _ = read_members(against, days)
        if not _is_same(other_test, test):
            raise UserError(f"{against[0]} is of other clicks than {folders[0]}", "name bundles of one catalogue and log")
        sides["against_"] = measure_members(others, other_test)
    results: dict[str, Any] = {}
    for name, mask in slices.items():
        inside = {side: (value_MQ[:, mask], value_Q[mask]) for side, (value_MQ, value_Q) in sides.items()}
        of_slice: dict[str, Any] = {"num_queries": int(mask.sum())}
        for side, (value_MQ, value_Q) in inside.items():
            of_slice |= {f"{side}members": _mean(value_MQ.mean(axis=0)), f"{side}ensemble": _mean(value_Q)}
            of_slice[f"{side}seeds"] = value_MQ.mean(axis=1).tolist()
        of_slice["gain"] = _difference(inside[""][1][None], inside[""][0])
        if against:
            of_slice["members_less_against"] = _difference(inside[""][0], inside["against_"][0])
            of_slice["ensemble_less_against"] = _difference(inside[""][1][None], inside["against_"][1][None])
        results[name] = of_slice
    return results


def _is_same(test: ClickTest, other: ClickTest) -> bool:
    return test.query_ids == other.query_ids and np.array_equal(test.qrels.row_E, other.qrels.row_E)


def _mean(value_Q: Values) -> dict[str, float]:
    samples = resample_means(value_Q[:, None], NUM_BOOTSTRAP_SAMPLES, 0)[:, 0]
    return percentile_interval(float(value_Q.mean()), samples, 0.95).as_json()


def _difference(value_SQ: np.ndarray, baseline_TQ: np.ndarray) -> dict[str, float]:
    found = paired_comparison_of_seeds(value_SQ, baseline_TQ, num_samples=NUM_BOOTSTRAP_SAMPLES, confidence=0.95, seed=0)
    return found.comparison.difference.as_json()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ensemble", description="Measure several trainings as one.")
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE", help="of a store: .smar/store/artifacts/bundle/DIGEST")
    parser.add_argument("--against", type=Path, nargs="+", default=[], metavar="BUNDLE", help="bundles of a baseline")
    parser.add_argument("--days", choices=get_args(Days), default="validation", help="(default: validation)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    results = compare(arguments.bundles, arguments.against, arguments.days)
    for name, of_slice in results.items():
        print(f"{name}, {of_slice['num_queries']:,} queries of the {arguments.days} days")
        for row, cell in of_slice.items():
            if isinstance(cell, dict):
                print(f"  {row:24}{cell['value']:+.4f} [{cell['low']:+.4f}, {cell['high']:+.4f}]")
    if arguments.out:
        sides = {"bundles": arguments.bundles, "against": arguments.against}
        named = {side: [folder.resolve().name for folder in folders] for side, folders in sides.items()}
        write_json(arguments.out, {**named, "days": arguments.days, f"R@{CUTOFF}": results})


if __name__ == "__main__":
    main()
