"""What a process needs, by strategy, precision and batch size."""

from __future__ import annotations

from dataclasses import dataclass

from consistency_tta.planning.counted_step import StepPeaks

GIB = 2**30
#: Memory of cards in GB, which is what their makers mean: 16 GB has 2**34 bytes.
CARDS = (16, 24, 40, 80)
#: What a card has to have beyond the tensors of a step: the CUDA context, workspaces of libraries, and memory that the
#: allocator cannot use. An assumption.
RESERVED = 1.0 * GIB


@dataclass(frozen=True)
class Counted:
    """What was counted of one combination of settings.

    Attributes:
        batch: examples a step in each process.
        peaks: at that batch.
        per_example: how much an example more adds to the peaks of forward and backward.
        trained: bytes of trained parameters.
        sharded: bytes that ``fsdp2`` divides; 0 where there is nothing to divide.
        largest_block: bytes of the parameters of the largest block that is gathered at once.
    """

    batch: int
    peaks: StepPeaks
    per_example: tuple[float, float]
    trained: int
    sharded: int
    largest_block: int

    def peak(self, batch: int, strategy: str = "ddp", processes: int = 1) -> float:
        """Bytes in each process.

        Args:
            batch: examples a step in each process.
            strategy: ``ddp`` or ``fsdp2``.
            processes: on as many devices.
        """
        more = batch - self.batch
        forward, backward = self.peaks.forward, self.peaks.backward
        largest = max(
            forward + more * self.per_example[0], backward + more * self.per_example[1], float(self.peaks.optimizer)
        )
        return largest + self.of_strategy(strategy, processes)

    def of_strategy(self, strategy: str, processes: int) -> float:
        """What a strategy adds to one process, or takes from it.

        ``ddp`` keeps a second copy of the gradients, in the buckets that it sums over processes. ``fsdp2`` keeps one
        part in N of what it divides; two blocks are gathered at a time, one of them ahead, and one block's gradients
        are whole until they are summed.
        """
        if processes == 1:
            return 0.0
        if strategy == "ddp":
            return float(self.trained)
        return -self.sharded * (1 - 1 / processes) + 3 * self.largest_block

    def strategies(self, processes: int) -> list[tuple[str, int]]:
        """One process, and if there are to be several, each way to train on them."""
        several = [("ddp", processes), *([("fsdp2", processes)] if self.sharded else [])]
        return [("ddp", 1), *(several if processes > 1 else [])]

    def largest_batch(self, card: float, strategy: str, processes: int) -> int:
        """The most examples a step that a card of so many GiB has room for; 0 if it has none for one."""
        room = card * GIB - RESERVED
        low, high = 0, 1
        while high < 2**20 and self.peak(high, strategy, processes) <= room:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.peak(middle, strategy, processes) <= room else (low, middle)
        return low


def counted(batch: int, one: StepPeaks, twice: StepPeaks, trained: int, sharded: int, largest_block: int) -> Counted:
    """Of the peaks at a batch and at twice as many examples."""
    slopes = (twice.forward - one.forward) / batch, (twice.backward - one.backward) / batch
    return Counted(batch, one, slopes, trained, sharded, largest_block)
