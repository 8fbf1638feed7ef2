"""The least time a piece of work can take on this machine: its operations over the rates measured at its own shapes.

Every matrix product is timed anew with operands of its shape and layout and nothing around it; attention is counted in
operations and given the mean rate of the matrix products; everything else is counted in bytes that it must read and write, and
given the bandwidth of a copy. What stays in the cache can beat the last of these, so the floor is an estimate.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import bmm_flop, mm_flop, sdpa_backward_flop_count, sdpa_flop_count

_REPEATS = 5
_COPY_BYTES = 2**26

Layout = tuple[tuple[int, ...], tuple[int, ...]]
Product = tuple[Layout, Layout]
"""Size and stride of both operands of a matrix product."""


@dataclass
class Work:
    """What was computed.

    Attributes:
        products: How often each matrix product was computed.
        attention_flops: Operations of attention.
        other_bytes: Bytes that everything else, views left out, read and wrote.
    """

    products: Counter[Product] = field(default_factory=Counter)
    attention_flops: int = 0
    other_bytes: int = 0

    @property
    def matrix_flops(self) -> int:
        """Operations of the matrix products."""
        return sum(count * product_flops(product) for product, count in self.products.items())


class CountWork(TorchDispatchMode):
    """Counts into ``work`` what is computed while it is entered.

    Its own mode and not ``FlopCounterMode``, which counts no bytes, keeps no shapes and does not work in inference mode.
    """

    def __init__(self) -> None:
        super().__init__()
        self.work = Work()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # what a composite operation is made of
            decomposed = func.decompose(*args, **kwargs)
        if decomposed is not NotImplemented:
            return decomposed
        out = func(*args, **kwargs)
        operands = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        match func.overloadpacket.__name__:
            case "mm" | "addmm" | "bmm" | "baddbmm":
                left, right = operands[-2:]
                self.work.products[(_layout(left), _layout(right))] += 1
            case "_scaled_dot_product_flash_attention_for_cpu":
                self.work.attention_flops += sdpa_flop_count(*(operand.shape for operand in operands[:3]))
            case "_scaled_dot_product_flash_attention_for_cpu_backward":
                self.work.attention_flops += sdpa_backward_flop_count(*(operand.shape for operand in operands[:4]))
            case _ if not func.is_view:
                results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
                self.work.other_bytes += sum(leaf.numel() * leaf.element_size() for leaf in (*operands, *results))
        return out


@dataclass(frozen=True)
class Floor:
    """Least seconds of counted work, and the rates behind it.

    Attributes:
        matrix_seconds, attention_seconds, other_seconds: Of each part.
        matrix_flops_per_second: Mean rate of the matrix products at their shapes.
        bytes_per_second: Read and written by a copy.
    """

    matrix_seconds: float
    attention_seconds: float
    other_seconds: float
    matrix_flops_per_second: float
    bytes_per_second: float

    @property
    def seconds(self) -> float:
        """All parts one after the other."""
        return self.matrix_seconds + self.attention_seconds + self.other_seconds


def measure_floor(work: Work) -> Floor:
    """Measure the rates of this machine, with the present number of threads, at the shapes of the work."""
    matrix_seconds = sum(count * _product_seconds(product) for product, count in work.products.items())
    rate = work.matrix_flops / matrix_seconds
    source = torch.ones(_COPY_BYTES // 4)
    target = torch.empty_like(source)
    bandwidth = 2 * _COPY_BYTES / _least_seconds(lambda: target.copy_(source))
    return Floor(matrix_seconds, work.attention_flops / rate, work.other_bytes / bandwidth, rate, bandwidth)


def product_flops(product: Product) -> int:
    """Return the operations of one product.

    >>> product_flops((((2, 3), (3, 1)), ((3, 5), (5, 1))))
    60
    """
    (left, _), (right, _) = product
    count: int = (mm_flop if len(left) == 2 else bmm_flop)(left, right)
    return count


def _layout(tensor: Tensor) -> Layout:
    return tuple(tensor.shape), tuple(tensor.stride())


def _product_seconds(product: Product) -> float:
    left, right = (torch.empty_strided(*layout).fill_(0.5) for layout in product)
    return _least_seconds(lambda: torch.matmul(left, right))


def _least_seconds(action: Callable[[], object]) -> float:
    """Return the least of several times: the one that other programs disturbed least."""
    action()
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
