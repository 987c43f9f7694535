"""Max pooling against PyTorch in float64: values, gradients, errors."""

import inspect
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from jax import lax

from jaxdl.functional import (
    adaptive_max_pool2d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool2d,
)
from jaxdl.functional.max_pooling import LARGE_WINDOW
from jaxdl.training import compiled
from tests.oracle import assert_agrees, assert_close, random

OURS = {1: max_pool1d, 2: max_pool2d, 3: max_pool3d}
TORCHS = {n: getattr(torch.nn.functional, f"max_pool{n}d") for n in OURS}
TILES = {"kernel_size": (2, 3)}
WINDOWS = {"kernel_size": 3, "stride": 2, "padding": 1}
LARGE = {"kernel_size": (5, 7), "stride": (2, 3), "padding": (2, 1)}
ALL = [TILES, WINDOWS, LARGE]


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def ties(shape, seed):
    return np.random.default_rng(seed).integers(0, 3, size=shape).astype(float)


def torch_pool(function, axes, **arguments):
    """A PyTorch pooling function for channels-last arrays."""

    def pool(images):
        last = lambda a: a.movedim(-1 - axes, -1)
        output = function(images.movedim(-1, -1 - axes), **arguments)
        return tuple(map(last, output)) if isinstance(output, tuple) else last(output)

    return pool


def assert_like_torch(images, axes=2, **arguments):
    """Compares the output, its gradient for a random cotangent, and the indices."""
    ours, theirs = OURS[axes], TORCHS[axes]
    assert_agrees(
        lambda x: ours(x, **arguments), torch_pool(theirs, axes, **arguments), images
    )
    arguments |= {"return_indices": True}
    expected = torch_pool(theirs, axes, **arguments)(torch.tensor(images))
    actual = jax.jit(lambda x: ours(x, **arguments))(jnp.asarray(images))
    for array, reference in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(array, reference)


@st.composite
def problems(draw, axes):
    """Images and settings that fit together, often only just."""
    many = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * axes))
    kernel = many(1, 4 if axes < 3 else 3)
    arguments = {"kernel_size": kernel, "ceil_mode": draw(st.booleans())}
    padding, dilation = (0,) * axes, (1,) * axes
    if draw(st.booleans()):
        padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
        dilation = many(1, 3)
        arguments |= {
            "stride": many(1, 5), "padding": padding, "dilation": dilation
        }  # fmt: skip
    sizes = [
        max(d, d * (k - 1) + 1 - 2 * p) + spare
        for k, p, d, spare in zip(kernel, padding, dilation, many(0, 6), strict=True)
    ]
    shape = (draw(st.integers(0, 2)), *sizes, draw(st.integers(1, 3)))
    values = draw(st.sampled_from((random, ties)))
    return values(shape, 0), arguments


@pytest.mark.parametrize("axes", [1, 2, 3])
@given(data=st.data())
def test_equals_torch(axes, data):
    images, arguments = data.draw(problems(axes))
    assert_like_torch(images, axes, **arguments)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_defaults_are_torchs(axes):
    assert_like_torch(random((1, *(5,) * axes, 1), 0), axes, kernel_size=2)


@pytest.mark.parametrize("values", [random, ties])
@pytest.mark.parametrize("arguments", [LARGE, LARGE | {"dilation": (1, 2)}])
def test_large_windows_equal_torch(values, arguments):
    assert math.prod(LARGE["kernel_size"]) > LARGE_WINDOW
    assert_like_torch(values((2, 13, 17, 2), 0), **arguments)


def test_a_window_of_a_whole_image_equals_torch():
    assert_like_torch(ties((2, 13, 12, 2), 0), kernel_size=(13, 12))


def test_more_places_along_an_axis_than_a_byte_counts_equal_torch():
    images = random((1, 129, 3), 0)
    images[0, -1, 0] = 9
    assert_like_torch(images, axes=1, kernel_size=129)


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_tiles_too_large_for_one_comparison_after_another_equal_torch(value, share):
    images = ties((2, 100, 2), 0)
    images[np.random.default_rng(1).random(images.shape) < share] = value
    assert_like_torch(images, axes=1, kernel_size=40, ceil_mode=True)


def test_vmap_and_second_derivatives_of_a_large_tile_equal_torch():
    images = ties((3, 80, 2), 0)
    slope = jax.grad(lambda x: jnp.sum(jnp.sin(max_pool1d(x, 40))))
    actual = jax.vmap(jax.grad(lambda x: jnp.sum(slope(x) ** 2)))(images)
    tensor = torch.tensor(images, requires_grad=True)
    loss = torch_pool(TORCHS[1], 1, kernel_size=40)(tensor).sin().sum()
    [first] = torch.autograd.grad(loss, tensor, create_graph=True)
    [second] = torch.autograd.grad(first.square().sum(), tensor)
    assert_close(actual, second)


