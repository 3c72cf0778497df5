import numpy as np
import pytest
import torch

from sw import golden
from sw.datasets import Dataset
from sw.errors import PopstreamError
from sw.train import description
from sw.train.convolution import BinaryConv, ConvolutionalClassifier
from sw.train.export import fold
from sw.train.images import Images
from sw.train.loop import evaluate, settle

LAYERS = "6C3p1-5C3-P2-7C3s2p1-8"


def small_set(images=60, shape=(12, 11, 3), seed=1):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (images, *shape), dtype=np.uint8)
    labels = rng.integers(0, 4, images, dtype=np.uint8)
    return Dataset("small", pixels, labels, pixels, labels, 8, tuple("abcd"))


def shaken(layers=LAYERS, *, shape=(12, 11, 3), seed=1, **options):
    """A network with norms of all kinds, some falling, some on the very edge of a sum."""
    torch.manual_seed(seed)
    network = ConvolutionalClassifier(shape, description.parse(layers), 4, **options)
    network.settle(lambda: [torch.randint(0, 256, (20, *shape), dtype=torch.uint8)])
    with torch.no_grad():
        for block in network.blocks:
            block.norm.gamma.normal_()
            block.norm.beta.normal_(0, 0.3)
            block.norm.gamma[0], block.norm.beta[0] = -1, 0
            block.norm.mean[0] = block.norm.mean[0].round()
            block.norm.mean[1] = block.norm.mean[1].round()
            block.norm.gamma[1], block.norm.beta[1] = 1, 0
    return network.eval()


def by_hand(network, image):
    """The scores of one image (height, width, channels), by loops over the definition."""
    x = image.astype(np.float64)
    for index, block in enumerate(network.blocks):
        signs = np.where(block.weighted.signs, 1, -1)
        if signs.ndim == 2:
            a = signs @ x.reshape(-1)
        else:
            pad, stride, size = block.weighted.padding, block.weighted.stride, signs.shape[1]
            fill = -1 if index else 128
            x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)), constant_values=fill)
            a = np.array(
                [
                    [
                        (signs * x[top : top + size, left : left + size]).sum(axis=(1, 2, 3))
                        for left in range(0, x.shape[1] - size + 1, stride)
                    ]
                    for top in range(0, x.shape[0] - size + 1, stride)
                ]
            )
            if block.pool:
                size, stride = block.pool.size, block.pool.stride
                a = np.array(
                    [
                        [
                            a[top : top + size, left : left + size].max(axis=(0, 1))
                            for left in range(0, a.shape[1] - size + 1, stride)
                        ]
                        for top in range(0, a.shape[0] - size + 1, stride)
                    ]
                )
        gamma, beta, mean, variance = (
            getattr(block.norm, name).detach().numpy().astype(np.float64)
            for name in ("gamma", "beta", "mean", "variance")
        )
        weight = block.weighted.weight.detach().numpy().astype(np.float64)
        alpha = np.abs(weight).reshape(len(weight), -1).mean(axis=1) if block.scaled else 1.0
        if not index:  # the mean is kept relative to grey
            mean = mean + 128 * signs.reshape(len(signs), -1).sum(axis=1) * alpha
        y = gamma * (alpha * a - mean) / np.sqrt(variance + block.norm.epsilon) + beta
        x = np.where(y >= 0, 1.0, -1.0)
    return np.where(network.output.signs, 1, -1) @ x.reshape(-1)


@pytest.mark.parametrize("scaled", [False, True])
def test_evaluation_is_the_definition(scaled):
    network = shaken(scaled=scaled)
    images = small_set(8).test_images
    with torch.no_grad():
        scores = network(torch.from_numpy(images)) / network.log_scale.exp()
    assert scores.round().int().tolist() == [
        by_hand(network, image).astype(int).tolist() for image in images
    ]


@pytest.mark.parametrize("layers", [LAYERS, "8C3-P3s2-6C3p1-P2", "4C5s3p2-4C1-9-9", "5C3p2-P2s1"])
@pytest.mark.parametrize("scaled", [False, True])
def test_the_fold_agrees_on_every_image(layers, scaled):
    network = shaken(layers, scaled=scaled)
    data = small_set()
    integer = fold(network.train(), None, data)  # in whichever mode it is
    assert integer.nodes[0].shape == (12, 11, 3)
    by_float = evaluate(network, Images(data.test_images))
    assert len(set(by_float)) > 1
    assert (golden.predict(integer, data.test_images) == by_float).all()


