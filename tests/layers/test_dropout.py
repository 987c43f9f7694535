import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxdl.layers.dropout import Dropout

KEY = jax.random.key(0)


def test_training_drops_by_the_key_and_scales():
    x = jnp.ones((200, 50))
    apply = lambda seed: Dropout(0.2).apply(
        {}, x, train=True, rngs={"dropout": jax.random.key(seed)}
    )
    one, again, other = apply(1), apply(1), apply(2)
    assert (one == again).all()
    assert (one != other).any()
    np.testing.assert_allclose(np.unique(one), [0, 1.25])
    assert abs(np.mean(one == 0) - 0.2) < 4 * np.sqrt(0.2 * 0.8 / x.size)


def test_half_is_the_default():
    output = Dropout().apply({}, jnp.ones(50), train=True, rngs={"dropout": KEY})
    assert set(np.asarray(output)) == {0.0, 2.0}


@pytest.mark.parametrize(("p", "train"), [(0.5, False), (0.0, True)])
def test_no_key_is_needed_where_nothing_is_dropped(p, train):
    x = jnp.arange(4.0)
    assert (Dropout(p).apply({}, x, train=train) == x).all()


def test_a_missing_key_is_named_by_flax():
    with pytest.raises(nn.module.errors.InvalidRngError, match="dropout"):
        Dropout().apply({}, jnp.ones(4), train=True)


def test_probabilities_outside_of_their_range_raise():
    with pytest.raises(ValueError, match=r"p=1\.5 is not within \[0, 1\]"):
        Dropout(1.5).apply({}, jnp.ones(4), train=True, rngs={"dropout": KEY})
    with pytest.raises(ValueError, match=r"p=-0\.1 is not within \[0, 1\]"):
        Dropout(-0.1).apply({}, jnp.ones(4), train=True)


def test_a_probability_may_be_an_array():
    drop = lambda p: Dropout(p).apply(
        {}, jnp.ones(9), train=True, rngs={"dropout": KEY}
    )
    expected, p = drop(0.5), jnp.float32(0.5)
    for dropped in (drop(p), jax.jit(lambda: drop(p))(), jax.jit(drop)(p)):
        np.testing.assert_array_equal(dropped, expected)


class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Dropout()(x, train=True), Dropout()(x, train=True)


def test_two_layers_draw_different_masks():
    first, second = Twice().apply({}, jnp.ones(100), rngs={"dropout": KEY})
    assert (first != second).any()


def test_vmap_over_keys_equals_a_loop():
    keys = jax.random.split(KEY, 3)
    apply = jax.jit(
        lambda key: Dropout().apply({}, jnp.ones(8), train=True, rngs={"dropout": key})
    )
    looped = jnp.stack([apply(key) for key in keys])
    np.testing.assert_array_equal(jax.vmap(apply)(keys), looped)
