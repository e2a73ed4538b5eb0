import torch

from consistency_tta.evaluation.networks import make_network
from consistency_tta.metrics.encoders import ENCODERS
from tools import stand_in_weights


def test_a_stand_in_hears(tmp_path):
    stand_in_weights.main([str(tmp_path), "--networks", "vggish"])
    vectors = make_network("vggish", str(tmp_path)).embed_windows(torch.randn(2, 16_000), 16_000).vectors
    assert vectors.shape == (2, 1, 128)
    assert vectors.isfinite().all()
    (tmp_path / "vggish-10086976.pth").unlink()  # a third of a gigabyte


def test_there_is_one_for_every_network_whose_weights_are_large():
    assert set(stand_in_weights.MAKERS) == set(ENCODERS) - {"mn04", "tiny-clap"}
