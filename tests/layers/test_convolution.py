"""Conv against PyTorch's Conv1d, Conv2d and Conv3d."""

import jax
import jax.numpy as jnp
import pytest
import torch

from jaxdl.layers import Conv
from tests.oracle import assert_close, assert_trees_match, randomised, to_torch

SIZES, KERNEL = (9, 8, 7), (3, 2, 4)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": False},
        {"stride": 2, "padding": 1},
        {"dilation": 2, "padding": "same"},
        {"groups": 2, "padding": 1, "padding_mode": "circular"},
    ],
)
def test_matches_torch(rng, x64, axes, settings):
    x = rng.normal(size=(2, *SIZES[:axes], 4))
    kernel = KERNEL[:axes]
    oracle = getattr(torch.nn, f"Conv{axes}d")(4, 6, kernel, **settings).double()
    settings = dict(settings)
    layer = Conv(6, kernel, use_bias=settings.pop("bias", True), **settings)
    params = randomised(rng, layer.init(jax.random.key(0), jnp.asarray(x))["params"])
    with torch.no_grad():
        weight = to_torch(params["kernel"]).movedim((-1, -2), (0, 1))
        oracle.weight.copy_(weight)
        if "bias" in params:
            oracle.bias.copy_(to_torch(params["bias"]))
    y = layer.apply({"params": params}, jnp.asarray(x))
    expected = oracle(to_torch(x).movedim(-1, 1)).movedim(1, -1)
    assert_close(y, expected.detach())

    expected.square().sum().backward()
    loss = lambda p: jnp.sum(layer.apply({"params": p}, jnp.asarray(x)) ** 2)
    gradients = {"kernel": oracle.weight.grad.movedim((0, 1), (-1, -2)).numpy()}
    if "bias" in params:
        gradients["bias"] = oracle.bias.grad.numpy()
    assert_trees_match(jax.grad(loss)(params), gradients)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_an_int_is_a_kernel_along_each_axis(axes):
    x = jnp.zeros((1, *SIZES[:axes], 2))
    variables = Conv(5, 3).init(jax.random.key(0), x)
    assert variables["params"]["kernel"].shape == (*(3,) * axes, 2, 5)


def test_a_tuple_says_that_the_batch_axis_is_left_out():
    x = jnp.zeros((9, 8, 2))
    y, _ = Conv(5, (3, 3)).init_with_output(jax.random.key(0), x)
    assert y.shape == (7, 6, 5)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (Conv(2, 3), (5, 3), "kernel_size=3 and x of shape .* make 0 axes"),
        (Conv(2, (1, 1, 1, 1)), (1, 5, 3), "make 4 axes"),
        (Conv(2, 3, groups=0), (1, 5, 5, 3), "groups=0 is below 1"),
        (Conv(2, 0), (1, 5, 5, 3), "kernel_size=0 must be"),
    ],
)
def test_invalid_settings_raise(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.init(jax.random.key(0), jnp.zeros(shape))