def test_grey_images_have_one_channel():
    network = shaken("6C3-P2-8", shape=(9, 9, 1))
    data = small_set(shape=(9, 9))
    integer = fold(network, None, data)
    by_float = evaluate(network, Images(data.test_images))
    inputs = data.test_images[..., None]
    assert (golden.predict(integer, inputs) == by_float).all()


@pytest.mark.parametrize("scaled", [False, True])
def test_settled_batch_norm_has_the_statistics_of_every_image(scaled):
    network = shaken(LAYERS, scaled=scaled)
    data = small_set()
    settle(network, Images(data.train_images, shift=2, flip=True))
    with torch.no_grad():
        x = torch.from_numpy(data.train_images).permute(0, 3, 1, 2).float()
        for index, block in enumerate(network.blocks):
            alpha = block.weighted.weight.abs().flatten(1).mean(1) if scaled else torch.ones(1)
            a = block.sums(x).transpose(0, 1).flatten(1).numpy() * alpha[:, None].double().numpy()
            ones = torch.full_like(x, 128)
            origin = 0
            if not index:  # of an image that is grey all over, the sum in its middle
                grey = block.weighted(ones)[0, :, 1, 1] * alpha
                origin = grey.double().numpy()
            assert block.norm.mean.numpy() == pytest.approx(a.mean(axis=1) - origin, rel=1e-4)
            assert block.norm.variance.numpy() == pytest.approx(a.var(axis=1), rel=1e-5)
            x = block(x, 0 if index else 128)


def test_training_sees_what_evaluation_sees():
    """The batch's own statistics, put in as running ones, give the same bits."""
    torch.manual_seed(1)
    network = ConvolutionalClassifier((12, 11, 3), description.parse(LAYERS), 4)
    for block in network.blocks:
        block.norm.momentum = 1.0
    pixels = torch.from_numpy(small_set(40).train_images)
    network.train()
    trained = [bits.detach() for bits in network.bits(pixels)]
    network.eval()
    evaluated = [bits.detach() for bits in network.bits(pixels)]
    for ours, theirs in zip(trained, evaluated, strict=True):
        # running variances are of n - 1, which moves no zero as long as beta is 0
        assert (ours == theirs).float().mean() > 0.99


def test_bfloat16_holds_what_goes_into_sums():
    network = shaken().train()
    pixels = torch.arange(256, dtype=torch.uint8).repeat(2, 12, 11, 3)[:, :12, :11, :3]
    with torch.autocast("cpu", torch.bfloat16):
        first, *_ = network.bits(pixels)
    assert first.dtype == torch.bfloat16
    assert set(first.unique().tolist()) <= {-1.0, 1.0}
    grey = torch.arange(256).float() - 128
    assert (grey.bfloat16().float() == grey).all()


def test_gradients_reach_every_parameter():
    network = shaken(scaled=True).train()
    network(torch.from_numpy(small_set().train_images)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_clip_brings_latent_weights_back():
    network = shaken()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("weight"):
                parameter.fill_(-3)
    network.clip()
    assert (network.blocks[0].weighted.weight == -1).all()
    assert (network.output.weight == -1).all()


def test_dropout_acts_in_training_alone():
    network = shaken("4C3-200", dropout=0.5)
    pixels = torch.from_numpy(small_set(4).train_images)
    with torch.no_grad():
        assert torch.equal(network(pixels), network(pixels))
        network.train()
        assert not torch.equal(network(pixels), network(pixels))


def test_a_window_that_does_not_fit_names_the_layer():
    with pytest.raises(PopstreamError, match="layer 3, 4C9: a window of 9x9"):
        ConvolutionalClassifier((12, 11, 3), description.parse("4C3-P2-4C9"), 4)


def test_signs_are_in_the_order_of_windows():
    conv = BinaryConv(description.Conv(2, 3), 4, fill=0)
    assert conv.signs.shape == (2, 3, 3, 4)
    assert conv.signs[1, 0, 2, 3] == (conv.weight[1, 3, 0, 2] >= 0).item()
