import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.shuffling import epoch_order, epoch_order_by_numpy


def permuted(key, epoch, n):
    return jax.random.permutation(jax.random.fold_in(key, epoch), n)


@pytest.mark.parametrize("order", [epoch_order, epoch_order_by_numpy])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("n", [1, 2, 7, 1625, 1626, 60_000])  # 0, 1 and 2 rounds
def test_the_order_is_that_of_jax(order, impl, n):
    key = jax.random.key(3, impl=impl)
    for epoch in 0, 5:
        found, expected = order(key, epoch, n), permuted(key, epoch, n)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype


@pytest.mark.parametrize("order", [epoch_order, epoch_order_by_numpy])
def test_the_order_is_that_of_float64_runs_too(order, x64):
    key = jax.random.key(0)
    np.testing.assert_array_equal(order(key, 1, 10), permuted(key, 1, 10))


def test_orders_of_many_epochs_and_keys_in_one_program():
    keys = jax.random.split(jax.random.key(0), 3)

    @jax.jit
    def orders(key):
        step = lambda epoch, _: (epoch + 1, epoch_order(key, epoch, 9))
        return jax.lax.scan(step, jnp.int32(0), length=4)[1]

    found = jax.vmap(orders)(keys)
    expected = [[permuted(key, epoch, 9) for epoch in range(4)] for key in keys]
    np.testing.assert_array_equal(found, expected)
