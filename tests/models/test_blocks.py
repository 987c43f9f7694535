import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from jaxdl import params as P
from jaxdl.functional import relu
from jaxdl.initializers import constant, xavier_uniform
from jaxdl.layers import Linear, Sequential
from jaxdl.models.blocks import (
    FixedHiddenMLP,
    NestMLP,
    chimera,
    halve_until_small,
    rgnet,
    tied_mlp,
)
from tests.models.twins import assert_is_twin, load, randomised_variables
from tests.oracle import EXACT, assert_agrees, assert_trees_match, to_torch

KEY = jax.random.key(0)


class TorchFixedHiddenMLP(nn.Module):
    def __init__(self, features=20):
        super().__init__()
        self.register_buffer("rand_weight", torch.rand(features, features))
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        x = self.linear(x)
        x = torch.relu(torch.mm(x, self.rand_weight) + 1)
        x = self.linear(x)
        while x.abs().sum() > 1:
            x = x / 2
        return x.sum()


class TorchNestMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU()
        )
        self.linear = nn.Linear(32, 16)

    def forward(self, x):
        return self.linear(self.net(x))


def torch_chimera():
    return nn.Sequential(TorchNestMLP(), nn.Linear(16, 20), TorchFixedHiddenMLP())


def torch_rgnet():
    def block1():
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())

    block2 = nn.Sequential()
    for i in range(4):
        block2.add_module(f"block {i}", block1())
    return nn.Sequential(block2, nn.Linear(4, 1))


def torch_tied():
    shared = nn.Linear(8, 8)
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), shared, nn.ReLU(), shared, nn.ReLU(),
        nn.Linear(8, 1),
    )  # fmt: skip


CASES = {
    "FixedHiddenMLP": (FixedHiddenMLP(), TorchFixedHiddenMLP, 20),
    "FixedHiddenMLP of 7": (FixedHiddenMLP(7), lambda: TorchFixedHiddenMLP(7), 7),
    "NestMLP": (NestMLP(), TorchNestMLP, 20),
    "chimera": (chimera(), torch_chimera, 20),
    "rgnet": (rgnet(), torch_rgnet, 4),
    "tied": (tied_mlp(), torch_tied, 4),
}


@pytest.mark.parametrize(
    ("model", "make_twin", "features"), CASES.values(), ids=CASES.keys()
)
def test_outputs_and_gradients_match_torch(rng, x64, model, make_twin, features):
    x = rng.normal(size=(3, features))
    variables = randomised_variables(rng, model, x)
    # PyTorch lists a shared layer under both of its names.
    tied = ["4.bias", "4.weight"] if make_twin is torch_tied else []
    assert_is_twin(model, make_twin(), variables, x, tied=tied)


# -- the loop


def torch_halve(x):
    while x.abs().sum() > 1:
        x = x / 2
    return x


@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0, 1e6, 1e300])
def test_halvings_match_torch_at_any_size(rng, x64, scale):
    assert_agrees(halve_until_small, torch_halve, scale * rng.normal(size=(3, 4)))


def test_a_sum_of_exactly_one_is_left_as_it_is():
    x = jnp.array([0.5, -0.25, 0.25])
    np.testing.assert_array_equal(halve_until_small(x), x)
    np.testing.assert_array_equal(halve_until_small(x * 2), x)


def test_halvings_in_float32_of_the_largest_numbers():
    x = jnp.full(4, 3e38, jnp.float32)  # their sum overflows
    halved = halve_until_small(x)
    np.testing.assert_array_equal(halved, np.float32(3e38) * 2.0**-130)
    assert 0.5 < halved.sum() <= 1


@pytest.mark.parametrize("bad", [jnp.inf, jnp.nan])
def test_halvings_of_what_cannot_be_halved_end(bad):
    x = jnp.array([bad, 3.0])
    np.testing.assert_array_equal(jax.jit(halve_until_small)(x), x)


def test_each_of_a_vmapped_batch_is_halved_on_its_own(rng):
    x = jnp.asarray(rng.normal(size=(5, 3)) * [[0.1], [1], [10], [100], [1000]])
    together = jax.vmap(halve_until_small)(x)
    for row, alone in zip(together, map(halve_until_small, x), strict=True):
        np.testing.assert_array_equal(row, alone)


