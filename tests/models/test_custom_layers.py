import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from jaxdl.layers import Linear, Sequential
from jaxdl.models.custom_layers import (
    CenteredLayer,
    Corr2D,
    KeyedWeights,
    ListedWeights,
    MyLinear,
)
from tests.models.twins import assert_is_twin, randomised_variables

KEY = jax.random.key(0)


class TorchCenteredLayer(nn.Module):
    def forward(self, x):
        return x - x.mean()


class TorchMyLinear(nn.Module):
    """Without the course's `.data`, which keeps gradients away."""

    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_units, units))
        self.bias = nn.Parameter(torch.randn(units))

    def forward(self, x):
        return torch.relu(torch.matmul(x, self.weight) + self.bias)


class TorchCorr2D(nn.Module):
    def __init__(self, kernel_size):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(kernel_size))
        self.bias = nn.Parameter(torch.randn(1))

    def forward(self, x):
        h, w = self.weight.shape
        rows = []
        for i in range(x.shape[0] - h + 1):
            windows = [x[i : i + h, j : j + w] for j in range(x.shape[1] - w + 1)]
            rows.append(torch.stack([(v * self.weight).sum() for v in windows]))
        return torch.stack(rows) + self.bias


class TorchListedWeights(nn.Module):
    def __init__(self, features, outputs):
        super().__init__()
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.randn(features, features)) for _ in range(3)]
        )
        self.weights.append(nn.Parameter(torch.randn(features, outputs)))

    def forward(self, x):
        for weight in self.weights:
            x = torch.mm(x, weight)
        return x


class TorchKeyedWeights(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weights = nn.ParameterDict(
            {
                "linear1": nn.Parameter(torch.randn(features, features)),
                "linear2": nn.Parameter(torch.randn(features, 1)),
            }
        )
        self.weights.update({"linear3": nn.Parameter(torch.randn(features, 2))})

    def forward(self, x, choice="linear1"):
        return torch.mm(x, self.weights[choice])


CASES = {
    "CenteredLayer": (CenteredLayer(), TorchCenteredLayer, (3, 4), {}),
    "centred after a layer": (
        Sequential([Linear(128), CenteredLayer()]),
        lambda: nn.Sequential(nn.Linear(8, 128), TorchCenteredLayer()),
        (4, 8),
        {},
    ),
    "MyLinear": (MyLinear(3), lambda: TorchMyLinear(5, 3), (2, 5), {}),
    "MyLinear twice": (
        Sequential([MyLinear(8), MyLinear(1)]),
        lambda: nn.Sequential(TorchMyLinear(64, 8), TorchMyLinear(8, 1)),
        (2, 64),
        {},
    ),
    "Corr2D": (Corr2D((2, 3)), lambda: TorchCorr2D((2, 3)), (5, 7), {}),
    "Corr2D of one entry": (Corr2D((3, 3)), lambda: TorchCorr2D((3, 3)), (3, 3), {}),
    "ListedWeights": (ListedWeights(), lambda: TorchListedWeights(4, 1), (3, 4), {}),
    "KeyedWeights": (KeyedWeights(), lambda: TorchKeyedWeights(4), (3, 4), {}),
    "KeyedWeights, last": (
        KeyedWeights(),
        lambda: TorchKeyedWeights(4),
        (3, 4),
        {"choice": "linear3"},
    ),
}


@pytest.mark.parametrize(
    ("model", "make_twin", "shape", "kwargs"), CASES.values(), ids=CASES.keys()
)
def test_outputs_and_gradients_match_torch(rng, x64, model, make_twin, shape, kwargs):
    x = rng.normal(size=shape)
    variables = randomised_variables(rng, model, x, **kwargs)
    assert_is_twin(model, make_twin(), variables, x, kwargs=kwargs)


def test_a_centred_output_has_no_mean(rng):
    net = Sequential([Linear(128), CenteredLayer()])
    x = jnp.asarray(rng.normal(size=(4, 8)), jnp.float32)
    assert abs(net.apply(net.init(KEY, x), x).mean()) < 1e-6


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (MyLinear(100), ["bias", "weight"]),
        (ListedWeights(100), ["weights"]),
        (KeyedWeights(), ["weights"]),
    ],
    ids=["MyLinear", "ListedWeights", "KeyedWeights"],
)
def test_parameters_start_from_a_standard_normal(model, names):
    params = jax.jit(model.init)(KEY, jnp.ones((1, 100)))["params"]
    assert list(params) == names
    large = [w for w in jax.tree.leaves(params) if w.size > 1000]
    for w in large:
        np.testing.assert_allclose([w.mean(), w.std()], [0, 1], atol=0.05)
    assert len({float(w[0, 0]) for w in large}) == len(large)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (MyLinear(2), "MyLinear was made for 4 input features and is given 5"),
        (ListedWeights(), "ListedWeights was made for 4 input features and is given 5"),
        (KeyedWeights(), "KeyedWeights was made for 4 input features and is given 5"),
    ],
    ids=["MyLinear", "ListedWeights", "KeyedWeights"],
)
def test_inputs_unlike_those_the_parameters_were_made_for(model, message):
    variables = jax.eval_shape(model.init, KEY, jnp.ones((1, 4)))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.apply, variables, jnp.ones((1, 5)))


def test_no_such_choice():
    with pytest.raises(ValueError, match="choice='linear4' is none of linear1, lin"):
        KeyedWeights().init(KEY, jnp.ones((1, 4)), "linear4")


def test_a_kernel_larger_than_the_array():
    with pytest.raises(ValueError, match=r"K of shape \(3, 3\) does not fit"):
        Corr2D((3, 3)).init(KEY, jnp.ones((2, 5)))
