"""Approximate search with faiss: flat, HNSW or IVF-PQ, by inner product of L2-normalised float32 embeddings.

What faiss finds is ranked again by exact scores (``exact.rerank``), so that an approximate and an exact ranking can only
differ in which items they found: scores are comparable and ties fall to the smaller item id in both. IVF-PQ, whose own
scores are coarse, is asked for ``PQ_CANDIDATES`` times as many items as are wanted.

An index is built by one thread: with several, HNSW's links depend on which thread came first, and equal inputs would give
other bytes. For 18,000 items of 144 floats HNSW takes about 4 s, IVF-PQ 14 s. Left out: growing or shrinking an index, and
indexes on a GPU.

Shapes: Q queries, N items, D embed_dim.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from smar_core.config import ExportConfig
from smar_core.errors import UserError
from smar_core.retrieval.exact import Floats, Ranking, rerank

PQ_BITS = 8
PQ_CANDIDATES = 4
MIN_ITEMS_PER_LIST = 39
"""Fewest items a coarse cell on average, below which faiss itself warns that k-means has too little to learn from."""


@dataclass(frozen=True)
class ItemIndex:
    """A faiss index over the catalogue's rows.

    Attributes:
        settings: The kind and the parameters it was really built with, as recorded in bundle.json.
    """

    _index: Any
    settings: Mapping[str, Any]

    @classmethod
    def build(cls, item_ND: Floats, config: ExportConfig) -> "ItemIndex":
        """Build the index that the config asks for, lowered to what the catalogue allows.

        A product quantiser learns 256 codes from the catalogue, so IVF-PQ over fewer items becomes a flat index.

        Args:
            item_ND: L2-normalised item embeddings; N > 0.
            config: Kind and parameters.

        Raises:
            UserError: See ``check_parameters``.
        """
        check_parameters(config, item_ND.shape[1])
        embeddings = np.ascontiguousarray(item_ND, dtype=np.float32)
        with _one_thread():
            if config.index == "hnsw":
                return _build_hnsw(embeddings, config)
            if config.index == "ivf_pq" and len(embeddings) >= 2**PQ_BITS:
                return _build_ivf_pq(embeddings, config)
            return _build_flat(embeddings)

    @classmethod
    def load(cls, path: Path, settings: Mapping[str, Any]) -> "ItemIndex":
        """Read what ``save`` wrote."""
        return cls(faiss.read_index(str(path)), settings)

    def save(self, path: Path) -> None:
        """Write the index to a file; the settings are the caller's to keep."""
        faiss.write_index(self._index, str(path))

    def search(self, query_QD: Floats, item_ND: Floats, top_k: int) -> Ranking:
        """Find items approximately and rank them exactly.

        Args:
            query_QD: L2-normalised query embeddings.
            item_ND: The embeddings the index was built from.
            top_k: Places of the ranking; may exceed the catalogue.
        """
        if not len(query_QD):
            return Ranking.empty(0, top_k)
        num_candidates = min(top_k * int(self.settings["num_candidates_per_result"]), len(item_ND))
        _, candidate_QC = self._index.search(np.ascontiguousarray(query_QD, dtype=np.float32), num_candidates)
        return rerank(query_QD, item_ND, candidate_QC, top_k)


def check_parameters(config: ExportConfig, embed_dim: int) -> None:
    """Raise UserError when an index with these parameters cannot hold embeddings of this length.

    >>> check_parameters(ExportConfig(index="ivf_pq", pq_num_codes=24), 144)
    """
    if config.index == "ivf_pq" and embed_dim % config.pq_num_codes:
        fitting = [codes for codes in range(1, embed_dim + 1) if embed_dim % codes == 0]
        raise UserError(
            f"export.pq_num_codes ({config.pq_num_codes}) does not divide the length of an embedding ({embed_dim})",
            f"choose one of {', '.join(map(str, fitting))}",
        )


def _build_flat(item_ND: Floats) -> ItemIndex:
    index = faiss.IndexFlatIP(item_ND.shape[1])
    index.add(item_ND)
    return ItemIndex(index, {"kind": "flat", "num_candidates_per_result": 1})


def _build_hnsw(item_ND: Floats, config: ExportConfig) -> ItemIndex:
    index: Any = faiss.IndexHNSWFlat(item_ND.shape[1], config.hnsw_num_links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.rng = faiss.RandomGenerator(config.seed)  # type: ignore[attr-defined]  # missing in faiss' stubs
    index.hnsw.efConstruction = config.hnsw_build_depth
    index.hnsw.efSearch = config.hnsw_search_depth
    index.add(item_ND)
    settings = {
        "kind": "hnsw",
        "num_candidates_per_result": 1,
        "num_links": config.hnsw_num_links,
        "build_depth": config.hnsw_build_depth,
        "search_depth": config.hnsw_search_depth,
        "seed": config.seed,
    }
    return ItemIndex(index, settings)


def _build_ivf_pq(item_ND: Floats, config: ExportConfig) -> ItemIndex:
    num_items, embed_dim = item_ND.shape
    num_lists = max(1, min(config.ivf_num_lists, num_items // MIN_ITEMS_PER_LIST))
    num_probes = min(config.ivf_num_probes, num_lists)
    index = faiss.IndexIVFPQ(
        faiss.IndexFlatIP(embed_dim), embed_dim, num_lists, config.pq_num_codes, PQ_BITS, faiss.METRIC_INNER_PRODUCT
    )
    for clustering in (index.cp, index.pq.cp):
        clustering.seed = config.seed
        clustering.min_points_per_centroid = 1  # silences a warning on standard error; the lists are lowered above
    index.train(item_ND)
    index.add(item_ND)
    index.nprobe = num_probes
    settings = {
        "kind": "ivf_pq",
        "num_candidates_per_result": PQ_CANDIDATES,
        "num_lists": num_lists,
        "num_probes": num_probes,
        "num_codes": config.pq_num_codes,
        "num_bits": PQ_BITS,
        "seed": config.seed,
    }
    return ItemIndex(index, settings)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let faiss use one thread in the block."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
