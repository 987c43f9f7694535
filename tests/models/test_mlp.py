from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from jaxdl.functional import relu, sigmoid, tanh
from jaxdl.models.mlp import MLP, Classifier, MyNN
from tests.models.learning import accuracy_on_digits
from tests.models.twins import (
    assert_is_twin,
    assert_trains_alike,
    classification,
    randomised_variables,
)


class FiveLayers(nn.Module):
    def __init__(self, *widths):
        super().__init__()
        for i, (a, b) in enumerate(pairwise(widths), 1):
            setattr(self, f"l{i}", nn.Linear(a, b))

    def forward(self, x):
        x = x.flatten(1)
        for name in ("l1", "l2", "l3", "l4"):
            x = torch.relu(getattr(self, name)(x))
        return self.l5(x)


class Diabetes(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear_1 = nn.Linear(8, 6)
        self.linear_2 = nn.Linear(6, 4)
        self.linear_3 = nn.Linear(4, 1)

    def forward(self, x):
        for layer in (self.linear_1, self.linear_2, self.linear_3):
            x = torch.sigmoid(layer(x))
        return x


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(20, 256)
        self.out = nn.Linear(256, 10)

    def forward(self, x):
        return self.out(torch.relu(self.hidden(x)))


class TorchMyNN(nn.Module):
    def __init__(self, input_dim):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_dim, 16), nn.ReLU(),
            nn.Linear(16, 8), nn.ReLU(),
            nn.Linear(8, 1),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


class TorchBasicBlock(nn.Module):
    def __init__(self, input_dim, output_dim):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(input_dim, output_dim), nn.ReLU())

    def forward(self, x):
        return self.block(x)


class TorchClassifier(nn.Module):
    def __init__(self, input_dim, output_dim=41, hidden_layers=1, hidden_dim=256):
        super().__init__()
        self.fc = nn.Sequential(
            TorchBasicBlock(input_dim, hidden_dim),
            *[TorchBasicBlock(hidden_dim, hidden_dim) for _ in range(hidden_layers)],
            nn.Linear(hidden_dim, output_dim),
        )

    def forward(self, x):
        return self.fc(x)


def dropout_mlp(*widths, p=(0.0, 0.0)):
    a, b, c, d = widths
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(a, b), nn.ReLU(), nn.Dropout(p[0]),
        nn.Linear(b, c), nn.ReLU(), nn.Dropout(p[1]),
        nn.Linear(c, d),
    )  # fmt: skip


ONE_HIDDEN = MLP((256, 10))
FIVE = MLP((512, 256, 128, 64, 10), names=("l1", "l2", "l3", "l4", "l5"))
LINEAR_NAMES = ("linear_1", "linear_2", "linear_3")
DIABETES = MLP((6, 4, 1), sigmoid, last_activation=sigmoid, names=LINEAR_NAMES)
CASES = {
    "784-256-10": (
        ONE_HIDDEN,
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)
        ),
        (28, 28, 1),
        None,
    ),
    "softmax regression": (
        MLP((10,)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
        (28, 28, 1),
        None,
    ),
    "five layers": (
        FIVE,
        lambda: FiveLayers(784, 512, 256, 128, 64, 10),
        (28, 28, 1),
        None,
    ),
    "dropout, training": (
        MLP((512, 256, 10), dropout=(0.0, 0.0)),
        lambda: dropout_mlp(784, 512, 256, 10),
        (28, 28, 1),
        True,
    ),
    "dropout, evaluation": (
        MLP((512, 256, 10), dropout=(0.2, 0.5)),
        lambda: dropout_mlp(784, 512, 256, 10, p=(0.2, 0.5)),
        (28, 28, 1),
        False,
    ),
    "all dropped": (
        MLP((7, 5, 3), dropout=(0.0, 1.0)),
        lambda: dropout_mlp(11, 7, 5, 3, p=(0.0, 1.0)),
        (11,),
        True,
    ),
    "8-6-4-1": (DIABETES, Diabetes, (8,), None),
    "hidden and out": (MLP((256, 10), names=("hidden", "out")), Hidden, (20,), None),
    "tanh": (
        MLP((4, 3, 2), tanh),
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh(),
            nn.Linear(3, 2),
        ),
        (5,),
        None,
    ),
    "MyNN": (MyNN(), lambda: TorchMyNN(13), (13,), None),
    "Classifier": (Classifier(), lambda: TorchClassifier(39), (39,), None),
    "deep Classifier": (
        Classifier(5, hidden_layers=3, hidden_dim=6),
        lambda: TorchClassifier(7, 5, 3, 6),
        (7,),
        None,
    ),
    "shallow Classifier": (
        Classifier(5, hidden_layers=0, hidden_dim=6),
        lambda: TorchClassifier(7, 5, 0, 6),
        (7,),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "make_twin", "shape", "train"), CASES.values(), ids=CASES.keys()
)
def test_outputs_and_gradients_match_torch(rng, x64, model, make_twin, shape, train):
    x = rng.normal(size=(3, *shape))
    given = {} if train is None else {"train": train}
    variables = randomised_variables(rng, model, x, **given)
    assert_is_twin(model, make_twin(), variables, x, train=train)


TRAINED = {
    "one hidden layer": (
        MLP((8, 3)),
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 3)
        ),
        (5, 6, 1),
        None,
    ),
    "five layers": (
        MLP((10, 9, 8, 7, 3), names=FIVE.names),
        lambda: FiveLayers(30, 10, 9, 8, 7, 3),
        (5, 6, 1),
        None,
    ),
    "dropout": (
        MLP((9, 8, 3), dropout=0.0),
        lambda: dropout_mlp(30, 9, 8, 3),
        (5, 6, 1),
        True,
    ),
    "Classifier": (
        Classifier(3, 1, 8),
        lambda: TorchClassifier(13, 3, 1, 8),
        (13,),
        None,
    ),
}


