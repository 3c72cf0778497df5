import pytest
import torch
from torch.nn import functional

from sw.train import description
from sw.train.teacher import FloatClassifier, distillation


def test_the_stages_stand_in_the_binary_networks_order():
    layers = description.parse("6C3p1-P2-8C3s2-10")
    teacher = FloatClassifier((12, 12, 3), layers, 4)
    names = [type(stage).__name__ for stage in teacher.stages]
    block = ["BatchNorm2d", "ReLU"]
    assert names == [
        *("Conv2d", "MaxPool2d", *block, "Conv2d", *block),
        *("Flatten", "Dropout", "Linear", "BatchNorm1d", "ReLU", "Flatten", "Linear"),
    ]
    assert teacher(torch.zeros(5, 12, 12, 3, dtype=torch.uint8)).shape == (5, 4)


def test_distillation_is_hintons():
    torch.manual_seed(1)
    scores, taught = torch.randn(2, 7, 10)
    p, q = torch.softmax(taught / 3, 1), torch.softmax(scores / 3, 1)
    expected = 9 * (p * (p / q).log()).sum(1).mean()
    assert distillation(scores, taught, 3.0).item() == pytest.approx(expected.item(), rel=1e-5)
    assert distillation(taught, taught, 3.0).item() == pytest.approx(0, abs=1e-5)


def test_its_gradient_is_of_the_size_of_cross_entropys():
    """The temperature squared makes up for the softening, at high temperatures."""
    torch.manual_seed(1)
    taught = torch.randn(100, 10)
    sizes = []
    for temperature in (20.0, 40.0):
        scores = torch.zeros(100, 10, requires_grad=True)
        distillation(scores, taught, temperature).backward()
        sizes.append(scores.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)
    scores = torch.zeros(100, 10, requires_grad=True)
    functional.cross_entropy(scores, taught.argmax(1)).backward()
    assert 0.1 < sizes[0] / scores.grad.norm().item() < 10
