"""Cutting embeddings to their first dimensions, for a smaller and faster index (Kusupati et al., NeurIPS 2022).

A bundle of a third of the dimensions takes a third of the memory and of the multiplications. Only lengths that the losses
trained (``loss.matryoshka_dims``) are allowed: of an ordinary embedding the first dimensions are no better than any others.
Left out: a search that shortlists by few dimensions and ranks again by all.

Shapes: N embeddings, D their length.
"""

import numpy as np

from smar_core.errors import UserError
from smar_core.model.configuration import SmarConfig
from smar_core.retrieval.exact import Floats


def truncate(embedding_ND: Floats, num_dims: int) -> Floats:
    """Return the first dimensions [N, num_dims], L2-normalised again; a zero row stays zero. All of them: the array as it is.

    >>> truncate(np.array([[0.6, 0.0, 0.8], [0.0, 0.0, 0.0]], dtype=np.float32), 2).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    if num_dims == embedding_ND.shape[1]:
        return embedding_ND
    first_ND = embedding_ND[:, :num_dims]
    length_N1 = np.linalg.norm(first_ND, axis=1, keepdims=True)
    return np.asarray(first_ND / np.where(length_N1 > 0, length_N1, 1), dtype=np.float32)


def exported_dims(num_dims: int | None, model: SmarConfig) -> int:
    """Return how many dimensions a bundle of this model holds.

    Args:
        num_dims: ``export.num_dims``; None: all.
        model: The model's config, which knows the lengths it was trained for.

    Raises:
        UserError: The model was not trained for that length.

    >>> exported_dims(None, SmarConfig(embed_dim=144))
    144
    """
    trained = sorted({*model.matryoshka_dims, model.embed_dim})
    if num_dims is None:
        return model.embed_dim
    if num_dims not in trained:
        remedy = "choose one of them, or add the length to loss.matryoshka_dims and train again"
        raise UserError(
            f"export.num_dims is {num_dims}, and the model was trained for {' or '.join(map(str, trained))} dimensions",
            remedy if num_dims < model.embed_dim else f"choose at most model.embed_dim, {model.embed_dim}",
        )
    return num_dims
