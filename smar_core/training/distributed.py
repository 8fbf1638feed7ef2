"""Several processes that train one model: which of them this is, and the two sums that they need of each other.

Plain ``torch.distributed``, without ``DistributedDataParallel``: that averages the gradients of losses that every process
computes on its own pairs, whereas a contrastive loss needs the items of all (``gradients`` says how its gradient is put
together). Left out: a model that is itself cut into pieces.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from smar_core.config import RuntimeConfig
from smar_core.errors import UserError
from smar_core.model.device import resolve_device

_TIMEOUT = timedelta(hours=24)
"""The first process looks at the validation days, which may take long, while the others wait in a sum."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a training.

    Attributes:
        rank: Number of this one, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that validates, saves and writes."""
        return self.rank == 0

    def share(self, num_rows: int) -> range:
        """Return the rows that fall to this process; shares differ by at most one row.

        >>> [list(Ranks(rank, 2).share(5)) for rank in (0, 1)]
        [[0, 1], [2, 3, 4]]
        """
        return range(num_rows * self.rank // self.size, num_rows * (self.rank + 1) // self.size)

    def add_up(self, x: Tensor) -> None:
        """Replace a tensor by its sum over the processes, which is the same to the last bit in all of them."""
        if self.size > 1:
            distributed.all_reduce(x)

    def add_up_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Add up the gradients; what has none in any process stays without, so that the optimiser leaves it alone."""
        if self.size == 1:
            return
        has_gradient = parameters[0].new_tensor([p.grad is not None for p in parameters])
        flat = torch.cat([has_gradient, *((torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters)])
        self.add_up(flat)
        counts, *gradients = flat.split([len(parameters), *(p.numel() for p in parameters)])
        for parameter, count, gradient in zip(parameters, counts.tolist(), gradients, strict=True):
            parameter.grad = gradient.view_as(parameter) if count else None

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first process go through the block before the others do: it writes what they read."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Ranks()


def join_ranks(runtime: RuntimeConfig) -> Ranks:
    """Join the processes that ``torchrun`` started, by gloo on CPUs and NCCL on CUDA.

    Raises:
        UserError: Not as many processes were started as the config says, or there are fewer GPUs on this machine.
    """
    device = resolve_device(runtime)
    if device.type == "cuda":
        local_rank = distributed.get_node_local_rank()
        if local_rank >= torch.cuda.device_count():
            raise UserError(
                f"runtime.num_processes ({runtime.num_processes}) on runtime.num_nodes ({runtime.num_nodes}) are more than the "
                f"GPUs of a machine ({torch.cuda.device_count()})",
                "set runtime.num_processes to at most one for each GPU",
            )
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    ranks = Ranks(distributed.get_rank(), distributed.get_world_size())
    if ranks.size != runtime.num_processes:
        raise UserError(
            f"torchrun started {ranks.size} processes and runtime.num_processes is {runtime.num_processes}", "make both equal"
        )
    return ranks
