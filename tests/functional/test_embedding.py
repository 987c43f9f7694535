"""embedding and one_hot against PyTorch."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from jax.experimental import checkify

from jaxdl.functional.embedding import embedding, one_hot
from tests.oracle import assert_agrees, assert_close, random, to_torch

F = torch.nn.functional


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def indices(shape, rows, seed=0):
    return np.random.default_rng(seed).integers(0, rows, shape)


@given(
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(1, 5),
    st.integers(1, 3),
    st.data(),
)
def test_embedding_equals_torch(shape, rows, features, data):
    """With more indices than rows, so that some repeat and their gradients add up."""
    padding_idx = data.draw(st.none() | st.integers(-rows, rows - 1))
    assert_agrees(
        lambda i, w: embedding(i, w, padding_idx),
        lambda i, w: F.embedding(i, w, padding_idx),
        indices(shape, rows), random((rows, features), 1),
    )  # fmt: skip


def test_no_indices_look_up_nothing():
    output = embedding(jnp.zeros((0, 2), int), jnp.ones((4, 3)), 1)
    assert output.shape == (0, 2, 3)


def test_the_table_may_be_numpys(unchecked):
    """As parameters are that `jax.device_get` returns, outside of jit."""
    i, weight = indices((2, 3), 4), random((4, 2), 0)
    assert_close(embedding(i, weight, padding_idx=1), weight[i])


@pytest.mark.parametrize("padding_idx", [0, 2, -1, -4])
def test_the_padding_row_is_looked_up_without_gradient(padding_idx):
    weight = jnp.asarray(random((4, 3), 0))
    every = jnp.arange(4)
    assert_close(embedding(every, weight, padding_idx), weight)
    gradient = jax.grad(lambda w: embedding(every, w, padding_idx).sum())(weight)
    expected = np.ones((4, 3))
    expected[padding_idx] = 0
    assert_close(gradient, expected)


@pytest.mark.parametrize("index", [-1, 3, -4, 100])
def test_indices_outside_of_the_table_raise_or_give_nan(index):
    weight, index = jnp.asarray(random((3, 2), 0)), jnp.array([0, index])
    with pytest.raises(ValueError, match=rf"index {index[1]} at \(1,\) .* of 0..2"):
        embedding(index, weight)
    compiled = jax.jit(embedding)(index, weight)
    assert_close(compiled[0], weight[0])
    assert jnp.isnan(compiled[1]).all()
    error, _ = checkify.checkify(jax.jit(embedding))(index, weight)
    assert "lies outside of 0..2" in error.get()


def test_indices_outside_of_the_table_move_no_row():
    weight = jnp.asarray(random((3, 2), 0))
    total = lambda weight, index: embedding(index, weight).sum()
    gradient = jax.jit(jax.grad(total))(weight, jnp.array([-1, 3, 1]))
    assert_close(gradient, [[0, 0], [1, 1], [0, 0]])


def test_vmap_over_indices_and_weights_equals_a_loop():
    weight, index = jnp.asarray(random((2, 4, 3), 0)), jnp.asarray(indices((2, 5), 4))
    gradient = jax.grad(lambda w, i: jnp.sin(embedding(i, w, 1)).sum())
    looped = [gradient(w, i) for w, i in zip(weight, index, strict=True)]
    assert_close(jax.vmap(gradient)(weight, index), jnp.stack(looped))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_vectors_keep_the_tables_type(dtype):
    weight = jnp.asarray(random((4, 3), 0), dtype)
    output = embedding(jnp.array([2, 1], jnp.int32), weight, 1)
    assert output.dtype == dtype
    assert (output == weight[jnp.array([2, 1])]).all()


def test_nan_stays_in_its_row():
    weight = jnp.asarray(random((3, 2), 0)).at[1].set(jnp.nan)
    assert jnp.isnan(embedding(jnp.array([0, 1]), weight)).any(-1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"padding_idx": 3}, r"padding_idx=3 is not within \[-3, 3\)"),
        ({"padding_idx": -4}, r"padding_idx=-4 is not within \[-3, 3\)"),
        ({"input": jnp.array([1.0])}, "input has dtype float.*expected integers"),
        ({"input": jnp.array([True])}, "input has dtype bool"),
        ({"weight": jnp.ones(3)}, r"weight has shape \(3,\); expected \(rows, feat"),
        ({"weight": jnp.ones((3, 2, 2))}, r"weight has shape \(3, 2, 2\)"),
        ({"weight": jnp.ones((3, 2), int)}, "weight has dtype int.*floating"),
    ],
)
def test_invalid_arguments_of_embedding_raise(changes, message):
    arguments = {"input": jnp.array([1]), "weight": jnp.ones((3, 2))} | changes
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(embedding)(**arguments)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3)])
@pytest.mark.parametrize("num_classes", [-1, 4, 7])
def test_one_hot_equals_torch(shape, num_classes):
    """Bit by bit, int64 included, which is JAX's default integer here."""
    index = indices(shape, 4)
    actual = one_hot(jnp.asarray(index), num_classes)
    expected = F.one_hot(to_torch(index), num_classes)
    np.testing.assert_array_equal(actual, expected, strict=True)


