"""From the rows of a batch to tensors: token ids and pictures looked up, then the model's towers.

Any part of a batch can be encoded by itself (``gradients`` cuts batches into parts). A row's embedding does not depend on the
rows beside it beyond float rounding: padding, of which a part may have less than its batch, is masked.
Shapes: B pairs, N items, L tokens, D embed_dim.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from smar_core.config import RuntimeConfig, Tower
from smar_core.losses.objectives import BatchRelations
from smar_core.model.device import autocast
from smar_core.model.modeling import ItemEmbeddings, SmarModel
from smar_core.model.pictures import PictureStore, no_pictures
from smar_core.model.tokens import TextTokenizer
from smar_core.training.negatives import FalseNegatives
from smar_core.training.pairs import TrainingData
from smar_core.training.sampler import Batch

ALL = slice(None)


class BatchEncoder:
    """Encodes the queries and items of batches.

    Args:
        model: On its device.
        tokenizer: Cuts padding off.
        data: Token ids, and what false negatives are found by.
        pictures: The catalogue's pictures.
        runtime: Precision.
        device: Of the model.
    """

    def __init__(
        self,
        model: SmarModel,
        tokenizer: TextTokenizer,
        data: TrainingData,
        pictures: PictureStore,
        runtime: RuntimeConfig,
        device: torch.device,
    ) -> None:
        self.model, self.device = model, device
        self._tokenizer, self._data, self._pictures, self._runtime = tokenizer, data, pictures, runtime
        self.negatives = FalseNegatives(data)

    def queries(self, batch: Batch, rows: slice = ALL) -> Tensor:
        """Return the embeddings of some of the batch's queries [b, D], one a pair."""
        pairs = batch.pairs(rows)
        ids = np.concatenate([self._data.true_ids[pairs.true_query], self._data.synthetic_ids[pairs.synthetic_query]])
        ids_BL, mask_BL = (x.to(self.device) for x in self._tokenizer.trim(ids))
        with autocast(self._runtime, self.device):
            return self.model.encode_query(ids_BL, mask_BL)

    def items(self, batch: Batch, rows: slice = ALL) -> ItemEmbeddings:
        """Return the embeddings of some of the batch's items, [n, D] of each tower."""
        item = batch.item[rows]
        ids_NL, mask_NL = (x.to(self.device) for x in self._tokenizer.trim(self._data.item_ids[item]))
        shown = no_pictures(len(item)) if self.model.image_tower is None else self._pictures.take(item)
        pixels, has_view = (x.to(self.device) for x in shown)
        with autocast(self._runtime, self.device):
            return self.model.encode_items(ids_NL, mask_NL, pixels, has_view)

    def by_tower(self, batch: Batch, side: str, rows: slice) -> Mapping[Tower, Tensor]:
        """Return the embeddings of one side of the batch, ``query`` or ``item``, by tower."""
        if side == "query":
            return {"query": self.queries(batch, rows)}
        return dict(self.items(batch, rows).items())

    def relations(self, batch: Batch) -> BatchRelations:
        """Return which item belongs to which query."""
        has_image = self._pictures.has_image[batch.item] | self.model.config.has_image_fallback
        arrays = batch.positive, self.negatives.excluded(batch), has_image, batch.true_query, batch.item
        return BatchRelations(*(torch.from_numpy(array).to(self.device) for array in arrays))