def test_the_program_of_a_tile_does_not_grow_with_it():
    pool = lambda x: adaptive_max_pool2d(x, 1, return_indices=True)
    slopes = jax.jacfwd(pool, has_aux=True)
    program = lambda n: str(jax.make_jaxpr(slopes)(jnp.ones((n, n, 1))))
    assert len(program(90)) < 1.1 * len(program(40))


@pytest.mark.parametrize("arguments", ALL)
def test_ties_send_the_gradient_where_torch_does(arguments):
    assert_like_torch(ties((4, 12, 12, 3), 0), **arguments)


@pytest.mark.parametrize("arguments", ALL)
def test_one_image_without_batch_axis_equals_torch(arguments):
    assert_like_torch(random((7, 9, 2), 0), **arguments)


def with_special(value, shape=(2, 7, 8, 2), share=0.3):
    images = random(shape, 0)
    images[np.random.default_rng(1).random(shape) < share] = value
    return images


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("arguments", ALL)
def test_minus_infinity_equals_torch(share, arguments):
    assert_like_torch(with_special(-np.inf, share=share), **arguments)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("arguments", ALL)
def test_nan_equals_torch(share, arguments):
    assert_like_torch(with_special(np.nan, share=share), **arguments)


def loss(images, arguments):
    return jnp.sum(jnp.sin(max_pool2d(images, **arguments)))


@pytest.mark.parametrize("arguments", ALL)
def test_vmap_equals_a_loop(arguments):
    images = jnp.asarray(ties((3, 2, 7, 8, 2), 0))
    gradient = jax.grad(lambda x: loss(x, arguments))
    batched = jax.jit(jax.vmap(gradient))(images)
    assert_close(batched, jnp.stack([gradient(x) for x in images]))


@pytest.mark.parametrize("arguments", ALL)
def test_gradient_in_a_compiled_scan_equals_one_outside(arguments):
    images = jnp.asarray(random((2, 7, 8, 2), 0))
    descend = lambda x: x - 0.1 * jax.grad(loss)(x, arguments)
    scanned, _ = jax.jit(
        lambda x: lax.scan(lambda x, _: (descend(x), None), x, length=3)
    )(images)
    assert_close(scanned, descend(descend(descend(images))))


@pytest.mark.parametrize("arguments", ALL)
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


@pytest.mark.parametrize("arguments", [TILES, {"kernel_size": 3, "stride": 2}])
def test_what_won_is_found_once(arguments):
    """Not anew for each number of the gradient, 3 to 6 times as slow in a network."""
    pool = lambda x: max_pool2d(x, **arguments)
    x = jnp.ones((4, 12, 12, 8), jnp.float32)

    @compiled
    def gradient(weight):
        return jax.grad(lambda w: jax.nn.relu(pool(jax.nn.relu(x @ w))).sum())(weight)

    program = gradient.lower(jnp.eye(8, dtype=jnp.float32)).compile().as_text()
    entry = program[program.index("ENTRY") :]
    sizes = ",".join(map(str, jax.eval_shape(pool, x).shape))
    assert len(re.findall(rf"= s8\[{sizes}\]\S* fusion", entry)) == 1


@pytest.mark.parametrize("arguments", ALL)
def test_gradient_needs_no_scatter(arguments):
    gradient = jax.grad(lambda x: loss(x, arguments))
    jaxpr = jax.make_jaxpr(gradient)(jnp.zeros((1, 5, 6, 1)))
    assert "select_and_scatter" not in str(jaxpr)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("arguments", ALL)
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
        ({"padding": (0, 2)}, r"padding=2 exceeds half of kernel_size=3 in width"),
        ({"dilation": 0}, "dilation=0"),
        ({"dilation": (1, 3)}, r"kernel_size=3 \(dilation=3\) exceeds .* width 6"),
        (
            {"input": jnp.zeros((2, 2, 6, 1)), "dilation": 3, "padding": 1},
            r"kernel_size=3 \(dilation=3\) exceeds .* height 4",
        ),
        (
            # PyTorch gives -inf, and its gradient writes where it should not.
            {
                "input": jnp.zeros((1, 1, 1)),
                "kernel_size": 2,
                "dilation": 2,
                "padding": 1,
            },
            "dilation=2 with padding=1 lets a window see nothing of height 1",
        ),
        ({"kernel_size": 6}, r"kernel_size=6 .* exceeds input's padded height 5"),
    ],
)
def test_invalid_arguments_raise(changes, message):
    arguments = {"input": jnp.zeros((2, 5, 6, 4)), "kernel_size": 3} | changes
    # Unwrapped: the annotations, checked here only, would otherwise speak first.
    checked = inspect.unwrap(max_pool2d)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: checked(**arguments))


