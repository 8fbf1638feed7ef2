"""``python -m benchmarks.pair_gate BUNDLE``: would a gate that looks at query and item find more? (docs/adr/0010)

Quality, not speed. P(q, s) scores an item P * s_m + (1 - P) * s_t, over what either index finds first. Its header is bilinear on
the bundle's frozen embeddings: sigmoid(U Q(q) . V [S_t, S_m] + b), where U and V carry offsets, so that it has linear terms too.
It is taught on the clicks of the training days, in two ways:

* ``contrast``: cross-entropy of the clicked item's score against the first ones of either index that its query did not click;
* ``clicked pairs``: the utility of ``smar_core/training/gate_labels.py``, by the bundle's own ranks. As in P(q)'s calibration,
  the target is which rank is better, and a pair counts as much as its two ranks differ.

Everything is measured on the validation days, no header is fitted to them, and the test days are not looked at. (The run itself
chose its checkpoint, and its gate's calibration and threshold, on the validation days.) The towers were trained on the training
clicks, so the header sees both rankings better than they are for new queries. Searches are exact. Three seeds of preset ``small``
take 40 s on a core. The settings of the header are the first ones tried; with 1,200 steps and seed 0 either teaching finds less
(.7676 and .7623 for .7694 and .7646).
Left out: a search for better settings of the header, and a P that reads the two scores as well.

Shapes: T towers (S_t, S_m), Q queries, N items, P training pairs, C candidates, B pairs of a batch, D embed_dim, F = 2 D,
R rank, S seeds.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.lineage import open_made_from
from smar_core.artifact import write_json
from smar_core.errors import UserError
from smar_core.evaluation.measures import Qrels, Values, measure_run
from smar_core.evaluation.significance import paired_comparison_of_seeds
from smar_core.retrieval.bundle import Bundle, id_order
from smar_core.retrieval.exact import NO_ITEM, Floats, Rows, exact_search
from smar_core.training.gate_labels import ClickedPairs, rank_pairs, read_clicked_pairs, utility_labels

TEACHINGS = ("contrast", "clicked pairs")
CUTOFF = 50
SEARCH_DEPTH = 200
"""Items of either index that are scored."""
NEGATIVE_DEPTH = 50
"""Items of either index that a clicked one is held against."""
TEMPERATURE = 1 / 30
"""That of the towers' own contrast."""
RANK = 16
NUM_STEPS, BATCH_SIZE, LEARNING_RATE = 400, 256, 0.01
NUM_BOOTSTRAP_SAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Candidates:
    """Distinct catalogue rows for each query, int32, ``NO_ITEM`` in empty places; their float32 cosines with S_t and with S_m."""

    row_QC: Tensor
    score_TQC: Tensor

    @classmethod
    def score(cls, query_QD: Floats, tower_TND: Floats, row_QC: Rows) -> "Candidates":
        """Score rows in float64 and round once, as ``exact_search`` does: what has equal embeddings has equal scores."""
        scores = [tower_TND[:, row_C].astype(np.float64) @ query_D for query_D, row_C in zip(query_QD, row_QC, strict=True)]
        return cls(torch.from_numpy(row_QC), torch.from_numpy(np.stack(scores, axis=1)).float())

    def mix(self, probability_QC: Tensor) -> Tensor:
        """Return P * s_m + (1 - P) * s_t [Q, C], -inf in empty places."""
        score_QC = probability_QC * self.score_TQC[1] + (1 - probability_QC) * self.score_TQC[0]
        return score_QC.masked_fill(self.row_QC == NO_ITEM, -torch.inf)

    def rank(self, probability_QC: Tensor) -> Rows:
        """Return the best rows by mixed score, ties by row [Q, CUTOFF]; ``NO_ITEM`` where there are no more."""
        row_QC = self.row_QC.numpy()
        order_QC = np.lexsort((row_QC, -self.mix(probability_QC).numpy()), axis=-1)
        return np.take_along_axis(row_QC, order_QC[:, :CUTOFF], axis=1)


def find(query_QD: Floats, tower_TND: Floats, depth: int) -> Rows:
    """Return the distinct rows that either index finds first [Q, 2 * depth], ``NO_ITEM`` in empty places."""
    row_QC = np.sort(np.concatenate([exact_search(query_QD, item_ND, depth).rows_QK for item_ND in tower_TND], axis=1), axis=1)
    is_repeated_QC = np.pad(row_QC[:, 1:] == row_QC[:, :-1], ((0, 0), (1, 0)))
    return np.where(is_repeated_QC, NO_ITEM, row_QC)


