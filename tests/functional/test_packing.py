"""Packed sequences against torch.nn.utils.rnn."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl.functional.packing import (
    PackedSequence,
    pack_padded_sequence,
    pad_packed_sequence,
)
from tests.oracle import assert_agrees, random, to_torch

COURSE = [10, 8, 7, 7, 7, 7, 6, 6, 5]


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def torch_packed(x, lengths, **settings):
    return torch.nn.utils.rnn.pack_padded_sequence(
        to_torch(x), torch.tensor(lengths), **settings
    )


def assert_same_packed(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs)


def test_the_courses_batch_sizes():
    packed = pack_padded_sequence(jnp.zeros((10, 9, 2)), COURSE)
    assert packed.batch_sizes.tolist() == [9, 9, 9, 9, 9, 8, 6, 2, 1, 1]


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    batch_first=st.booleans(),
    features=st.sampled_from([(), (2,), (2, 3)]),
    spare=st.integers(0, 2),
)
def test_packing_and_padding_equal_torch(lengths, batch_first, features, spare):
    leading = (max(lengths) + spare, len(lengths))
    x = random((*(leading[::-1] if batch_first else leading), *features), 0)
    how = {"batch_first": batch_first, "enforce_sorted": False}
    packed = pack_padded_sequence(jnp.asarray(x), jnp.array(lengths), **how)
    expected = torch_packed(x, lengths, **how)
    assert_same_packed(packed, expected)
    for how in ({}, {"padding_value": -1.5, "total_length": leading[0]}):
        actual = pad_packed_sequence(packed, batch_first, **how)
        theirs = torch.nn.utils.rnn.pad_packed_sequence(expected, batch_first, **how)
        assert_same_packed(actual, theirs)


@pytest.mark.parametrize("how", [{}, {"enforce_sorted": True}])
def test_sorted_sequences_equal_torch(how):
    x = random((10, 9, 2), 0)
    packed = pack_padded_sequence(jnp.asarray(x), COURSE, **how)
    expected = torch_packed(x, COURSE, **how)
    assert_same_packed(packed, expected)
    padded = pad_packed_sequence(packed)
    assert_same_packed(padded, torch.nn.utils.rnn.pad_packed_sequence(expected))


def test_gradients_equal_torch():
    lengths = [2, 4, 1]

    def ours(x):
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        return packed.data, pad_packed_sequence(packed, padding_value=3.0)[0]

    def theirs(x):
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(lengths), enforce_sorted=False
        )
        padded = torch.nn.utils.rnn.pad_packed_sequence(packed, padding_value=3.0)[0]
        return packed.data, padded

    assert_agrees(ours, theirs, random((4, 3, 2), 0))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int32, jnp.float32])
def test_dtype_is_kept(dtype):
    packed = pack_padded_sequence(jnp.ones((2, 2), dtype), [2, 1])
    assert packed.data.dtype == pad_packed_sequence(packed)[0].dtype == dtype


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((3, 2), [1, 2], r"lengths \[1, 2\] increase: sort them"),
        ((3, 2), [2, 0], r"length 0 at .* lies outside of 1..3"),
        ((3, 2), [4, 1], r"length 4 at .* lies outside of 1..3"),
        ((3, 2), [1], r"lengths \(1,\) do not fit 2 sequences"),
        ((3, 2), [[2], [1]], r"lengths \(2, 1\) do not fit 2 sequences"),
        ((3, 2), [1.5, 1.0], "lengths have dtype float64"),
        ((3, 0), np.zeros(0, int), "there are no sequences"),
        ((3,), [1], r"input has shape \(3,\)"),
    ],
)
def test_invalid_arguments_raise(shape, lengths, message):
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(pack_padded_sequence)(jnp.zeros(shape), lengths)


def test_lengths_are_those_of_the_batch_in_batch_first():
    with pytest.raises(ValueError, match=r"length 3 at .* lies outside of 1..2"):
        pack_padded_sequence(jnp.zeros((3, 2)), [3, 1, 1], batch_first=True)


def test_a_total_length_below_the_longest_raises():
    packed = pack_padded_sequence(jnp.zeros((3, 1)), [3])
    with pytest.raises(
        ValueError, match="total_length=2 is below the longest length 3"
    ):
        pad_packed_sequence(packed, total_length=2)


def test_traced_lengths_raise():
    with pytest.raises(ValueError, match="lengths are traced"):
        jax.jit(pack_padded_sequence)(jnp.zeros((3, 1)), jnp.array([3]))
    with pytest.raises(ValueError, match="batch_sizes are traced"):
        jax.jit(pad_packed_sequence)(PackedSequence(jnp.zeros(1), jnp.array([1])))


def test_unsigned_lengths_do_not_wrap(unchecked):
    x, lengths = jnp.arange(6).reshape(3, 2), np.array([3, 1], np.uint8)
    packed = pack_padded_sequence(x, lengths)
    np.testing.assert_array_equal(packed.batch_sizes, [2, 1, 1])
    with pytest.raises(ValueError, match=r"lengths \[1, 3\] increase"):
        pack_padded_sequence(x, lengths[::-1])
    unsorted = pack_padded_sequence(x, lengths[::-1], enforce_sorted=False)
    np.testing.assert_array_equal(unsorted.sorted_indices, [1, 0])
