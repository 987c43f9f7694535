"""The course's image networks, each beside its own PyTorch code."""

import math

import jax
import jax.numpy as jnp
import pytest

from jaxdl.models.cnn import SimpleCNN
from jaxdl.models.inception import InceptionBlock, InceptionCNN
from jaxdl.models.residual_cnn import ResidualBlock, ResidualCNN
from tests.models import torch_images as torch_twins
from tests.models.learning import accuracy_on_digits
from tests.models.twins import (
    assert_is_twin,
    assert_trains_alike,
    classification,
    randomised_variables,
)

KEY = jax.random.key(0)
MODELS = {
    "SimpleCNN": (SimpleCNN, torch_twins.SimpleCNN, {"channels": (3, 5)}),
    "ResidualCNN": (ResidualCNN, torch_twins.ResidualCNN, {"channels": (3, 5)}),
    "InceptionCNN": (
        InceptionCNN,
        torch_twins.InceptionCNN,
        {"channels": (3, 5), "branches": (2, 3)},
    ),
}
every_model = pytest.mark.parametrize(
    ("make", "make_twin", "small"), MODELS.values(), ids=MODELS.keys()
)


def last_map(make, small, size):
    """The shape of what is flattened, channels first."""
    channels = small["channels"][1]
    if make is InceptionCNN:
        channels = small["branches"][0] + 3 * small["branches"][1]
    return torch_twins.fc_features(channels, size)


@every_model
@pytest.mark.parametrize(
    ("batch", "height", "width", "channels", "classes"),
    [(2, 17, 22, 3, 4), (1, 16, 16, 1, 2)],
)
def test_outputs_and_gradients_match_torch(
    rng, x64, make, make_twin, small, batch, height, width, channels, classes
):
    x = rng.normal(size=(batch, height, width, channels))
    model = make(classes, **small)
    sizes = last_map(make, small, (height, width))
    net = make_twin(channels, features=math.prod(sizes), classes=classes, **small)
    variables = randomised_variables(rng, model, x)
    assert_is_twin(model, net, variables, x, flattened={"fc": sizes})


@every_model
def test_the_courses_own_sizes_match_torch(rng, x64, make, make_twin, small):
    x = rng.normal(size=(1, 28, 28, 1))
    variables = randomised_variables(rng, make(), x, scale=0.1)
    course = {"channels": make().channels}
    if make is InceptionCNN:
        course["branches"] = make().branches
    sizes = last_map(make, course, (28, 28))
    assert_is_twin(make(), make_twin(), variables, x, flattened={"fc": sizes})


@every_model
def test_training_matches_torch(rng, x64, make, make_twin, small):
    data = classification(rng, (16, 16, 1), 3)
    sizes = last_map(make, small, (16, 16))
    net = make_twin(features=math.prod(sizes), classes=3, **small)
    variables = randomised_variables(rng, make(3, **small), data["x"][:1], scale=0.2)
    assert_trains_alike(make(3, **small), net, variables, data, flattened={"fc": sizes})


def test_a_block_without_its_shortcut_matches_torch(rng, x64):
    x = rng.normal(size=(2, 5, 4, 3))
    block = ResidualBlock(shortcut=False)
    variables = randomised_variables(rng, block, x)
    net = torch_twins.ResidualBlock(3, shortcut=False)
    assert_is_twin(block, net, variables, x)


def test_the_courses_block_has_88_channels():
    shapes = jax.eval_shape(
        lambda x: InceptionBlock().init_with_output(KEY, x), jnp.ones((1, 12, 12, 10))
    )
    assert shapes[0].shape == (1, 12, 12, 88)
    kernels = jax.tree.map(jnp.shape, shapes[1]["params"])
    assert {name: leaves["kernel"] for name, leaves in kernels.items()} == {
        "branch1x1": (1, 1, 10, 16),
        "branch5x5_1": (1, 1, 10, 16),
        "branch5x5_2": (5, 5, 16, 24),
        "branch3x3_1": (1, 1, 10, 16),
        "branch3x3_2": (3, 3, 16, 24),
        "branch3x3_3": (3, 3, 24, 24),
        "branch_pool": (1, 1, 10, 24),
    }


@every_model
@pytest.mark.parametrize("size", [(15, 28), (28, 8)])
def test_images_too_small(make, make_twin, small, size):
    message = f"{make.__name__} needs 16x16 pixels or more, got {size[0]}x{size[1]}"
    with pytest.raises(ValueError, match=message):
        make().init(KEY, jnp.zeros((1, *size, 1)))


@every_model
@pytest.mark.usefixtures("unchecked")
def test_no_batch_of_images(make, make_twin, small):
    message = rf"{make.__name__} needs \(batch, height, width, channels\), got \(28"
    with pytest.raises(ValueError, match=message):
        make().init(KEY, jnp.zeros((28, 28, 1)))


@every_model
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 20, 20, 1), r"fc was made for \d+ input features and is given"),
        ((1, 16, 16, 3), "conv1 was made for 1 channels a group and is given 3"),
    ],
)
def test_images_unlike_those_the_parameters_were_made_for(
    make, make_twin, small, shape, message
):
    model = make(3, **small)
    given = jax.ShapeDtypeStruct((1, 16, 16, 1), jnp.float32)
    variables = jax.eval_shape(model.init, KEY, given)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.apply, variables, jnp.zeros(shape))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "floor"), [(SimpleCNN, 0.78), (ResidualCNN, 0.84), (InceptionCNN, 0.84)]
)
def test_learns_the_digits(make, floor):
    """0.828, 0.889 and 0.892 were measured, on writers that were not trained on."""
    assert accuracy_on_digits(make(), steps=150) > floor
