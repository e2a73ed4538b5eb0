import pytest
import torch

from consistency_tta.datamodules.sampler import ResumableLoader, ResumableSampler
from consistency_tta.datamodules.synthetic import SyntheticDataModule


def steps(dataset: range, batch_size: int, world_size: int, epoch: int = 0, seen: int = 0) -> list[set]:
    """What all processes together see in each step."""
    batches = []
    for rank in range(world_size):
        sampler = ResumableSampler(dataset, batch_size, 5, rank, world_size, first_batch=lambda: seen)
        sampler.set_epoch(epoch)
        batches.append([set(map(tuple, batch)) for batch in torch.utils.data.BatchSampler(sampler, batch_size, True)])
    return [set.union(*step) for step in zip(*batches, strict=True)]


@pytest.mark.parametrize("examples", [96, 97, 103])
@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 6), (3, 4), (4, 3), (12, 1)])
def test_processes_share_the_steps_of_one(examples: int, world_size: int, batch_size: int) -> None:
    one = steps(range(examples), 12, 1, epoch=2)
    assert steps(range(examples), batch_size, world_size, epoch=2) == one
    assert len(one) == examples // 12
    assert all(len(step) == 12 for step in one)


def test_entered_at_a_batch() -> None:
    assert steps(range(50), 3, 2, epoch=1, seen=4) == steps(range(50), 3, 2, epoch=1)[4:]


def test_epochs_and_seeds_differ() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = ResumableSampler(range(50), 5, seed)
        sampler.set_epoch(epoch)
        return [index for _, index in sampler]

    assert sorted(order(0, 0)) == list(range(50))
    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(7, 0)


def test_length_does_not_depend_on_the_entry() -> None:
    dataset = SyntheticDataModule(num_clips=50, num_samples=8).train_dataset
    sampler = ResumableSampler(dataset, 5, first_batch=lambda: 3)
    loader = ResumableLoader(dataset, sampler=sampler, batch_size=5, drop_last=True)
    assert len(loader) == 10
    assert len(list(loader)) == 7


@pytest.mark.parametrize(
    ("clips", "batch_size", "kept", "named"),
    [
        (50, 5, ["examples_per_step", "examples"], []),
        (50, 10, ["examples_per_step", "examples"], ["5", "10"]),
        (40, 5, ["examples_per_step", "examples"], ["50", "40"]),
        (40, 5, ["examples_per_step"], []),
    ],
)
def test_another_batch_or_set_than_the_checkpoints_is_warned_of(
    clips: int, batch_size: int, kept: list[str], named: list[str], recwarn: pytest.WarningsRecorder
) -> None:
    def loader(examples: int, size: int) -> ResumableLoader:
        return ResumableLoader(range(examples), batch_size=size, drop_last=True)  # type: ignore[arg-type]

    state = loader(50, 5).state_dict()
    loader(clips, batch_size).load_state_dict({key: state[key] for key in kept})
    message = " ".join(str(warning.message) for warning in recwarn)
    assert bool(message) == bool(named)
    assert all(f" {number} " in message.replace(":", " ") for number in named)
