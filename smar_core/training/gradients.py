"""The gradient of a batch's loss, however many pairs are encoded at a time and however many processes share the work.

A contrastive loss couples all rows of its batch, so neither chunks nor processes can each take the loss of their own pairs.
Both are served by one mechanism (GradCache, Gao et al. 2021): the chain rule splits the gradient at the embeddings,

    dL/dweights = sum over rows r of dL/d(embedding r) * d(embedding r)/dweights,

so (1) every part of the batch is encoded without a graph, (2) the loss of the whole batch is computed on the embeddings as if
they were its inputs, which yields dL/d(embedding r) and the gradients of the objective's own parameters, (3) every part is
encoded again, now with a graph, and its rows' gradients are pushed through it. The memory of activations is that of one part;
the price is a second forward pass, saved where a process has only one part of each side.

With several processes each encodes its share of the rows, the embeddings are gathered by a sum in which the rows of others are
0, every process computes the same whole loss, and the weights' gradients are added up. This *is* the gather with gradient: a
gather that is differentiated sends each row's gradient, added over the processes' losses, back to its owner; here every process
holds the one whole loss, so the rows' gradients are there already, and the sum over rows above becomes the sum over processes.
Nothing is averaged: the result is the gradient of the full batch in one process, up to the order of float additions.

Dropout: every part seeds torch by itself, before both of its passes, so the second sees the masks of the first.
Shapes: B pairs, N items, D embed_dim.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smar_core.config import Tower
from smar_core.losses.objectives import Objective
from smar_core.training.distributed import ALONE, Ranks
from smar_core.training.encoder import BatchEncoder
from smar_core.training.sampler import Batch


@dataclass(frozen=True)
class _Part:
    """Rows of one side of a batch, ``query`` or ``item``, that are encoded together; seed is that of its dropout."""

    side: str
    rows: slice
    seed: int


class BatchGradients:
    """Leaves the gradient of a batch's loss in the parameters.

    Args:
        encoder: Encodes parts of a batch.
        objective: The loss; its own parameters get their gradients too.
        chunk_size: Queries, and then items, encoded at a time; None: all.
        ranks: The processes that share the work; each must be handed the same batches.
    """

    def __init__(self, encoder: BatchEncoder, objective: Objective, chunk_size: int | None, ranks: Ranks = ALONE) -> None:
        self._encoder, self._objective = encoder, objective
        self._chunk_size, self._ranks = chunk_size, ranks

    def __call__(self, batch: Batch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradient to the parameters, which have none yet.

        Args:
            batch: The whole batch.
            seed: Of the dropout.

        Returns:
            The loss and its parts, without graph.
        """
        parts = self._parts(batch, seed)
        if self._ranks.size == 1 and len(parts) == 2:
            loss, losses = self._at_once(batch, seed)
        else:
            loss, losses = self._in_parts(batch, parts)
            self._add_up_gradients()
        return loss.detach(), {name: value.detach() for name, value in losses.items()}

    def _at_once(self, batch: Batch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(seed)
        query_BD, items = self._encoder.queries(batch), self._encoder.items(batch)
        loss, losses = self._objective(query_BD, items, self._encoder.relations(batch))
        loss.backward()
        return loss, losses

    def _in_parts(self, batch: Batch, parts: list[_Part]) -> tuple[Tensor, dict[str, Tensor]]:
        keeps_graph = len(parts) <= 2
        encoded = []
        leaves = self._empty_leaves(batch)
        for part in parts:
            with torch.set_grad_enabled(keeps_graph):
                embeddings = self._encode(batch, part)
            for tower, x in embeddings.items():
                leaves[tower][part.rows] = x.detach()
            if keeps_graph:
                encoded.append(embeddings)
        for leaf in leaves.values():
            self._ranks.add_up(leaf)
            leaf.requires_grad_()
        items = {tower: leaf for tower, leaf in leaves.items() if tower != "query"}
        loss, losses = self._objective(leaves["query"], items, self._encoder.relations(batch))
        loss.backward()
        for number, part in enumerate(parts):
            embeddings = encoded[number] if keeps_graph else self._encode(batch, part)
            _push_back(embeddings, leaves, part.rows)
        return loss, losses

    def _parts(self, batch: Batch, seed: int) -> list[_Part]:
        """Cut this process's share of the rows; queries first."""
        parts: list[_Part] = []
        for side, num_rows in (("query", batch.num_pairs), ("item", len(batch.item))):
            share = self._ranks.share(num_rows)
            for start in range(share.start, share.stop, self._chunk_size or max(1, len(share))):
                rows = slice(start, min(start + (self._chunk_size or num_rows), share.stop))
                of_part = np.random.SeedSequence([seed, self._ranks.rank, len(parts)])
                parts.append(_Part(side, rows, int(of_part.generate_state(1, np.uint64)[0])))
        return parts

    def _encode(self, batch: Batch, part: _Part) -> Mapping[Tower, Tensor]:
        torch.manual_seed(part.seed)
        return self._encoder.by_tower(batch, part.side, part.rows)

    def _empty_leaves(self, batch: Batch) -> dict[Tower, Tensor]:
        """Return zeros [B, D] for the queries and [N, D] for each item tower."""
        model, device = self._encoder.model, self._encoder.device
        towers: tuple[Tower, ...] = ("query", *model.item_towers)
        num_rows = {tower: batch.num_pairs if tower == "query" else len(batch.item) for tower in towers}
        return {tower: torch.zeros(num_rows[tower], model.config.embed_dim, device=device) for tower in towers}

    def _add_up_gradients(self) -> None:
        """Add up the model's gradients; the objective's, which every process has whole, count once."""
        if not self._ranks.is_first:
            self._objective.zero_grad(set_to_none=True)
        trained = [*self._encoder.model.parameters(), *self._objective.parameters()]
        self._ranks.add_up_gradients([p for p in trained if p.requires_grad])


def _push_back(embeddings: Mapping[Tower, Tensor], leaves: Mapping[Tower, Tensor], rows: slice) -> None:
    """Push the gradients of some rows of the leaves through the graph of their embeddings.

    A tower whose embeddings do not move, or that plays no part in the loss, has nothing to push.
    """
    pairs = [(x, leaves[tower].grad) for tower, x in embeddings.items() if x.requires_grad]
    moving = [(x, gradient[rows]) for x, gradient in pairs if gradient is not None]
    if moving:
        torch.autograd.backward([x for x, _ in moving], [gradient for _, gradient in moving])
