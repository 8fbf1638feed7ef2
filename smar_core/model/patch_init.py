"""A start of the patch projection from the catalogue's own pictures: whitened principal components in place of noise.

Neighbouring pixels say nearly the same, so a random projection of a patch mostly measures its brightness, many times over.
Projections onto principal components, each divided by its spread, measure what differs between patches, each something else,
from the first step on (Coates & Ng, "Learning Feature Representations with K-means", 2012, for whitening of patches). On
a shop of 18,000 pictures of 48 x 64 px, 39 components explain 99% of what 8 x 8 px patches, 192 values, differ in; finding them
took 4.5 s on two busy cores. Left out: k-means or learned dictionaries, and a start of the layers above.

Shapes: N items, V views, H x W pixels, K patches or components, F values of a patch, E hidden_size.
"""

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import nn

from smar_core.model.pictures import Pictures
from smar_core.model.towers import ImageTower, to_patches

MAX_ITEMS = 1024
"""Items whose pictures are looked at."""
MAX_PATCHES = 50_000
"""Patches of them that the components are worked out from: 38 MB of 8 x 8 pixels."""
EXPLAINED_SHARE = 0.99
"""Share of the patches' variance that the components must explain. What is left is noise, which whitening would blow up."""


def start_from_components(tower: ImageTower, pictures: Pictures, seed: int) -> int:
    """Set the first rows of the patch projection to whitened principal components of the catalogue's patches.

    The rows are scaled so that a hidden unit varies over the patches as much as one of the random start does on average, and
    the bias takes the mean patch to 0. Further rows, when there are more hidden units than components, stay random.

    Args:
        tower: A tower from scratch, its weights at their random start.
        pictures: The catalogue's.
        seed: Of the sample.

    Returns:
        K, the rows that were set; 0 when there is nothing to learn from: no picture, or all patches alike.
    """
    assert isinstance(tower.patch, nn.Linear)
    if not pictures.has_image.any():
        return 0
    patches_KF = _sample_patches(tower, pictures, seed)
    if (patches_KF == patches_KF[0]).all():
        return 0
    pca = PCA(EXPLAINED_SHARE, svd_solver="covariance_eigh").fit(patches_KF)
    weight_EF, bias_E = tower.patch.weight, tower.patch.bias
    num_components = min(len(pca.components_), len(weight_EF))
    whitening_KF = pca.components_[:num_components] / np.sqrt(pca.explained_variance_[:num_components, None])
    with torch.no_grad():
        random_std = (torch.from_numpy(patches_KF) @ weight_EF.T).var(dim=0).mean().sqrt()
        scaled_KF = random_std * torch.from_numpy(whitening_KF).float()
        weight_EF[:num_components] = scaled_KF
        bias_E[:num_components] = -scaled_KF @ torch.from_numpy(pca.mean_).float()
    return num_components


def _sample_patches(tower: ImageTower, pictures: Pictures, seed: int) -> np.ndarray:
    """Return patches [K, F] of a sample of items, as the tower scales and cuts them; all views of an item."""
    rng = np.random.default_rng(seed)
    with_image = np.flatnonzero(pictures.has_image)
    rows = np.sort(rng.permutation(with_image)[:MAX_ITEMS])
    pixels_NVHWC, has_view_NV = pictures.take(rows)
    pixels_KF = to_patches(pixels_NVHWC[has_view_NV], tower.patch_size_px).flatten(0, 1)
    chosen = torch.from_numpy(np.sort(rng.permutation(len(pixels_KF))[:MAX_PATCHES]))
    patches_KF: np.ndarray = tower.scale(pixels_KF[chosen]).numpy()
    return patches_KF
