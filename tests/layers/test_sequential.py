from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxdl.functional import relu
from jaxdl.layers import BatchNorm, Dropout, Linear, Sequential

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)


def shapes(net, **options):
    variables = net.init(jax.random.key(0), X, **options)
    return jax.tree.map(jnp.shape, variables["params"])


def test_a_sequence_names_its_layers_by_number_functions_counted():
    net = Sequential([Linear(4), relu, Sequential([Linear(2, use_bias=False)])])
    assert shapes(net) == {
        "0": {"kernel": (3, 4), "bias": (4,)},
        "2": {"0": {"kernel": (4, 2)}},
    }


def test_a_mapping_names_its_layers_itself():
    net = Sequential({"hidden": Linear(4), "relu": relu, "out": Linear(2)})
    assert list(shapes(net)) == ["hidden", "out"]


def test_layers_are_called_in_order():
    net = Sequential([Linear(4), relu, Linear(2)])
    variables = net.init(jax.random.key(1), X)
    first, last = (variables["params"][name] for name in ("0", "2"))
    hidden = jnp.maximum(X @ first["kernel"] + first["bias"], 0)
    np.testing.assert_allclose(
        net.apply(variables, X), hidden @ last["kernel"] + last["bias"], rtol=1e-5
    )


def test_layers_made_inside_another_module_are_named_the_same():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            layers = [Linear(4), Linear(2)]
            return Linear(1, name="head")(Sequential(layers, name="body")(x))

    assert shapes(Outer()) == {
        "body": {
            "0": {"kernel": (3, 4), "bias": (4,)},
            "1": {"kernel": (4, 2), "bias": (2,)},
        },
        "head": {"kernel": (2, 1), "bias": (1,)},
    }


def test_a_layer_that_comes_twice_has_one_set_of_parameters():
    layer = Linear(3)
    net = Sequential([layer, relu, layer])
    variables = net.init(jax.random.key(2), X)
    assert list(variables["params"]) == ["0"]

    def by_hand(p):
        p = p["0"]
        return jnp.maximum(X @ p["kernel"] + p["bias"], 0) @ p["kernel"] + p["bias"]

    ours, theirs = (
        jax.grad(lambda p, f=f: jnp.sum(f(p) ** 2))(variables["params"])
        for f in (lambda p: net.apply({"params": p}, X), by_hand)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), ours, theirs)


def test_equal_layers_have_parameters_of_their_own():
    assert list(shapes(Sequential([Linear(3), Linear(3)]))) == ["0", "1"]


def test_train_reaches_the_layers_that_take_it_at_any_depth():
    net = Sequential([Linear(4), Sequential([BatchNorm(), relu, Dropout(0.5)])])
    variables = net.init(jax.random.key(0), X, train=False)
    _, changed = net.apply(
        variables, X, train=True, mutable=["batch_stats"],
        rngs={"dropout": jax.random.key(1)},
    )  # fmt: skip
    assert changed["batch_stats"]["1"]["0"]["num_batches_tracked"] == 1
    assert net.apply(variables, X, train=False).shape == (5, 4)


def test_train_that_a_partial_binds_stays():
    class Frozen(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            norm = partial(BatchNorm(name="norm"), train=False)
            return Sequential([norm, Dropout(0.0)])(x, train=train)

    variables = Frozen().init(jax.random.key(0), X, train=False)
    output, changed = Frozen().apply(variables, X, train=True, mutable=["batch_stats"])
    assert changed["batch_stats"]["norm"]["num_batches_tracked"] == 0
    np.testing.assert_allclose(output, X / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_train_is_missing():
    net = Sequential([Linear(4), Dropout(0.5)])
    with pytest.raises(ValueError, match="layer '1' needs train=True or train=False"):
        net.init(jax.random.key(0), X)


def test_an_empty_one_changes_nothing():
    assert Sequential([]).apply({}, X) is X
