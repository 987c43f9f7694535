import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl.layers.embedding import Embedding
from tests.oracle import assert_close, random, to_torch


@pytest.mark.parametrize("padding_idx", [None, 1, -2])
def test_embedding_equals_torch(x64, padding_idx):
    index, table = np.array([[0, 1, 4], [1, 1, 3]]), random((5, 3), 0)
    layer = Embedding(5, 3, padding_idx=padding_idx)
    total = lambda table: jnp.sin(
        layer.apply({"params": {"embedding": table}}, jnp.asarray(index))
    ).sum()
    value, gradient = jax.value_and_grad(total)(jnp.asarray(table))
    oracle = torch.nn.Embedding(5, 3, padding_idx).double()
    with torch.no_grad():
        oracle.weight.copy_(to_torch(table))
    expected = oracle(to_torch(index)).sin().sum()
    expected.backward()
    assert_close(value, expected.detach())
    assert_close(gradient, oracle.weight.grad)


def initial(*sizes, **settings):
    variables = Embedding(*sizes, **settings).init(jax.random.key(0), jnp.array([0]))
    assert list(variables["params"]) == ["embedding"]
    return variables["params"]["embedding"]


def test_vectors_start_from_the_normal_distribution():
    """Flax's standard deviation would be 0.05 here."""
    table = initial(100, 400)
    assert table.shape == (100, 400)
    assert table.dtype == jnp.float32
    assert abs(table.mean()) < 4 / np.sqrt(table.size)
    np.testing.assert_allclose(table.std(), 1, atol=4 / np.sqrt(2 * table.size))
    np.testing.assert_allclose((table**4).mean(), 3, atol=4 * np.sqrt(96 / table.size))


@pytest.mark.parametrize("padding_idx", [0, 2, -1])
def test_the_padding_vector_starts_from_zero(padding_idx):
    zero_rows = (initial(4, 8, padding_idx=padding_idx) == 0).all(-1)
    assert jnp.argwhere(zero_rows).ravel().tolist() == [padding_idx % 4]


def test_without_padding_no_vector_is_zero():
    assert not (initial(4, 8) == 0).any()


@pytest.mark.parametrize(
    ("padding_idx", "index", "message"),
    [
        (4, 0, r"padding_idx=4 is not within \[-4, 4\)"),
        (None, 4, "index 4 .* outside of 0..3"),
        (None, -1, "index -1 .* outside of 0..3"),
    ],
)
def test_what_lies_outside_of_the_table_raises(padding_idx, index, message):
    layer = Embedding(4, 2, padding_idx=padding_idx)
    with pytest.raises(ValueError, match=message):
        layer.init(jax.random.key(0), jnp.array([index]))
