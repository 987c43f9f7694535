import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl.functional import cross_entropy
from jaxdl.models.lenet import LeNet
from tests.oracle import (
    EXACT,
    assert_trees_match,
    randomised,
    to_torch,
    torch_lenet,
    torch_lenet_grads,
)


@pytest.mark.parametrize(
    ("batch", "height", "width", "channels", "classes"),
    [(3, 28, 28, 1, 10), (2, 17, 22, 3, 4), (1, 16, 16, 1, 2), (2, 32, 32, 1, 10)],
)
def test_lenet_and_its_gradients_match_torch(
    rng, x64, batch, height, width, channels, classes
):
    x = rng.normal(size=(batch, height, width, channels))
    labels = rng.integers(classes, size=batch)
    model = LeNet(classes)
    params = model.init(jax.random.key(0), jnp.asarray(x))["params"]
    params = randomised(rng, jax.tree.map(lambda p: 0.3 * p, params))
    params = jax.tree.map(lambda p: 0.3 * p, params)  # keeps the sigmoids awake

    def loss_fn(params, x):
        logits = model.apply({"params": params}, x)
        return cross_entropy(logits, jnp.asarray(labels)), logits

    grad = jax.jit(jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True))
    (loss, logits), (grads, x_grad) = grad(params, jnp.asarray(x))

    oracle = torch_lenet(params)
    images = to_torch(x).permute(0, 3, 1, 2).requires_grad_()
    expected = oracle(images)
    expected_loss = torch.nn.functional.cross_entropy(expected, torch.tensor(labels))
    expected_loss.backward()
    np.testing.assert_allclose(logits, expected.detach(), **EXACT)
    np.testing.assert_allclose(loss, expected_loss.item(), **EXACT)
    assert_trees_match(grads, torch_lenet_grads(oracle))
    np.testing.assert_allclose(x_grad, images.grad.permute(0, 2, 3, 1), **EXACT)


def test_lenet_has_the_courses_parameters():
    params = LeNet().init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    assert jax.tree.map(jnp.shape, params) == {
        "conv1": {"kernel": (5, 5, 1, 6), "bias": (6,)},
        "conv2": {"kernel": (5, 5, 6, 16), "bias": (16,)},
        "fc1": {"kernel": (256, 120), "bias": (120,)},
        "fc2": {"kernel": (120, 84), "bias": (84,)},
        "fc3": {"kernel": (84, 10), "bias": (10,)},
    }


def test_no_images_have_no_logits():
    variables = LeNet().init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    assert LeNet().apply(variables, jnp.zeros((0, 28, 28, 1))).shape == (0, 10)


@pytest.mark.parametrize("size", [(15, 28), (28, 8)])
def test_images_too_small(size):
    with pytest.raises(ValueError, match=f"16x16 pixels or more, got {size[0]}x"):
        LeNet().init(jax.random.key(0), jnp.zeros((1, *size, 1)))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 32, 32, 1), "fc1 was made for 256 input features and is given 400"),
        ((1, 28, 28, 3), "conv1 was made for 1 channels a group and is given 3"),
    ],
)
def test_images_unlike_those_the_parameters_were_made_for(shape, message):
    variables = LeNet().init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    with pytest.raises(ValueError, match=message):
        LeNet().apply(variables, jnp.zeros(shape))