def test_one_hot_without_x64_is_int32():
    with jax.enable_x64(False):
        assert one_hot(jnp.array([1])).dtype == jnp.int32


def test_one_hot_of_no_indices_equals_torchs():
    none = np.zeros((0, 2), int)
    expected = F.one_hot(to_torch(none), 3)
    np.testing.assert_array_equal(one_hot(jnp.asarray(none), 3), expected, strict=True)


def test_one_hot_under_jit_and_vmap():
    index = jnp.asarray(indices((2, 3), 4))
    encode = lambda index: one_hot(index, 4)
    for transform in (jax.jit, jax.vmap):
        np.testing.assert_array_equal(transform(encode)(index), encode(index))


@pytest.mark.parametrize("index", [-1, 3])
def test_classes_outside_of_their_range_raise_or_give_zeros(index):
    index = jnp.array([0, index])
    with pytest.raises(ValueError, match=r"at \(1,\) lies outside of 0..2"):
        one_hot(index, 3)
    assert jax.jit(lambda i: one_hot(i, 3))(index).tolist() == [[1, 0, 0], [0, 0, 0]]
    error, _ = checkify.checkify(jax.jit(lambda i: one_hot(i, 3)))(index)
    assert "lies outside of 0..2" in error.get()


@pytest.mark.parametrize(
    ("tensor", "num_classes", "message"),
    [
        (jnp.array([0, -1, 1]), -1, r"index -1 at \(1,\) lies outside of 0..1"),
        (jnp.array([-1]), -1, r"index -1 at \(0,\) lies outside of 0..0"),
        (jnp.array([], int), -1, "cannot be inferred from no indices"),
        (jnp.array([0]), 0, "num_classes=0 is neither positive nor -1"),
        (jnp.array([0]), -2, "num_classes=-2 is neither"),
        (jnp.array([0.0]), 2, "tensor has dtype float.*expected integers"),
    ],
)
def test_invalid_arguments_of_one_hot_raise(tensor, num_classes, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(one_hot)(tensor, num_classes)


def test_classes_cannot_be_counted_inside_jit():
    with pytest.raises(ValueError, match="num_classes=-1 reads the indices: inside"):
        jax.jit(one_hot)(jnp.array([0, 1]))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8])
def test_small_integers_do_not_wrap(dtype, rng, unchecked):
    index, weight = jnp.array([0, 44], dtype), jnp.asarray(rng.normal(size=(301, 2)))
    assert one_hot(index, 301).sum() == 2
    grad = jax.grad(lambda w: embedding(index, w, 256).sum())(weight)
    assert set(np.flatnonzero(grad.sum(axis=1))) == {0, 44}


@pytest.mark.parametrize("index", [2**32 + 1, -(2**32) + 1, 2**62])
def test_a_traced_index_of_64_bits_gives_nan_where_it_lies_outside(index):
    found = jax.jit(embedding)(jnp.array([index, 1]), jnp.ones((3, 2)))
    assert np.isnan(found[0]).all()
    assert not np.isnan(found[1]).any()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_the_gradient_of_a_frequent_row_adds_up(dtype):
    weight, indices = jnp.zeros((4, 2), dtype), jnp.zeros(3000, int)
    total = lambda w: embedding(indices, w).astype(jnp.float32).sum()
    gradient = jax.grad(total)(weight)
    assert gradient.dtype == dtype
    expected = [[3000] * 2] + 3 * [[0] * 2]
    np.testing.assert_allclose(gradient.astype(float), expected, rtol=0.01)


def test_lists_are_no_arrays(unchecked):
    weight = jnp.zeros((4, 2))
    with pytest.raises(ValueError, match="input is a list: expected an array"):
        embedding([0, 1], weight)
    with pytest.raises(ValueError, match="weight is a list: expected an array"):
        embedding(jnp.zeros(2, int), [[0.0]])
