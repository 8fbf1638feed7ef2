"""Patch embeddings by a few strided convolutions instead of one linear map of a patch.

A linear map of 8 x 8 pixels has to find edges and textures in 192 numbers that nearly all say how bright the patch is. Three
convolutions of 3 x 3 pixels build them up from neighbours: an embedding sees its own patch and, as the strides fall, those above
and to the left of it. Transformers whose patches begin so learn faster and from fewer pictures (Xiao et al., "Early Convolutions
Help Transformers See Better", 2021). There a batch is normalised after each convolution; here a picture is, by itself, because an
embedding must not depend on the pictures beside it, and GELU takes the place of ReLU as in the other layers.
"""

import itertools
import math

from torch import Tensor, nn


class ConvolutionalStem(nn.Module):
    """Halves height and width until a place is a patch; the channels double up to ``hidden_size`` on the way.

    Shapes: K pictures, H x W pixels, P patches in rows from the top left, E hidden_size.

    Args:
        patch_size_px: Side of a patch, a power of two above 1.
        hidden_size: E.
    """

    def __init__(self, patch_size_px: int, hidden_size: int) -> None:
        super().__init__()
        num_halvings = int(math.log2(patch_size_px))
        assert 2**num_halvings == patch_size_px > 1
        channels = [3, *(max(1, hidden_size >> (num_halvings - 1 - n)) for n in range(num_halvings))]
        layers: list[nn.Module] = []
        for num_in, num_out in itertools.pairwise(channels):
            layers += [nn.Conv2d(num_in, num_out, 3, stride=2, padding=1), nn.GroupNorm(1, num_out), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(hidden_size, hidden_size, 1))

    def forward(self, scaled_KCHW: Tensor) -> Tensor:
        """Return the patch embeddings [K, P, E] of scaled pictures [K, 3, H, W]."""
        states_KEHW: Tensor = self.layers(scaled_KCHW)
        return states_KEHW.flatten(2).transpose(1, 2)