@pytest.mark.parametrize("output_size", [1, 3, (2, 5), (None, 2), (7, 11)])
@pytest.mark.parametrize("values", [random, ties])
def test_adaptive_pooling_equals_torch(output_size, values):
    images = values((2, 7, 11, 3), 0)
    theirs = torch.nn.functional.adaptive_max_pool2d
    settings = {"output_size": output_size}
    ours = lambda x: adaptive_max_pool2d(x, output_size)
    assert_agrees(ours, torch_pool(theirs, 2, **settings), images)
    settings |= {"return_indices": True}
    expected = torch_pool(theirs, 2, **settings)(torch.tensor(images))
    actual = jax.jit(lambda x: adaptive_max_pool2d(x, **settings))(jnp.asarray(images))
    for array, reference in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(array, reference)


def test_adaptive_pooling_of_one_image_with_nan_equals_torch():
    images = with_special(np.nan, shape=(7, 8, 2), share=0.2)
    theirs = torch_pool(torch.nn.functional.adaptive_max_pool2d, 2, output_size=(3, 2))
    assert_agrees(lambda x: adaptive_max_pool2d(x, (3, 2)), theirs, images)


@pytest.mark.parametrize("output_size", [0, (1, 2, 3), (None, -1), 1.5])
def test_adaptive_sizes_that_are_none(output_size):
    with pytest.raises(ValueError, match="output_size="):
        inspect.unwrap(adaptive_max_pool2d)(jnp.zeros((4, 4, 1)), output_size)


@pytest.mark.parametrize(
    ("arguments", "output_size"),
    [
        ({"kernel_size": (1, 3)}, None),
        ({"kernel_size": 2}, (7, 9)),
        ({"kernel_size": (3, 2), "stride": (2, 3), "padding": 1}, None),
    ],
)
def test_unpooling_equals_torch(arguments, output_size):
    """Windows share maxima: each gets its gradient."""
    images = random((2, 7, 9, 3), 0)
    function = torch.nn.functional.max_pool2d
    pooled, indices = torch_pool(function, 2, return_indices=True, **arguments)(
        torch.tensor(images)
    )
    arguments |= {"output_size": output_size}

    def theirs(values, indices):
        first = lambda a: a.movedim(-1, 1).contiguous()
        unpool = torch.nn.functional.max_unpool2d
        return unpool(first(values), first(indices), **arguments).movedim(1, -1)

    ours = lambda values, indices: max_unpool2d(values, indices, **arguments)
    assert_agrees(ours, theirs, pooled.numpy(), indices.numpy())
    single = ours(jnp.asarray(pooled[0].numpy()), jnp.asarray(indices[0].numpy()))
    assert_close(single, theirs(pooled, indices)[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indices": jnp.full((2, 2, 1), 16)}, r"index 16 at .* outside of 0..15"),
        ({"indices": jnp.full((2, 2, 1), -1)}, r"index -1 at"),
        ({"indices": jnp.zeros((2, 2), int)}, r"indices of shape \(2, 2\)"),
        ({"indices": jnp.zeros((2, 2, 1))}, "dtype float32 should be integers"),
        ({"output_size": (4, 6)}, r"output_size=\(4, 6\) must be within the stride"),
        ({"output_size": (2, 4)}, r"output_size=\(2, 4\) must be within the stride"),
        ({"stride": 0}, "stride=0"),
    ],
)
def test_invalid_unpooling_raises(changes, message):
    arguments = {
        "input": jnp.zeros((2, 2, 1)),
        "indices": jnp.zeros((2, 2, 1), int),
        "kernel_size": 2,
    } | changes
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(max_unpool2d)(**arguments)


def test_unpooling_to_a_square_takes_its_side():
    pooled = random((2, 2, 1), 0), np.array([0, 4, 10, 24]).reshape(2, 2, 1)
    unpool = lambda size: max_unpool2d(*map(jnp.asarray, pooled), 2, output_size=size)
    np.testing.assert_array_equal(unpool(5), unpool((5, 5)))


def test_unpooling_drops_wrong_indices_inside_jit():
    values, indices = jnp.ones((1, 2, 1)), jnp.array([[[-1], [8]]])
    assert not jax.jit(lambda v, i: max_unpool2d(v, i, 2))(values, indices).any()


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16])
@pytest.mark.parametrize("apply", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_unpooling_with_small_integers(dtype, apply):
    """Of 600 places, which 8 bits cannot count."""
    values, indices = random((1, 1, 2, 1), 0), np.array([[[[100], [7]]]])
    unpool = apply(lambda v, i: max_unpool2d(v, i, (30, 10)))
    found = unpool(jnp.asarray(values), jnp.asarray(indices, dtype))
    expected = np.zeros(600)
    expected[[100, 7]] = values.ravel()
    assert_close(found.ravel(), expected)
