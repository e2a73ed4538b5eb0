import pytest
import torch

from consistency_tta.datamodules.synthetic import SyntheticDataModule
from consistency_tta.runtime.errors import ConfigurationError


def test_batch() -> None:
    data = SyntheticDataModule(num_clips=8, num_samples=4096, batch_size=4)
    batch = next(iter(data.train_dataloader()))
    assert batch.waveform.shape == (4, 4096)
    assert batch.waveform.dtype == torch.float32
    torch.testing.assert_close(batch.waveform.abs().amax(1), torch.full((4,), 0.5))
    assert len(batch.captions) == len(set(batch.ids)) == 4


def test_stereo_clips_have_their_own_level_in_each_channel() -> None:
    data = SyntheticDataModule(num_clips=8, num_samples=4096, batch_size=4, sample_rate=44100, channels=2)
    batch = next(iter(data.train_dataloader()))
    assert batch.waveform.shape == (4, 2, 4096)
    peaks = batch.waveform.abs().amax(2)
    torch.testing.assert_close(peaks.amax(1), torch.full((4,), 0.5))
    assert (peaks.amin(1) < 0.49).all()
    torch.testing.assert_close(batch.waveform[:, 0] / peaks[:, :1], batch.waveform[:, 1] / peaks[:, 1:])


def test_captions_tell_the_truth() -> None:
    data = SyntheticDataModule(num_clips=16, sample_rate=16000, num_samples=16000)
    for waveform, caption, _ in (data.train_dataset[index] for index in range(16)):
        power = torch.fft.rfft(waveform * torch.hann_window(16000)).abs().square()
        peak, share = power.argmax().item(), (power.max() / power.sum()).item()  # one bin is 1 Hz
        if caption == "noise":
            assert share < 0.01
        else:
            assert share > 0.4
            low, high = {"a low tone": (109, 221), "a tone": (439, 881), "a high tone": (1759, 3521)}[caption]
            assert low <= peak <= high


def test_a_function_of_seed_and_index() -> None:
    def waveform(seed: int, key: int | tuple[int, int], split: str = "train") -> torch.Tensor:
        data = SyntheticDataModule(num_clips=4, num_val_clips=4, num_samples=64, seed=seed)
        return getattr(data, f"{split}_dataset")[key][0]

    assert torch.equal(waveform(0, 2), waveform(0, (5, 2)))
    assert not torch.equal(waveform(0, 2), waveform(1, 2))
    assert not torch.equal(waveform(0, 3), waveform(0, 3, "val"))


def test_evaluation_reads_everything_in_order() -> None:
    data = SyntheticDataModule(num_val_clips=5, num_samples=8, val_batch_size=2)
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        ids = [name.split("_")[1] for batch in loader for name in batch.ids]
        assert ids == ["0", "1", "2", "3", "4"]


def test_tones_stay_below_nyquist() -> None:
    data = SyntheticDataModule(sample_rate=2000, num_samples=2000)
    waveform, caption, _ = data.train_dataset[2]
    assert caption == "a high tone"
    assert torch.fft.rfft(waveform).abs().argmax().item() == 900


def test_refuses_nothing() -> None:
    for option in ("num_clips", "channels"):
        with pytest.raises(ConfigurationError, match=option):
            SyntheticDataModule(**{option: 0})
