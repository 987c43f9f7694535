import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.densenet import DenseNet, densenet121
from tests.models import torch_densenet, twins
from tests.models.twins import (
    assert_is_twin,
    assert_trains_alike,
    classification,
    randomised_variables,
)

KEY = jax.random.key(0)
NARROW = 3, (2, 1)  # growth rate, depths: one transition


def pair(channels=3, classes=5):
    net = torch_densenet.DenseNet(*NARROW, classes, channels, bn_size=2)
    return DenseNet(*NARROW, classes, bn_size=2), net


@pytest.mark.parametrize(
    ("train", "shape"), [(True, (3, 33, 23, 3)), (False, (1, 5, 14, 1))]
)
def test_outputs_gradients_and_statistics_match_torch(rng, x64, train, shape):
    model, net = pair(channels=shape[-1])
    x = rng.normal(size=shape)
    variables = randomised_variables(rng, model, x, train=False)
    assert_is_twin(model, net, variables, x, train=train)


def test_training_stays_beside_torch(rng, x64):
    model, net = pair(channels=1, classes=3)
    data = classification(rng, (9, 9, 1), 3)
    variables = randomised_variables(rng, model, data["x"][:1], train=False)
    assert_trains_alike(model, net, variables, data, train=True)


@pytest.mark.slow
def test_densenet121_itself_matches_torch(rng, x64):
    # The last maps are 2x2: statistics of two values alone would blow rounding up.
    x = rng.normal(size=(3, 64, 67, 3))
    model = densenet121(num_classes=7)
    net = torch_densenet.DenseNet(
        *torch_densenet.ARGUMENTS["densenet121"], num_classes=7
    )
    variables = randomised_variables(rng, model, x, scale=0.05, train=False)
    assert_is_twin(model, net, variables, x, train=True)


@pytest.mark.slow
def test_densenet121_itself_trains_beside_torch(rng, x64, monkeypatch):
    monkeypatch.setattr(twins, "STEPS", 3)
    model = densenet121(num_classes=3)
    net = torch_densenet.DenseNet(
        *torch_densenet.ARGUMENTS["densenet121"], num_classes=3
    )
    data = classification(rng, (32, 33, 3), 3)
    variables = randomised_variables(rng, model, data["x"][:1], scale=0.05, train=False)
    assert_trains_alike(model, net, variables, data, train=True)


def test_weights_start_as_timms():
    """Kernels from N(0, 2 / fan in), PyTorch's head but with biases of 0."""
    model = DenseNet(16, (1,), num_classes=64)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, 8, 8, 3)), train=False))
    params = init(KEY)["params"]
    layer = params["features"]["denseblock1"]["denselayer1"]
    np.testing.assert_allclose(
        layer["conv1"]["kernel"].std(), (2 / 32) ** 0.5, rtol=0.05
    )
    np.testing.assert_allclose(
        layer["conv2"]["kernel"].std(), (2 / (9 * 64)) ** 0.5, rtol=0.05
    )
    head = params["classifier"]
    assert not head["bias"].any()
    assert 0.9 * 48**-0.5 < abs(head["kernel"]).max() <= 48**-0.5


def test_without_classes_it_gives_features():
    shapes = jax.eval_shape(
        lambda: densenet121(num_classes=0).init_with_output(
            KEY, jnp.zeros((2, 29, 29, 3)), train=False
        )
    )
    assert shapes[0].shape == (2, 1024)
    assert "classifier" not in shapes[1]["params"]


@pytest.mark.parametrize(
    ("depths", "size", "smallest"),
    [((1, 1), (4, 9), 5), ((1, 1, 1, 1), (29, 28), 29)],
)
def test_images_too_small_to_be_halved(depths, size, smallest):
    model = DenseNet(4, depths)
    limit = f"{smallest}x{smallest} pixels or more, got {size[0]}x{size[1]}"
    with pytest.raises(ValueError, match=limit):
        model.init(KEY, jnp.zeros((1, *size, 3)), train=False)
    least = jnp.zeros((1, smallest, smallest, 3))
    jax.eval_shape(lambda: model.init(KEY, least, train=False))


def test_images_of_other_channels(x64):
    model, _ = pair()
    variables = jax.eval_shape(
        lambda: model.init(KEY, jnp.zeros((1, 9, 9, 3)), train=False)
    )
    message = "features/conv0 was made for 3 channels a group and is given 1"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            lambda v, x: model.apply(v, x, train=False),
            variables,
            jax.ShapeDtypeStruct((1, 9, 9, 1), jnp.float32),
        )
