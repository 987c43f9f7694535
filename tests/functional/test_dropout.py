"""Dropout: its statistics, its key, and PyTorch's values under the same mask."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.experimental import checkify

from jaxdl.functional.dropout import dropout
from tests.oracle import assert_agrees, assert_close, assert_trees_match, random

KEY = jax.random.key(0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_is_p(p):
    n = 100_000
    output = dropout(jnp.ones(n), p, train=True, key=KEY)
    dropped = np.mean(np.asarray(output) == 0)
    assert abs(dropped - p) < 4 * math.sqrt(p * (1 - p) / n)
    np.testing.assert_allclose(output[output != 0], 1 / (1 - p), rtol=1e-6)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_expectation_is_kept(p):
    n = 100_000
    output = dropout(jnp.ones(n), p, train=True, key=KEY)
    assert abs(output.mean() - 1) < 4 * math.sqrt(p / (1 - p) / n)


def test_each_element_has_its_own_draw():
    """No row or column of a matrix shares its fate."""
    dropped = dropout(jnp.ones((300, 300)), train=True, key=KEY) == 0
    for axis in (0, 1):
        shares = dropped.mean(axis)
        assert abs(shares - 0.5).max() < 5 * math.sqrt(0.25 / 300)


def test_the_mask_is_a_function_of_the_key():
    one, again, other = (
        dropout(jnp.ones(100), train=True, key=jax.random.key(seed))
        for seed in (1, 1, 2)
    )
    assert (one == again).all()
    assert (one != other).any()


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_values_and_gradients_equal_torchs_under_the_same_mask(x64, p):
    """PyTorch multiplies by a mask that is divided by 1 - p, or by zeros where p=1."""
    kept = np.asarray(dropout(jnp.ones((4, 5)), p, train=True, key=KEY)) != 0
    mask = torch.tensor(kept).double()
    assert_agrees(
        lambda x: dropout(x, p, train=True, key=KEY),
        lambda x: x * (mask / (1 - p) if p < 1 else torch.zeros(4, 5)),
        random((4, 5), 0),
    )
    assert kept.any() == (p < 1)


def test_half_is_the_default():
    output = dropout(jnp.ones(20), train=True, key=KEY)
    assert set(np.asarray(output)) == {0.0, 2.0}


@pytest.mark.parametrize(("p", "train"), [(0.0, True), (0.4, False), (1.0, False)])
def test_nothing_is_dropped_where_there_is_nothing_to_drop(p, train):
    x = jnp.asarray([1.0, jnp.inf, jnp.nan])
    assert dropout(x, p, train=train, key=None) is x


def values_of(output):
    return {str(value) for value in np.asarray(output)}


@pytest.mark.parametrize("p", [0.5, 1.0])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_becomes_what_it_becomes_in_torch(p, value):
    x = np.full(64, value, np.float32)
    output = dropout(jnp.asarray(x), p, train=True, key=KEY)
    expected = torch.nn.functional.dropout(torch.tensor(x), p, training=True)
    assert values_of(output) == values_of(expected)


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_gradients_at_infinity_are_finite_as_in_torch(p):
    x = jnp.full(8, jnp.inf)
    gradient = jax.grad(lambda x: dropout(x, p, train=True, key=KEY).sum())(x)
    assert values_of(gradient) <= {"0.0", "2.0"}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_type_is_kept(dtype):
    output = dropout(jnp.ones(64, dtype), 0.25, train=True, key=KEY)
    assert output.dtype == dtype
    assert set(np.asarray(output, float)) == {0.0, float(jnp.asarray(4 / 3, dtype))}


def test_vmap_over_keys_equals_a_loop():
    keys = jax.random.split(KEY, 3)
    x = jnp.asarray(random((3, 8), 0))
    mapped = jax.jit(jax.vmap(lambda x, key: dropout(x, train=True, key=key)))(x, keys)
    looped = [dropout(a, train=True, key=key) for a, key in zip(x, keys, strict=True)]
    assert_close(mapped, jnp.stack(looped))


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_a_traced_probability_is_as_good_as_a_number(x64, p):
    def value_and_gradient(p):
        value, pullback = jax.vjp(
            lambda x: dropout(x, p, train=True, key=KEY), jnp.asarray(random(50, 0))
        )
        return value, *pullback(jnp.ones(50))

    traced = jax.jit(value_and_gradient)(p)
    assert_trees_match(traced, value_and_gradient(p), rtol=0, atol=0)


def test_a_probability_may_be_an_array(x64):
    """Of float32 among numbers of float64, inside of a compiled function or not."""
    x, p = jnp.ones(500), jnp.float32(0.3)
    drop = lambda p: dropout(x, p, train=True, key=KEY)
    expected = drop(0.3)
    for dropped in (drop(p), jax.jit(lambda: drop(p))(), jax.jit(drop)(p)):
        np.testing.assert_allclose(dropped, expected, rtol=1e-6)


def test_a_probability_is_one_number(unchecked):
    with pytest.raises(ValueError, match=r"p has shape \(2,\): expected one number"):
        jax.jit(lambda p: dropout(jnp.ones(2), p, train=True, key=KEY))(jnp.ones(2))


def test_the_gradient_for_a_probability_is_no_nan():
    mean = lambda p: dropout(jnp.ones(9), p, train=True, key=KEY).mean()
    assert np.isfinite([jax.grad(mean)(p) for p in (0.0, 0.5, 1.0)]).all()


def test_under_vmap_a_higher_probability_drops_more_of_the_same(x64):
    drop = lambda p: dropout(jnp.ones(500), p, train=True, key=KEY)
    dropped = jax.vmap(drop)(jnp.array([0.0, 0.1, 0.5, 1.0])) == 0
    assert (dropped[:-1] <= dropped[1:]).all()
    none, some, half, every = dropped.sum(axis=1)
    assert (none, every) == (0, 500)
    assert 20 < some < 80
    assert 200 < half < 300


@pytest.mark.parametrize("p", [-0.5, 1.5])
def test_a_traced_probability_out_of_range_is_nan_and_reported(p):
    drop = jax.jit(lambda p: dropout(jnp.ones(9), p, train=True, key=KEY))
    assert np.isnan(drop(p)).all()
    error, _ = checkify.checkify(drop)(p)
    with pytest.raises(checkify.JaxRuntimeError, match=rf"p {p} lies outside"):
        error.throw()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_a_traced_probability_keeps_the_type(dtype):
    drop = jax.jit(lambda p: dropout(jnp.ones(64, dtype), p, train=True, key=KEY))
    for p in 0.25, jnp.float32(0.25):
        assert drop(p).dtype == dtype
        assert set(np.asarray(drop(p), float)) == {0, float(jnp.asarray(4 / 3, dtype))}


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
@pytest.mark.parametrize("train", [True, False])
def test_probabilities_outside_of_their_range_raise(p, train):
    with pytest.raises(ValueError, match=rf"p={p} is not within \[0, 1\]"):
        dropout(jnp.ones(3), p, train=train, key=KEY)


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match=r"train=True and p=0\.2 needs a key"):
        jax.eval_shape(lambda: dropout(jnp.ones(3), 0.2, train=True, key=None))


def test_integers_raise():
    with pytest.raises(ValueError, match="input has dtype int32; expected a floating"):
        inspect.unwrap(dropout)(jnp.arange(3), train=True, key=KEY)
