"""Indices out of range are told, outside of jit and inside."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import checkify

from jaxdl.functional.checks import check_floating, check_indices


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64"])
def test_arrays_that_are_not_floating_raise(dtype):
    with pytest.raises(ValueError, match=f"x has dtype {dtype}; expected a floating"):
        check_floating(w=None, x=jnp.zeros(2, dtype))


@pytest.mark.parametrize(
    ("indices", "message"),
    [([[0, 3], [4, 9]], r"label 4 at \(1, 0\) lies outside of 0..3"), ([-1], "-1 at")],
)
def test_an_index_out_of_range_raises(indices, message):
    with pytest.raises(ValueError, match=message):
        check_indices("label", jnp.array(indices), 4)


@pytest.mark.parametrize("indices", [[0, 3], [-7, 0], []])
def test_others_pass(indices):
    indices = jnp.array(indices, int)
    check_indices("label", indices, 4, ignore_index=-7)
    check = checkify.checkify(jax.jit(lambda i: check_indices("label", i, 4, -7)))
    check(indices)[0].throw()


def reported(indices, size, ignore_index=None):
    check = lambda i: check_indices("label", i, size, ignore_index)
    return checkify.checkify(jax.jit(check))(indices)[0].get()


@pytest.mark.parametrize("index", [-1, 4, 7])
def test_inside_jit_checkify_reports_the_first(index):
    message = reported(jnp.array([3, index, 0, 9]), 4)
    assert f"label {index} lies outside of 0..3" in message


def test_inside_jit_alone_nothing_happens():
    jax.jit(lambda i: check_indices("label", i, 4))(jnp.array([9]))


def test_small_integers_do_not_wrap():
    """As an unsigned byte -100 is 156, and 300 is 44."""
    labels = jnp.array([156, 44, 45], jnp.uint8)
    assert reported(labels, 300, ignore_index=-100) is None
    assert "156" in reported(labels, 100, ignore_index=-100)
    check_indices("label", labels, 300)
    with pytest.raises(ValueError, match="156 at"):
        check_indices("label", labels, 100, ignore_index=-100)