# -- constants


def test_constants_are_saved_with_the_model_and_no_parameters(rng):
    variables = jax.jit(FixedHiddenMLP().init)(KEY, jnp.ones((1, 20)))
    assert set(variables) == {"params", "constants"}
    assert list(variables["params"]) == ["linear"]
    weight = variables["constants"]["rand_weight"]
    assert weight.shape == (20, 20)
    assert 0 <= weight.min() < 0.02
    assert 0.98 < weight.max() < 1
    other = jax.jit(FixedHiddenMLP().init)(jax.random.key(1), jnp.ones((1, 20)))
    assert (other["constants"]["rand_weight"] != weight).any()


def test_constants_get_no_gradient(rng):
    x = jnp.asarray(rng.normal(size=(2, 20)), jnp.float32)
    model = FixedHiddenMLP()
    gradient = jax.jit(jax.grad(model.apply))(jax.jit(model.init)(KEY, x), x)
    assert not gradient["constants"]["rand_weight"].any()
    assert gradient["params"]["linear"]["kernel"].any()


def test_features_of_another_number():
    with pytest.raises(ValueError, match=r"FixedHiddenMLP\(20\) is given 4 features"):
        FixedHiddenMLP().init(KEY, jnp.ones((1, 4)))


# -- parameters of blocks in blocks


def test_parameters_of_nested_blocks_by_path():
    params = jax.jit(rgnet().init)(KEY, jnp.ones((2, 4)))["params"]
    named = P.paths(params)
    assert len(named) == 18
    assert list(named)[:2] == ["0/block 0/0/bias", "0/block 0/0/kernel"]
    assert P.get(params, "0/block 1/0/bias") is params["0"]["block 1"]["0"]["bias"]
    shapes = {path: leaf.shape for path, leaf in named.items() if path[0] == "1"}
    assert shapes == {"1/bias": (1,), "1/kernel": (4, 1)}


def test_blocks_are_initialised_each_in_its_own_way():
    net = Sequential([Linear(8), relu, Linear(1)])
    params = net.init(KEY, jnp.ones((2, 4)))["params"]
    drawn = P.initialize(
        KEY, params, {"0/kernel": xavier_uniform(), "2/kernel": constant(42)}
    )
    assert (drawn["2"]["kernel"] == 42).all()
    bound = (6 / 12) ** 0.5
    assert 0.8 * bound < abs(drawn["0"]["kernel"]).max() <= bound
    assert drawn["0"]["bias"] is params["0"]["bias"]


# -- shared layers


def test_a_shared_layers_gradient_is_the_sum_over_its_uses(rng, x64):
    x = jnp.asarray(rng.normal(size=(5, 4)))
    tied = tied_mlp()
    params = randomised_variables(rng, tied, x)["params"]
    untied = Sequential([Linear(8), relu, Linear(8), relu, Linear(8), relu, Linear(1)])

    def gradient(net, params):
        loss = lambda params: (net.apply({"params": params}, x) ** 2).sum()
        return jax.jit(jax.grad(loss))(params)

    once = gradient(tied, params)
    twice = gradient(untied, params | {"4": params["2"]})
    summed = jax.tree.map(jnp.add, twice["2"], twice["4"])
    assert abs(twice["4"]["kernel"]).max() > 0.1
    assert_trees_match(once, {"0": twice["0"], "2": summed, "6": twice["6"]})


def test_a_change_of_a_shared_layer_reaches_both_uses(rng, x64):
    x = jnp.asarray(rng.normal(size=(3, 4)))
    variables = randomised_variables(rng, tied_mlp(), x)
    kernel = P.get(variables, "params/2/kernel").at[0, 0].set(100)
    changed = P.put(variables, "params/2/kernel", kernel)
    net = load(torch_tied(), variables, tied=["4.bias", "4.weight"])
    with torch.no_grad():
        net[2].weight[0, 0] = 100
    assert net[4].weight[0, 0] == 100
    expected = net(to_torch(x)).detach()
    np.testing.assert_allclose(tied_mlp().apply(changed, x), expected, **EXACT)
