"""Linear functions with a transpose of their own, under JAX's transformations."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxdl.functional.transposes import with_transpose
from tests.oracle import assert_close, random

CALLS = []


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def product(matrix, x):
    """matrix · x[0] + 3 x[1], whose transpose only a loop of unknown length finds."""

    matrix = jnp.asarray(matrix)

    def linear(x):
        return {"y": matrix @ x[0] + 3 * x[1]}

    def transpose(d):
        CALLS.append(1)
        rows = jnp.sum(jnp.ones(len(matrix), int))  # to JAX not a constant
        add = lambda i, total: total + matrix[i] * d["y"][i]
        return lax.fori_loop(0, rows, add, jnp.zeros(matrix.shape[1])), 3 * d["y"]

    return with_transpose(linear, transpose, x)


def plain(matrix, x):
    return {"y": matrix @ x[0] + 3 * x[1]}


MATRIX, X = random((4, 3), 0), (random(3, 1), random(4, 2))


def scalar(function):
    return lambda matrix, x: jnp.sin(function(matrix, x)["y"]).sum()


@pytest.mark.parametrize("compiled", [True, False])
def test_reverse_mode_calls_the_transpose(compiled):
    CALLS.clear()
    actual = jax.grad(lambda x: scalar(product)(MATRIX, x))
    actual = (jax.jit(actual) if compiled else actual)(X)
    assert CALLS
    expected = jax.grad(scalar(plain), 1)(MATRIX, X)
    jax.tree.map(assert_close, actual, expected)


def test_one_argument_may_be_a_constant():
    actual = jax.grad(lambda x: scalar(product)(MATRIX, (x, X[1])))(X[0])
    assert_close(actual, jax.grad(scalar(plain), 1)(MATRIX, X)[0])


def test_forward_mode_needs_no_transpose():
    given = (MATRIX, X), (MATRIX[::-1], X)
    actual = jax.jvp(product, *given)
    jax.tree.map(assert_close, actual, jax.jvp(plain, *given))


def test_vmap_over_what_the_function_holds_and_what_it_gets():
    matrices, xs = jnp.stack([MATRIX, -MATRIX]), jax.tree.map(lambda a: a[None], X)
    xs = jax.tree.map(lambda a: jnp.concatenate([a, 2 * a]), xs)
    of_x = lambda function: jax.grad(scalar(function), 1)
    for axes in ((0, 0), (None, 0), (0, None)):
        given = matrices if axes[0] == 0 else MATRIX, xs if axes[1] == 0 else X
        actual = jax.vmap(of_x(product), axes)(*given)
        jax.tree.map(assert_close, actual, jax.vmap(of_x(plain), axes)(*given))


@pytest.mark.parametrize("outer", [jax.grad, jax.jacfwd])
def test_second_derivatives_also_by_what_the_function_holds(outer):
    def norm(function):
        inner = jax.grad(lambda matrix, x: scalar(function)(matrix, x), 1)
        return lambda matrix, x: sum((g**3).sum() for g in inner(matrix, x))

    actual = jax.jit(outer(norm(product), (0, 1)))(MATRIX, X)
    expected = outer(norm(plain), (0, 1))(MATRIX, X)
    jax.tree.map(assert_close, actual, expected)


def test_second_derivatives_where_the_first_is_a_constant():
    def total(function):
        inner = jax.grad(lambda matrix, x: function(matrix, x)["y"].sum(), 1)
        return lambda matrix: sum((i * inner(matrix, X)[0][i]) for i in range(3))

    actual = jax.jit(jax.grad(total(product)))(MATRIX)
    assert_close(actual, jax.grad(total(plain))(MATRIX))


def test_a_nan_stays_where_it_is():
    gradients = jax.vjp(lambda x: product(MATRIX, x), X)[1]
    d_y = jnp.array([jnp.nan, 1, 1, 1])
    assert_close(gradients({"y": d_y})[0][1], [jnp.nan, 3, 3, 3])
