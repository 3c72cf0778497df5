"""One training by several processes, on one machine or several, as `torchrun` starts them.

    torchrun --nproc-per-node 2 -m sw.train cnv

Each process takes its share of every batch; gradients are averaged, so that all hold equal weights
after every step. The first process alone reports and writes. Without `torchrun` there is one
process, and nothing here does anything.

On a processor where other programs run as well, two processes of one thread are much faster than
one of two threads: threads wait for each other after every operation, processes after every step.
"""

import os
from dataclasses import dataclass

__all__ = ["ALONE", "Processes"]


@dataclass(frozen=True)
class Processes:
    """The processes of a training. Torch is imported by none of these before `meet`.

    Parameters
    ----------
    index : int
        This one's, from 0.
    count : int
    """

    index: int = 0
    count: int = 1

    @classmethod
    def started(cls) -> "Processes":
        """All that `torchrun` started; without it this one."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    @property
    def first(self) -> bool:
        return self.index == 0

    def device(self, device: str) -> str:
        """The device of this process: each of one machine has its own graphics card."""
        if device == "cuda" and self.count > 1:
            return f"cuda:{os.environ['LOCAL_RANK']}"
        return device

    def meet(self, device: str) -> None:
        """Connects the processes, which will compute on such a device."""
        if self.count > 1:
            from torch.distributed import init_process_group

            init_process_group("nccl" if device.startswith("cuda") else "gloo")

    def part(self) -> None:
        if self.count > 1:
            from torch.distributed import destroy_process_group, is_initialized

            if is_initialized():
                destroy_process_group()

    def wait(self) -> None:
        """Returns when every process has come here."""
        if self.count > 1:
            from torch.distributed import barrier

            barrier()

    def share(self, rows):
        """This process's part of an array or tensor of rows."""
        return rows[self.index :: self.count]

    def total(self, tensor):
        """The sum of a tensor over all processes, on each of them."""
        if self.count > 1:
            from torch.distributed import all_reduce

            all_reduce(tensor)
        return tensor

    def agree(self, network) -> None:
        """Gives all the first one's running statistics; each has its own after a step."""
        if self.count > 1:
            from torch.distributed import broadcast

            for buffer in network.buffers():
                broadcast(buffer, 0)

    def joined(self, network):
        """The network, its gradients averaged over all processes."""
        if self.count == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(network)


ALONE = Processes()
