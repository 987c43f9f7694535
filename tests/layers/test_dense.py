"""Linear layers, and what all layers do with initialisers and inputs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.nn.initializers import normal, zeros

from jaxdl.initializers import fan_in_uniform
from jaxdl.layers import Conv, Linear
from tests.oracle import EXACT, randomised, to_torch


@pytest.mark.parametrize("use_bias", [True, False])
def test_linear_matches_torch(rng, x64, use_bias):
    x = rng.normal(size=(5, 7))
    layer = Linear(3, use_bias=use_bias)
    params = randomised(rng, layer.init(jax.random.key(0), jnp.asarray(x))["params"])
    oracle = torch.nn.Linear(7, 3, bias=use_bias).double()
    with torch.no_grad():
        oracle.weight.copy_(to_torch(params["kernel"]).T)
        if use_bias:
            oracle.bias.copy_(to_torch(params["bias"]))
    y = layer.apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(y, oracle(to_torch(x)).detach(), **EXACT)


def test_linear_promotes_to_the_wider_type():
    x = jnp.ones((2, 4), jnp.bfloat16)
    variables = Linear(3).init(jax.random.key(0), x)
    assert Linear(3).apply(variables, x).dtype == jnp.float32
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), variables)
    assert Linear(3).apply(low, x).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("layer", "oracle", "shape"),
    [
        (Linear(300), torch.nn.Linear(50, 300), (1, 50)),
        (Conv(64, (5, 3)), torch.nn.Conv2d(6, 64, (5, 3)), (1, 8, 8, 6)),
        (Conv(64, 3, groups=2), torch.nn.Conv2d(6, 64, 3, groups=2), (1, 8, 8, 6)),
    ],
    ids=["linear", "conv", "grouped"],
)
def test_initial_parameters_are_drawn_as_torch_draws_them(layer, oracle, shape):
    """Both are uniform, so their largest values tell the interval."""
    params = layer.init(jax.random.key(0), jnp.zeros(shape))["params"]
    for ours, theirs in [("kernel", oracle.weight), ("bias", oracle.bias)]:
        values = np.abs(params[ours]).ravel()
        bound = 1 / np.sqrt(oracle.weight[0].numel())
        assert values.size == theirs.numel()
        assert values.max() <= bound
        assert values.max() >= bound * 0.9
        np.testing.assert_allclose(values.mean(), bound / 2, rtol=0.2)
        np.testing.assert_allclose(
            theirs.detach().abs().numpy().max(), values.max(), rtol=0.1
        )


@pytest.mark.parametrize("make", [partial(Linear, 40), partial(Conv, 40, 1)])
def test_given_initialisers_are_used(make):
    layer = make(kernel_init=normal(0.01), bias_init=zeros)
    params = layer.init(jax.random.key(0), jnp.zeros((1, 1, 50)))["params"]
    np.testing.assert_allclose(params["kernel"].std(), 0.01, rtol=0.1)
    assert (params["bias"] == 0).all()


def test_fan_in_uniform_of_nothing_is_empty():
    assert fan_in_uniform()(jax.random.key(0), (0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("layer", "made_for", "given", "message"),
    [
        (Linear(2), (1, 3), (1, 4), "made for 3 input features and is given 4"),
        (Conv(2, 3), (1, 5, 5, 3), (1, 5, 5, 1), "made for 3 channels .* is given 1"),
    ],
)
def test_other_inputs_than_the_parameters_were_made_for(
    layer, made_for, given, message
):
    variables = layer.init(jax.random.key(0), jnp.zeros(made_for))
    with pytest.raises(ValueError, match=message):
        layer.apply(variables, jnp.zeros(given))