class PairHeader(nn.Module):
    """P(q, s): see the module."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.query, self.item = nn.Linear(embed_dim, RANK), nn.Linear(2 * embed_dim, RANK)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, query_BD: Tensor, item_NF: Tensor, row_BC: Tensor) -> Tensor:
        """Return P [B, C] in 0..1 of rows of the catalogue; in empty places it means nothing."""
        # Unlike indexing, embedding adds up the gradient of a row in the same order with any number of threads.
        query_BR1, item_BCR = self.query(query_BD).unsqueeze(2), F.embedding(row_BC.clamp_min(0), self.item(item_NF))
        return torch.sigmoid((item_BCR @ query_BR1).squeeze(2) + self.bias)


@dataclass(frozen=True, eq=False)
class Lesson:
    """The clicked pairs of the training days.

    Attributes:
        query_PD: Embedding of each pair's query.
        item_NF: S_t and S_m of the catalogue side by side.
        candidates: The clicked item of each pair, then the negatives of its query.
        utility_P: How much better S_m ranks the clicked item, 0..1.
    """

    query_PD: Tensor
    item_NF: Tensor
    candidates: Candidates
    utility_P: Tensor

    @classmethod
    def prepare(cls, pairs: ClickedPairs, query_QD: Floats, tower_TND: Floats) -> "Lesson":
        """Look up ranks and negatives of the training pairs."""
        inside = pairs.split_P == "train"
        asked, query_P = np.unique(pairs.query_P[inside], return_inverse=True)
        query_QD, item_P, num_items = query_QD[asked], pairs.item_P[inside], tower_TND.shape[1]
        row_QC = find(query_QD, tower_TND, NEGATIVE_DEPTH)
        is_clicked_QC = np.isin(np.arange(len(asked))[:, None] * num_items + row_QC, query_P * num_items + item_P)
        row_PC = np.column_stack([item_P, np.where(is_clicked_QC, NO_ITEM, row_QC)[query_P]]).astype(np.int32)
        utility_P = utility_labels(*(rank_pairs(query_QD, item_ND, query_P, item_P) for item_ND in tower_TND))
        return cls(
            torch.from_numpy(query_QD[query_P]),
            torch.from_numpy(np.concatenate(list(tower_TND), axis=1)),
            Candidates.score(query_QD[query_P], tower_TND, row_PC),
            torch.from_numpy(utility_P).float(),
        )

    def loss(self, header: PairHeader, teaching: str, pair_B: Tensor) -> Tensor:
        """Return the mean loss of some pairs."""
        batch = Candidates(self.candidates.row_QC[pair_B], self.candidates.score_TQC[:, pair_B])
        if teaching == "contrast":
            logits_BC = batch.mix(header(self.query_PD[pair_B], self.item_NF, batch.row_QC)) / TEMPERATURE
            return F.cross_entropy(logits_BC, torch.zeros(len(pair_B), dtype=torch.int64))
        probability_B = header(self.query_PD[pair_B], self.item_NF, batch.row_QC[:, :1]).squeeze(1)
        utility_B = self.utility_P[pair_B]
        return F.binary_cross_entropy(probability_B, (utility_B > 0.5).float(), (2 * utility_B - 1).abs())


def teach(lesson: Lesson, teaching: str, seed: int) -> PairHeader:
    """Train a header by one of ``TEACHINGS``; every clicked pair is drawn alike, and equal seeds give equal headers."""
    torch.manual_seed(seed)
    header = PairHeader(lesson.query_PD.shape[1])
    optimiser = torch.optim.AdamW(header.parameters(), lr=LEARNING_RATE)
    for _ in range(NUM_STEPS):
        loss = lesson.loss(header, teaching, torch.randint(len(lesson.query_PD), (BATCH_SIZE,)))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return header


def measure_pair_gate(
    pairs: ClickedPairs, query_QD: Floats, tower_TND: Floats, is_multimodal_Q: NDArray[np.bool_] | None, num_seeds: int
) -> dict[str, Any]:
    """Compare P(q, s) with the constant choices, the best choice for each query, and the run's own gate.

    Args:
        pairs: Clicked pairs of every split; those of the test days are not looked at.
        query_QD: L2-normalised embeddings of ``pairs.queries``.
        tower_TND: S_t and S_m of the catalogue, L2-normalised.
        is_multimodal_Q: Where the run's gate sends ``pairs.queries``; None where it does not look at them.
        num_seeds: Headers of each teaching.

    Returns:
        By system: R@50 of each seed; what ``paired_comparison_of_seeds`` says of its difference to always-multimodal; P's mean
        over seeds and candidates, None where there is no P(q, s).
    """
    inside = pairs.split_P == "validation"
    asked, query_P = np.unique(pairs.query_P[inside], return_inverse=True)
    qrels = Qrels.build(len(asked), query_P, pairs.item_P[inside], np.ones(len(query_P)))
    found = Candidates.score(query_QD[asked], tower_TND, find(query_QD[asked], tower_TND, SEARCH_DEPTH))

    def recall(probability_QC: Tensor) -> Values:
        return measure_run(found.rank(probability_QC), qrels, [CUTOFF])[f"R@{CUTOFF}"]

    text_Q, multimodal_Q = recall(torch.zeros(found.row_QC.shape)), recall(torch.ones(found.row_QC.shape))
    results = {"always text": _summary([text_Q], multimodal_Q), "always multimodal": _summary([multimodal_Q], multimodal_Q)}
    if is_multimodal_Q is not None:
        results["the run's gate"] = _summary([np.where(is_multimodal_Q[asked], multimodal_Q, text_Q)], multimodal_Q)
    lesson = Lesson.prepare(pairs, query_QD, tower_TND)
    for teaching in TEACHINGS:
        headers = [teach(lesson, teaching, seed) for seed in range(num_seeds)]
        with torch.inference_mode():
            by_seed = [header(torch.from_numpy(query_QD[asked]), lesson.item_NF, found.row_QC) for header in headers]
        mean_p = float(torch.stack(by_seed)[:, found.row_QC != NO_ITEM].mean())
        results[f"P(q, s) by {teaching}"] = _summary([recall(of) for of in by_seed], multimodal_Q) | {"mean_p": mean_p}
    return results | {"oracle": _summary([np.maximum(text_Q, multimodal_Q)], multimodal_Q)}


def _summary(value_SQ: Sequence[Values], baseline_Q: Values) -> dict[str, Any]:
    compared = paired_comparison_of_seeds(
        np.stack(value_SQ), baseline_Q[None], num_samples=NUM_BOOTSTRAP_SAMPLES, confidence=0.95, seed=0
    )
    return {
        f"R@{CUTOFF}": [float(value_Q.mean()) for value_Q in value_SQ],
        "deviation": compared.deviation,
        "difference": compared.comparison.difference.as_json(),
        "p": compared.comparison.p_value,
        "mean_p": None,
    }


def read_run(folder: Path) -> tuple[Bundle, ClickedPairs]:
    """Open a bundle of a store, ``STORE/bundle/DIGEST``, and the clicks that its model was trained on, in the bundle's rows.

    Raises:
        UserError: It is no bundle, or lacks S_t or S_m.
        ArtifactError: What it was made from does not lie beside it.
    """
    bundle, items, clicks = open_made_from(folder)
    if not {"text", "multimodal"} <= set(bundle.modalities):
        raise UserError(f"{folder} has {list(bundle.modalities)} only", "name the bundle of a model with S_t and S_m")
    item_ids = items.read_table("items", ["item_id"])["item_id"].to_pylist()
    pairs = read_clicked_pairs(items, clicks)
    return bundle, replace(pairs, item_P=np.argsort(id_order(item_ids))[pairs.item_P])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pair_gate", description="Measure P(q, s) on the validation days.")
    parser.add_argument("bundle", type=Path, help="bundle of a store: .smar/store/artifacts/bundle/DIGEST")
    parser.add_argument("--seeds", type=int, default=3, help="headers of each teaching (default: 3)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    bundle, pairs = read_run(arguments.bundle)
    tower_TND, gate = np.stack([bundle.embeddings("text"), bundle.embeddings("multimodal")]), bundle.gate
    is_multimodal_Q = None
    if not gate.is_on_items:
        is_multimodal_Q = np.array(gate.modalities)[gate.route(bundle.probabilities(pairs.queries))] == "multimodal"
    results = measure_pair_gate(pairs, bundle.encode(pairs.queries), tower_TND, is_multimodal_Q, arguments.seeds)
    print(f"{'':26}{f'R@{CUTOFF}':>6}  to always multimodal, 95%; mean P; {f'R@{CUTOFF}'} of each seed")
    for name, of in results.items():
        difference = "{value:+6.2f} [{low:+.2f}, {high:+.2f}]".format(
            **{end: 100 * of["difference"][end] for end in of["difference"]}
        )
        by_seed = [f"{100 * value:.2f}" for value in of[f"R@{CUTOFF}"]]
        seeds = "" if of["mean_p"] is None else f"; {of['mean_p']:.2f}; {' '.join(by_seed)}"
        print(f"{name:26}{100 * np.mean(of[f'R@{CUTOFF}']):6.2f} {difference}{seeds}")
    if arguments.out:
        write_json(arguments.out, {"bundle": arguments.bundle.name, "gate": bundle.settings["gate"], "systems": results})


if __name__ == "__main__":
    main()
