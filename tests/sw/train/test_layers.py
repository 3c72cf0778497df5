import numpy as np
import pytest
import torch

from sw import fold
from sw.train.layers import BatchNorm, BinaryClassifier, BinaryDense, clipped_sign, sign


def test_sign_of_zero_is_one_and_gradient_stops_outside():
    x = torch.tensor([-2.0, -1.0, -0.5, -0.0, 0.0, 1.0, 1.5], requires_grad=True)
    y = sign(x)
    y.backward(torch.arange(1.0, 8.0))
    assert y.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


def test_clipped_sign_passes_every_gradient():
    x = torch.tensor([-1.0, -0.0, 0.2, 1.0], requires_grad=True)
    y = clipped_sign(x)
    y.backward(torch.arange(1.0, 5.0))
    assert y.tolist() == [-1, 1, 1, 1]
    assert x.grad.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sign_keeps_the_type(dtype):
    assert sign(torch.ones(2, dtype=dtype)).dtype == dtype


def test_dense_sums_are_whole_and_match_the_exported_signs():
    torch.manual_seed(1)
    dense = BinaryDense(37, 5)
    x = sign(torch.randn(11, 37))
    weights = np.where(dense.signs, 1, -1)
    assert (dense(x).detach().numpy() == x.numpy() @ weights.T).all()


def test_batch_norm_in_evaluation_is_the_folds_float_expression():
    rng = np.random.default_rng(1)
    neurons, synapses = 200, 30
    norm = BatchNorm(neurons)
    with torch.no_grad():
        norm.gamma.copy_(torch.tensor(rng.normal(size=neurons)))
        norm.beta.copy_(torch.tensor(rng.normal(size=neurons)))
        norm.mean.copy_(torch.tensor(rng.normal(scale=5, size=neurons)))
        norm.variance.copy_(torch.tensor(rng.uniform(0, 20, size=neurons)))
        norm.beta[:50] = 0  # on a threshold exactly
        norm.mean[:50] = norm.mean[:50].round()
        norm.variance[50:100] = 1e-6  # epsilon rules
    norm.eval()
    a = 2.0 * torch.arange(synapses + 1) - synapses
    y = norm(a[:, None].expand(-1, neurons))
    frozen = fold.BatchNorm(
        *(
            getattr(norm, name).detach().numpy().astype(np.float64)
            for name in ("gamma", "beta", "mean", "variance")
        ),
        epsilon=norm.epsilon,
    )
    assert y.dtype == torch.float64
    expected = frozen.gamma * (a[:, None].numpy() - frozen.mean)
    expected = expected / np.sqrt(frozen.variance + 1e-5) + frozen.beta
    assert (y.detach().numpy() == expected).all()
    bits = (y >= 0).numpy().T
    assert (bits == fold.float_bits(frozen, synapses)).all()


def test_batch_norm_in_training_normalises_and_keeps_statistics():
    torch.manual_seed(1)
    norm = BatchNorm(3, momentum=0.5)
    a = torch.randn(1000, 3) * 4 + 2
    y = norm(a).detach()
    assert y.mean(0).numpy() == pytest.approx(0, abs=1e-5)
    assert y.std(0).numpy() == pytest.approx(1, abs=1e-2)
    assert norm.mean.numpy() == pytest.approx((a.mean(0) / 2).numpy(), abs=1e-5)
    assert norm.variance.numpy() == pytest.approx((0.5 + a.var(0) / 2).numpy(), rel=1e-5)


def test_classifier_scores_are_one_positive_multiple_of_whole_sums():
    torch.manual_seed(1)
    network = BinaryClassifier(20, (8, 6), 3).eval()
    with torch.no_grad():
        scores = network(sign(torch.randn(50, 20))) / network.log_scale.exp()
    assert torch.allclose(scores, scores.round(), atol=1e-5)
    assert scores.abs().max() <= 6


def test_clip_brings_latent_weights_back():
    network = BinaryClassifier(4, (3,), 2)
    with torch.no_grad():
        network.dense[0].weight.fill_(-3)
    network.clip()
    assert (network.dense[0].weight == -1).all()


def test_dropout_acts_in_training_alone():
    torch.manual_seed(1)
    network = BinaryClassifier(20, (50,), 3, dropout=0.5)
    x = sign(torch.randn(10, 20))
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