@pytest.mark.parametrize(
    ("model", "make_twin", "shape", "train"), TRAINED.values(), ids=TRAINED.keys()
)
def test_training_matches_torch(rng, x64, model, make_twin, shape, train):
    data = classification(rng, shape, 3)
    given = {} if train is None else {"train": train}
    variables = randomised_variables(rng, model, data["x"][:1], **given)
    assert_trains_alike(model, make_twin(), variables, data, train=train)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "floor"),
    [
        (ONE_HIDDEN, 0.82),
        (FIVE, 0.82),
        (MLP((512, 256, 10), dropout=(0.2, 0.5)), 0.84),
    ],
    ids=["one hidden layer", "five layers", "dropout"],
)
def test_learns_the_digits(model, floor):
    """0.872, 0.872 and 0.894 were measured."""
    modes = model.dropout is not None
    assert accuracy_on_digits(model, steps=150, modes=modes) > floor


def test_probabilities_of_dropout_may_be_traced():
    x = jnp.ones((1, 4))
    key = jax.random.key(0)
    params = MLP((9, 8, 3)).init(key, x)["params"]
    params = dict(zip("147", params.values(), strict=True))  # Dropout counts as a layer

    def run(*dropout):
        model = MLP((9, 8, 3), dropout=dropout if len(dropout) > 1 else dropout[0])
        return model.apply({"params": params}, x, train=True, rngs={"dropout": key})

    each, same = run(0.2, 0.5), run(0.3)
    np.testing.assert_allclose(jax.jit(run)(0.2, 0.5), each, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(run)(0.3), same, rtol=1e-6)
    np.testing.assert_allclose(run(np.float32(0.3)), same, rtol=1e-6)


def test_dropout_comes_after_each_activation_with_its_own_probability():
    """Of ones, kept units are 1 / (1 - p) before the layers after them."""
    widths = (800, 600, 1)
    model = MLP(widths, relu, dropout=(0.2, 0.5))
    x = jnp.ones((1, 1))
    variables = model.init(jax.random.key(0), x, train=False)
    ones = {"kernel": jnp.zeros((1, 800)), "bias": jnp.ones(800)}
    params = variables["params"] | {
        "1": ones,
        "4": {"kernel": jnp.ones((800, 600)) / 800, "bias": jnp.zeros(600)},
        "7": {"kernel": jnp.ones((600, 1)) / 600, "bias": jnp.zeros(1)},
    }

    def outputs(key):
        rngs = {"dropout": key}
        return model.apply(
            {"params": params}, x, train=True, rngs=rngs, capture_intermediates=True
        )

    logits, captured = outputs(jax.random.key(1))
    hidden = captured["intermediates"]["dropout1"]["__call__"][0]
    later = captured["intermediates"]["dropout2"]["__call__"][0]
    np.testing.assert_allclose(np.unique(hidden), [0, 1.25])
    np.testing.assert_allclose((hidden > 0).mean(), 0.8, atol=0.06)
    np.testing.assert_allclose((later > 0).mean(), 0.5, atol=0.08)
    assert logits != outputs(jax.random.key(2))[0]
    assert model.apply({"params": params}, x, train=False) == pytest.approx(1.0, 1e-3)


def test_one_probability_is_for_all_hidden_layers():
    x = jnp.ones((2, 3))
    model = MLP((5, 4, 2), dropout=1.0)
    variables = model.init(jax.random.key(0), x, train=False)
    logits = model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(0)})
    bias = jnp.broadcast_to(variables["params"]["7"]["bias"], (2, 2))
    np.testing.assert_array_equal(logits, bias)


def test_no_examples():
    x = jnp.ones((0, 4, 4, 1))
    shapes = jax.eval_shape(ONE_HIDDEN.init, jax.random.key(0), x)
    assert jax.eval_shape(ONE_HIDDEN.apply, shapes, x).shape == (0, 10)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (MLP(()), r"widths=\(\) has no layers"),
        (
            MLP((3, 2), names=("a", "b", "c")),
            r"names=\('a', 'b', 'c'\) are not one for each of the 2 layers",
        ),
        (
            MLP((3, 2), dropout=(0.1, 0.2)),
            r"dropout=\(0.1, 0.2\) is not one probability for each of the 1 hidden",
        ),
        (MLP((3, 2), dropout=0.1), "MLP with dropout needs train=True or train=False"),
        (Classifier(hidden_layers=-1), "hidden_layers=-1 is below 0"),
    ],
)
def test_bad_arguments(model, message):
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), jnp.ones((1, 4)))


def test_a_bad_probability():
    with pytest.raises(ValueError, match=r"p=1.5 is not within \[0, 1\]"):
        MLP((3, 2), dropout=1.5).init(jax.random.key(0), jnp.ones((1, 4)), train=False)


@pytest.mark.parametrize(
    ("model", "layer"),
    [(MLP((3, 2)), "1"), (MyNN(), "layers/0"), (Classifier(), "fc/0/block/0")],
    ids=["MLP", "MyNN", "Classifier"],
)
def test_inputs_unlike_those_the_parameters_were_made_for(model, layer):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 4)))
    message = f"^{layer} was made for 4 input features and is given 5"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.apply, variables, jnp.ones((1, 5)))
