import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn

from jaxdl.functional import relu
from jaxdl.layers import BatchNorm, Linear
from jaxdl.models.containers import ModuleDict, ModuleList
from tests.models.twins import assert_is_twin, randomised_variables

KEY = jax.random.key(0)


class Listed(nn.Module):
    def setup(self):
        self.linears = ModuleList([Linear(4), relu, Linear(4), Linear(4)])

    def __call__(self, x):
        for i, layer in enumerate(self.linears):
            x = layer(x) + self.linears[i // 2](x)
        return self.linears[-1](x)


class TorchListed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linears = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.ReLU()])
        self.linears.append(torch.nn.Linear(4, 4))
        self.linears.extend([torch.nn.Linear(4, 4)])

    def forward(self, x):
        for i, layer in enumerate(self.linears):
            x = layer(x) + self.linears[i // 2](x)
        return self.linears[-1](x)


class Keyed(nn.Module):
    """Made in the call, with a layer that takes `train` and one that comes twice."""

    @nn.compact
    def __call__(self, x, *, train):
        twice = Linear(4)
        layers = {"linear": twice, "norm": BatchNorm(), "act": relu, "again": twice}
        parts = ModuleDict(layers, name="parts")
        x = parts["norm"](parts["linear"](x), train=train)
        return parts["again"](parts["act"](x))


class TorchKeyed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        twice = torch.nn.Linear(4, 4)
        layers = {"linear": twice, "norm": torch.nn.BatchNorm1d(4)}
        self.parts = torch.nn.ModuleDict(layers)
        self.parts["act"] = torch.nn.ReLU()
        self.parts["again"] = twice

    def forward(self, x):
        x = self.parts["norm"](self.parts["linear"](x))
        return self.parts["again"](self.parts["act"](x))


def test_a_list_matches_torch(rng, x64):
    x = rng.normal(size=(3, 4))
    variables = randomised_variables(rng, Listed(), x)
    assert_is_twin(Listed(), TorchListed(), variables, x)


@pytest.mark.parametrize("train", [True, False])
def test_a_dictionary_matches_torch(rng, x64, train):
    x = rng.normal(size=(5, 4))
    variables = randomised_variables(rng, Keyed(), x, train=train)
    tied = ["parts.again.bias", "parts.again.weight"]
    assert_is_twin(Keyed(), TorchKeyed(), variables, x, train=train, tied=tied)


def test_a_layer_listed_twice_has_one_set_of_parameters():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = Linear(3)
            for part in ModuleList([layer, Linear(3), layer], name="parts"):
                x = part(x)
            return x

    params = Net().init(KEY, jnp.ones((1, 3)))["params"]
    assert list(params["parts"]) == ["0", "1"]


def test_lengths_and_names():
    assert len(ModuleList([relu, relu])) == 2
    layers = ModuleDict({"a": relu, "b": relu})
    assert (len(layers), list(layers)) == (2, ["a", "b"])


@pytest.mark.parametrize("index", [2, -3])
def test_no_such_number(index):
    with pytest.raises(IndexError, match=f"no layer {index} among 2"):
        ModuleList([relu, relu])[index]


def test_no_such_name():
    with pytest.raises(KeyError, match="no layer 'c' among a, b"):
        ModuleDict({"a": relu, "b": relu})["c"]


def test_a_bound_list_is_called_by_hand():
    x = jnp.arange(3.0) - 1
    layers = ModuleList([relu, jnp.negative]).bind({})
    np.testing.assert_array_equal(layers[1](layers[0](x)), -np.maximum(x, 0))
