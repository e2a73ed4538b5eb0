import pytest
import torch

from tools.esc10_scores import ClassScores


def test_class_scores_are_those_of_the_embeddings_whatever_the_batches():
    logits = torch.zeros(3, 20)
    logits[:, 10] = 1  # all are recognised as dogs
    vectors = torch.zeros(3, 384)
    vectors[1, 0] = 5
    labels = ["dog", "dog", "rain"]
    for batches in ([3], [1, 2]):
        scores, start = ClassScores([[index, index + 10] for index in range(10)]), 0
        for size in batches:
            rows = slice(start, start + size)
            scores.update(vectors[rows], logits[rows], labels[rows])
            start += size
        assert {name: float(value) for name, value in scores.compute().items()} == {
            "accuracy": pytest.approx(2 / 3),
            "diversity": pytest.approx(5.0),
            "accuracy/dog": 1.0,
            "accuracy/rain": 0.0,
            "diversity/dog": pytest.approx(5.0),
        }
