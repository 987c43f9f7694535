"""max_pool2d against PyTorch in float64: values, gradients, transformations, errors."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxdl.functional.pooling import max_pool2d
from tests.oracle import assert_close, random

TILES = {"kernel_size": (2, 3)}
WINDOWS = {"kernel_size": 3, "stride": 2, "padding": 1}


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def ties(shape, seed):
    return np.random.default_rng(seed).integers(0, 3, size=shape).astype(float)


def assert_like_torch(images, **arguments):
    """Compares the output and, for a random cotangent, the gradient."""
    tensor = torch.tensor(images, requires_grad=True)
    expected = torch.nn.functional.max_pool2d(tensor.movedim(-1, -3), **arguments)
    expected = expected.movedim(-3, -1)
    cotangent = random(expected.shape, 1)
    (expected_gradient,) = torch.autograd.grad(
        expected, tensor, torch.tensor(cotangent)
    )

    @jax.jit
    def value_and_gradient(images, cotangent):
        output, pullback = jax.vjp(lambda x: max_pool2d(x, **arguments), images)
        return output, max_pool2d(images, **arguments), *pullback(cotangent)

    images, cotangent = jnp.asarray(images), jnp.asarray(cotangent)
    output, undifferentiated, gradient = value_and_gradient(images, cotangent)
    assert_close(output, expected.detach())
    assert_close(undifferentiated, expected.detach())
    assert_close(gradient, expected_gradient)


pairs = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def problems(draw):
    """Images and settings that fit together; half of them windows that tile."""
    kernel = draw(pairs(1, 4))
    stride, padding = None, (0, 0)
    if draw(st.booleans()):
        stride = draw(pairs(1, 5))
        padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    sizes = [k + more for k, more in zip(kernel, draw(pairs(0, 7)), strict=True)]
    shape = (draw(st.integers(1, 3)), *sizes, draw(st.integers(1, 3)))
    values = draw(st.sampled_from((random, ties)))
    return values(shape, 0), kernel, stride, padding


@settings(derandomize=True, max_examples=30, deadline=None)
@given(problems())
def test_equals_torch(problem):
    images, kernel, stride, padding = problem
    assert_like_torch(images, kernel_size=kernel, stride=stride, padding=padding)


@pytest.mark.parametrize("arguments", [TILES, WINDOWS])
def test_ties_send_the_gradient_where_torch_does(arguments):
    assert_like_torch(ties((4, 12, 12, 3), 0), **arguments)


@pytest.mark.parametrize("arguments", [TILES, WINDOWS])
def test_one_image_without_batch_axis_equals_torch(arguments):
    assert_like_torch(random((7, 9, 2), 0), **arguments)


def with_special(value, shape=(2, 6, 6, 2), share=0.3):
    images = random(shape, 0)
    images[np.random.default_rng(1).random(shape) < share] = value
    return images


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_tiles_with_minus_infinity_equal_torch(share):
    assert_like_torch(with_special(-np.inf, share=share), **TILES)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_tiles_with_nan_equal_torch(share):
    assert_like_torch(with_special(np.nan, share=share), **TILES)


def test_overlapping_windows_with_nan_are_nan():
    images = with_special(np.nan, share=0.1)
    tensor = torch.tensor(images).movedim(-1, -3)
    expected = torch.nn.functional.max_pool2d(tensor, **WINDOWS).movedim(-3, -1)
    assert_close(max_pool2d(jnp.asarray(images), **WINDOWS), expected)


def loss(images, arguments):
    return jnp.sum(jnp.sin(max_pool2d(images, **arguments)))


@pytest.mark.parametrize("arguments", [TILES, WINDOWS])
def test_vmap_equals_a_loop(arguments):
    images = jnp.asarray(ties((3, 2, 7, 8, 2), 0))
    gradient = jax.grad(lambda x: loss(x, arguments))
    batched = jax.jit(jax.vmap(gradient))(images)
    assert_close(batched, jnp.stack([gradient(x) for x in images]))


@pytest.mark.parametrize("arguments", [TILES, WINDOWS])
def test_gradient_in_a_compiled_scan_equals_one_outside(arguments):
    images = jnp.asarray(random((2, 7, 8, 2), 0))
    descend = lambda x: x - 0.1 * jax.grad(loss)(x, arguments)
    scanned, _ = jax.jit(
        lambda x: lax.scan(lambda x, _: (descend(x), None), x, length=3)
    )(images)
    assert_close(scanned, descend(descend(descend(images))))


@pytest.mark.parametrize("arguments", [TILES, WINDOWS])
def test_forward_mode_is_the_transpose_of_reverse_mode(arguments):
    images, tangent = (jnp.asarray(random((2, 7, 8, 2), seed)) for seed in (0, 1))
    pool = lambda x: max_pool2d(x, **arguments)
    output, pushed = jax.jvp(pool, (images,), (tangent,))
    cotangent = jnp.asarray(random(output.shape, 2))
    (gradient,) = jax.vjp(pool, images)[1](cotangent)
    assert_close(jnp.vdot(cotangent, pushed), jnp.vdot(gradient, tangent))


def test_second_derivatives_equal_torch():
    images = random((1, 4, 6, 1), 0)
    pool = torch.nn.functional.max_pool2d
    torch_loss = lambda x: pool(x.movedim(-1, -3), **TILES).sin().sum()
    expected = torch.autograd.functional.hessian(torch_loss, torch.tensor(images))
    assert_close(jax.hessian(loss)(jnp.asarray(images), TILES), expected)


def test_gradient_of_tiles_needs_no_scatter():
    jaxpr = jax.make_jaxpr(jax.grad(lambda x: loss(x, TILES)))(jnp.zeros((1, 4, 6, 1)))
    assert "select_and_scatter" not in str(jaxpr)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("arguments", [TILES, WINDOWS])
def test_keeps_the_dtype_and_the_values(dtype, arguments):
    images = jnp.asarray(random((2, 7, 8, 2), 0)).astype(dtype)
    output = max_pool2d(images, **arguments)
    exact = max_pool2d(images.astype(jnp.float64), **arguments)
    assert output.dtype == jax.grad(loss)(images, arguments).dtype == dtype
    np.testing.assert_array_equal(output.astype(jnp.float64), exact)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": jnp.zeros((5, 4))}, r"input has shape \(5, 4\)"),
        ({"input": jnp.zeros((1, 1, 5, 5, 4))}, "input has shape"),
        ({"input": jnp.zeros((1, 5, 5, 4), jnp.int32)}, "input has dtype int32"),
        ({"kernel_size": 0}, "kernel_size=0 must be an integer of at least 1"),
        ({"kernel_size": (2, 2, 2)}, r"kernel_size=\(2, 2, 2\)"),
        ({"stride": (1, 0)}, r"stride=\(1, 0\)"),
        ({"padding": -1}, "padding=-1 must be an integer of at least 0"),
        ({"padding": (0, 2)}, r"padding=\(0, 2\) exceeds half.*width"),
        ({"kernel_size": 6}, r"kernel_size=\(6, 6\) exceeds.*padded height 5"),
    ],
)
def test_invalid_arguments_raise(changes, message):
    arguments = {"input": jnp.zeros((2, 5, 6, 4)), "kernel_size": 3} | changes
    # Unwrapped: the annotations, checked here only, would otherwise speak first.
    checked = inspect.unwrap(max_pool2d)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: checked(**arguments))
