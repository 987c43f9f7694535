import jax
import numpy as np
import pytest

from jaxdl.shuffling import shuffled_batches
from jaxdl.training import epoch_batches


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("n", [1, 2, 7, 1625, 1626, 60_000])  # 0, 1 and 2 rounds
def test_the_host_finds_the_order_that_jax_finds(impl, n):
    key, batch_size = jax.random.key(3, impl=impl), -(-n // 4)
    for epoch in 0, 5:
        found = shuffled_batches(key, epoch, n, batch_size)
        for part, expected in zip(
            found, epoch_batches(key, epoch, n, batch_size), strict=True
        ):
            np.testing.assert_array_equal(part, expected)
            assert part.dtype == expected.dtype


def test_the_order_is_that_of_float64_runs_too(x64):
    key = jax.random.key(0)
    full, last = shuffled_batches(key, 1, 10, 3)
    expected = jax.random.permutation(jax.random.fold_in(key, 1), 10)
    np.testing.assert_array_equal(np.append(full, last), expected)


def test_impossible_batches_are_refused():
    with pytest.raises(ValueError, match="batch_size=8 exceeds the 7 examples"):
        shuffled_batches(jax.random.key(0), 0, 7, 8)
