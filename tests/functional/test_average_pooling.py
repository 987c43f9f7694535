"""Average pooling against PyTorch in float64: values, gradients, errors."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl.functional import adaptive_avg_pool2d, avg_pool1d, avg_pool2d, avg_pool3d
from tests.oracle import assert_agrees, assert_close, random

OURS = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}
TORCHS = {n: getattr(torch.nn.functional, f"avg_pool{n}d") for n in OURS}
WINDOWS = {"kernel_size": 3, "stride": 2, "padding": 1}


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def torch_pool(function, axes, **arguments):
    """A PyTorch pooling function for channels-last arrays."""
    return lambda images: function(images.movedim(-1, -1 - axes), **arguments).movedim(
        -1 - axes, -1
    )


def assert_like_torch(shape, axes=2, **arguments):
    ours = lambda x: OURS[axes](x, **arguments)
    theirs = torch_pool(TORCHS[axes], axes, **arguments)
    assert_agrees(ours, theirs, random(shape, 0))


@st.composite
def problems(draw, axes):
    """A shape and settings that fit together, often only just."""
    many = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * axes))
    kernel = many(1, 4)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    arguments = {
        "kernel_size": kernel,
        "stride": draw(st.sampled_from((None, many(1, 5)))),
        "padding": padding,
        "ceil_mode": draw(st.booleans()),
        "count_include_pad": draw(st.booleans()),
    }
    if axes > 1 and draw(st.booleans()):
        arguments["divisor_override"] = draw(st.integers(1, 5))
    # PyTorch refuses volumes smaller than the kernel, whatever the padding.
    sizes = [
        (max(1, k - 2 * p) if axes < 3 else k) + spare
        for k, p, spare in zip(kernel, padding, many(0, 6), strict=True)
    ]
    # Of an empty batch of volumes PyTorch refuses to pad the last axis.
    batch = draw(st.integers(0 if axes < 3 else 1, 2))
    return (batch, *sizes, draw(st.integers(1, 3))), arguments


@pytest.mark.parametrize("axes", [1, 2, 3])
@given(data=st.data())
def test_equals_torch(axes, data):
    shape, arguments = data.draw(problems(axes))
    assert_like_torch(shape, axes, **arguments)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_defaults_are_torchs(axes):
    """But for the padding, without which no default shows."""
    assert_like_torch((1, *(6,) * axes, 1), axes, kernel_size=3, padding=1)


@pytest.mark.parametrize("count_include_pad", [True, False])
def test_windows_beyond_the_padding_equal_torch(count_include_pad):
    """What lies beyond the padding never counts."""
    arguments = {"ceil_mode": True, "count_include_pad": count_include_pad}
    assert_like_torch((2, 6, 8, 1), **WINDOWS, **arguments)


def test_one_image_without_batch_axis_equals_torch():
    assert_like_torch((7, 9, 2), **WINDOWS)


@pytest.mark.parametrize("output_size", [1, 3, (2, 5), (None, 2), (7, 11)])
@pytest.mark.parametrize("shape", [(2, 7, 11, 3), (7, 11, 1)])
def test_adaptive_pooling_equals_torch(output_size, shape):
    theirs = torch.nn.functional.adaptive_avg_pool2d
    assert_agrees(
        lambda x: adaptive_avg_pool2d(x, output_size),
        torch_pool(theirs, 2, output_size=output_size),
        random(shape, 0),
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("output_size", [None, (3, 2)])
def test_special_values_stay_in_their_windows(value, output_size):
    images = random((1, 7, 7, 1), 0)
    images[0, 3, 5] = value
    if output_size is None:
        ours = lambda x: avg_pool2d(x, **WINDOWS)
        theirs = torch_pool(TORCHS[2], 2, **WINDOWS)
    else:
        ours = lambda x: adaptive_avg_pool2d(x, output_size)
        function = torch.nn.functional.adaptive_avg_pool2d
        theirs = torch_pool(function, 2, output_size=output_size)
    assert_close(ours(jnp.asarray(images)), theirs(torch.tensor(images)))


def test_vmap_equals_a_loop():
    images = jnp.asarray(random((3, 2, 7, 8, 2), 0))
    gradient = jax.grad(lambda x: jnp.sum(avg_pool2d(x, **WINDOWS) ** 2))
    batched = jax.jit(jax.vmap(gradient))(images)
    assert_close(batched, jnp.stack([gradient(x) for x in images]))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize(
    "pool",
    [lambda x: avg_pool2d(x, **WINDOWS), lambda x: adaptive_avg_pool2d(x, (3, 2))],
    ids=["windows", "adaptive"],
)
def test_keeps_the_dtype_to_its_precision(dtype, pool):
    images = jnp.asarray(random((2, 7, 8, 2), 0)).astype(dtype)
    output, exact = pool(images), pool(images.astype(jnp.float64))
    assert output.dtype == dtype
    limit = 2 * jnp.finfo(dtype).eps * jnp.max(jnp.abs(exact))
    np.testing.assert_allclose(output.astype(jnp.float64), exact, atol=limit, rtol=0)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_large_windows_round_once(dtype):
    images = jnp.asarray(random((2, 16, 16, 2), 0) + 1).astype(dtype)
    output = avg_pool2d(images, 8)
    exact = avg_pool2d(images.astype(jnp.float64), 8)
    # One rounding is half of eps; float32 sums before it add next to nothing.
    limit = 0.51 * jnp.finfo(dtype).eps * jnp.max(jnp.abs(exact))
    np.testing.assert_allclose(output.astype(jnp.float64), exact, atol=limit, rtol=0)


def test_an_empty_image_has_no_parts():
    with pytest.raises(ValueError, match="input has height 0, not 1 or more"):
        adaptive_avg_pool2d(jnp.zeros((1, 0, 5, 1)), 2)


def test_a_volume_smaller_than_the_kernel_is_refused_as_by_torch():
    volume, settings = torch.ones(1, 1, 3, 4), {"kernel_size": 2, "ceil_mode": True}
    with pytest.raises(RuntimeError, match="smaller than kernel size"):
        torch.nn.functional.avg_pool3d(volume, **settings)
    with pytest.raises(ValueError, match="kernel_size=2 exceeds input's depth 1"):
        avg_pool3d(jnp.ones((1, 3, 4, 1)), **settings)
    flat = torch.nn.functional.avg_pool2d(volume[0], 5, ceil_mode=True)
    assert_close(avg_pool2d(jnp.ones((3, 4, 1)), 5, ceil_mode=True)[..., 0], flat[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": jnp.zeros((5, 4))}, r"input has shape \(5, 4\)"),
        ({"input": jnp.zeros((1, 5, 5, 4), jnp.int32)}, "input has dtype int32"),
        ({"kernel_size": (2, 2, 2)}, r"kernel_size=\(2, 2, 2\)"),
        ({"stride": (1, 0)}, r"stride=\(1, 0\)"),
        ({"padding": (0, 2)}, "padding=2 exceeds half of kernel_size=3 in width"),
        ({"kernel_size": 6}, "kernel_size=6 .* exceeds input's padded height 5"),
        ({"divisor_override": 0}, "divisor_override=0 divides by zero"),
    ],
)
def test_invalid_arguments_raise(changes, message):
    arguments = {"input": jnp.zeros((2, 5, 6, 4)), "kernel_size": 3} | changes
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: inspect.unwrap(avg_pool2d)(**arguments))


def test_adaptive_pooling_refuses_what_are_no_images():
    with pytest.raises(ValueError, match=r"input has shape \(4,\)"):
        inspect.unwrap(adaptive_avg_pool2d)(jnp.zeros(4), 1)
