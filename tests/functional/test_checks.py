"""Indices out of range are told, outside of jit and inside."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

from jaxdl.functional import cross_entropy, one_hot
from jaxdl.functional.checks import (
    check_floating,
    check_indices,
    check_share,
    check_values,
)


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


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: f,
        jax.vmap,
        lambda f: jax.vmap(f, in_axes=1, out_axes=1),
        lambda f: lambda i: jax.lax.scan(lambda c, row: (c, f(row)), 0, i)[1],
        lambda f: lambda i: jax.lax.cond(i.shape == (0,), lambda i: i < 0, f, i),
        jax.checkpoint,
    ],
    ids=["jit", "vmap", "columns", "scan", "cond", "checkpoint"],
)
def test_checkify_sees_through(transform):
    check = jax.jit(transform(lambda i: check_indices("label", i, 4)))
    indices = jnp.array([[0, 1, 3], [2, 5, -1]])
    np.testing.assert_array_equal(check(indices), (indices >= 0) & (indices < 4))
    error, within = checkify.checkify(check)(indices)
    assert "lies outside of 0..3" in error.get()
    np.testing.assert_array_equal(within, check(indices))
    assert checkify.checkify(check)(indices % 4)[0].get() is None


def test_checkify_sees_the_checks_of_a_gradient():
    """Values that are differentiated may be checked too."""

    def loss(x):
        within = check_values("x", x, x <= 1, "..1")
        return jnp.where(within, x**2, jnp.nan).sum()

    x = jnp.array([0.5, 2])
    np.testing.assert_array_equal(jax.grad(loss)(x[:1]), [1])
    np.testing.assert_array_equal(jax.jit(jax.grad(loss))(x)[0], 1)
    np.testing.assert_array_equal(jax.jvp(loss, (x[:1],), (x[:1],))[1], 0.5)
    error = checkify.checkify(jax.jit(jax.grad(loss)))(x)[0]
    assert "x 2.0 lies outside of ..1" in error.get()
    assert jax.hessian(jax.jit(loss))(x)[0, 0] == 2


def test_checks_are_no_effects():
    """JAX calls a program that has any by a slow path, of 0.4 ms a call."""
    check = jax.make_jaxpr(jax.jit(lambda i: check_indices("label", i, 4)))
    assert not check(jnp.array([9])).effects


def test_small_integers_do_not_wrap():
    """As an unsigned byte -100 is 156, and 300 is 44."""
    labels = jnp.array([156, 44, 45], jnp.uint8)
    assert reported(labels, 300, ignore_index=-100) is None
    assert "156" in reported(labels, 100, ignore_index=-100)
    check_indices("label", labels, 300)
    with pytest.raises(ValueError, match="156 at"):
        check_indices("label", labels, 100, ignore_index=-100)


def test_all_checks_go_through_the_gradient_of_a_checkpoint():
    f = jax.checkpoint(lambda x, i: (one_hot(i, 5) * x).sum())
    check = checkify.checkify(jax.jit(jax.grad(f)), errors=checkify.all_checks)
    assert "index 7" in check(jnp.ones((2, 5)), jnp.array([1, 7]))[0].get()


@pytest.mark.parametrize("own", ["first", "last"])
def test_of_checks_that_fail_together_the_first_is_reported(own):
    """Among checks of one kind, of others, and those of the caller."""

    def loss(x, label):
        if own == "first":
            checkify.check(x > 0, "x is negative")
        within = check_indices("label", label, 3)
        check_values("x", x, x > 2, "2..")
        loss = jnp.where(within, x, jnp.nan)
        checkify.check(jnp.isfinite(loss), "the loss is not finite")
        return loss

    message = {"first": "x is negative", "last": "label 7 lies outside of 0..2"}[own]
    for f in (jax.jit(loss), jax.jit(jax.grad(loss))):
        error = checkify.checkify(f)(jnp.float32(-1), jnp.int32(7))[0]
        assert message in error.get()


def test_what_is_no_array_is_named():
    with pytest.raises(ValueError, match="weight is a float: expected an array"):
        inspect.unwrap(check_floating)(weight=0.25)


@pytest.mark.parametrize("value", [None, "0.5"])
def test_a_setting_is_a_number(value, unchecked):
    with pytest.raises(ValueError, match=f"p={value!r} is no number"):
        check_share("p", value)


def test_a_setting_of_jax_is_known_inside_jit():
    share = jnp.float32(1.5)
    with pytest.raises(ValueError, match=r"p=1.5 is not within \[0, 1\]"):
        jax.jit(lambda x: x * check_share("p", share))(1.0)


def test_checkify_reports_numpys_values_too():
    """Labels from outside, in a compiled function of examples."""
    x, labels = jnp.ones((4, 5)), np.array([0, 1, 9, 2])
    losses = jax.jit(lambda x: jax.vmap(cross_entropy)(x, labels))
    error, _ = checkify.checkify(losses)(x)
    assert "9 lies outside of 0..4" in error.get()
