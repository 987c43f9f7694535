"""Convolutions against PyTorch in float64: values, gradients, errors."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr

from jaxdl.functional import conv1d, conv2d, conv3d, corr2d
from jaxdl.functional.convolution_cpu import FEW_CHANNELS, GROUP_CHANNELS
from tests.marks import slow
from tests.oracle import assert_agrees, assert_close, random

OURS = {1: conv1d, 2: conv2d, 3: conv3d}
TORCHS = {n: getattr(torch.nn.functional, f"conv{n}d") for n in OURS}
MANY_CHANNELS = FEW_CHANNELS + 1

# Images, weight and settings for each of the ways that the CPU path goes.
PATHS = {
    "one channel": ((2, 9, 8, 1), (3, 2, 1, 4), {"padding": 1}),
    "one channel with stride": ((2, 9, 8, 1), (3, 2, 1, 4), {"stride": 2}),
    "few channels": ((2, 9, 8, 3), (3, 2, 3, 4), {"padding": 1, "stride": (2, 1)}),
    "few, dilated": ((2, 9, 8, 3), (3, 2, 3, 4), {"dilation": (2, 3)}),
    "few, wide kernel": ((2, 9, 11, 5), (2, 5, 5, 4), {"stride": (1, 3)}),
    "few places": ((2, 9, 8, 13), (4, 4, 13, 4), {}),
    "many channels": ((2, 9, 8, 13), (3, 2, 13, 4), {"padding": 1}),
    "phases": ((2, 9, 8, 13), (3, 2, 13, 4), {"padding": 1, "stride": (2, 3)}),
    "dilated": ((2, 9, 8, 13), (3, 2, 13, 4), {"dilation": (2, 3), "stride": 2}),
    "product": ((2, 9, 8, 13), (1, 1, 13, 4), {"stride": (2, 1)}),
    "padded product": ((2, 9, 8, 13), (1, 1, 13, 4), {"padding": 1}),
    "small images": ((2, 3, 2, 5), (5, 3, 5, 4), {"padding": (3, 1), "stride": (2, 1)}),
    "small, dilated": ((2, 3, 4, 5), (3, 2, 5, 4), {"padding": 3, "dilation": (2, 3)}),
    "larger kernel": ((2, 8, 6, 13), (9, 7, 13, 4), {"padding": (5, 3)}),
    "few outputs": ((2, 6, 5, 13), (5, 4, 13, 4), {}),
    "depthwise": ((2, 9, 8, 4), (3, 2, 1, 8), {"groups": 4, "stride": (2, 1)}),
    "grouped": ((2, 9, 8, 12), (3, 2, 2, 12), {"groups": 6, "padding": 1}),
}
assert 3 <= FEW_CHANNELS < MANY_CHANNELS == 13


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def torch_conv(images, weight, bias=None, **arguments):
    """PyTorch's convolution of channels-last tensors."""
    # Contiguous: PyTorch's gradient refuses some permuted one-channel weights.
    axes = weight.ndim - 2
    images = images.movedim(-1, -1 - axes)
    weight = weight.movedim((-1, -2), (0, 1)).contiguous()
    return TORCHS[axes](images, weight, bias, **arguments).movedim(-1 - axes, -1)


def assert_like_torch(images_shape, weight_shape, **arguments):
    """Compares the output and, for a random cotangent, all three gradients."""
    shapes = (images_shape, weight_shape, weight_shape[-1:])
    assert_agrees(
        lambda *a: OURS[len(weight_shape) - 2](*a, **arguments),
        lambda *a: torch_conv(*a, **arguments),
        *(random(shape, seed) for seed, shape in enumerate(shapes)),
    )


@st.composite
def problems(draw, axes):
    """Shapes and settings that fit together, often only just."""
    many = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * axes))
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    channels = (1, 2) if groups > 1 else (1, 3, MANY_CHANNELS)
    group_channels = draw(st.sampled_from(channels))
    kernel, stride, padding, dilation = many(1, 4), many(1, 5), many(0, 3), many(1, 3)
    sizes = (
        max(1, d * (k - 1) + 1 - 2 * p + spare)
        for d, k, p, spare in zip(dilation, kernel, padding, many(0, 6), strict=True)
    )
    images = (draw(st.integers(0, 3)), *sizes, group_channels * groups)
    weight = (*kernel, group_channels, groups * draw(st.integers(1, 3)))
    names = ("stride", "padding", "dilation", "groups")
    return (
        images,
        weight,
        dict(zip(names, (stride, padding, dilation, groups), strict=True)),
    )


@given(problems(axes=2))
def test_images_equal_torch(problem):
    images, weight, arguments = problem
    assert_like_torch(images, weight, **arguments)


@given(problems(axes=1))
def test_sequences_equal_torch(problem):
    images, weight, arguments = problem
    assert_like_torch(images, weight, **arguments)


@given(problems(axes=3))
def test_volumes_equal_torch(problem):
    images, weight, arguments = problem
    assert_like_torch(images, weight, **arguments)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("path", PATHS)
def test_every_path_equals_torch(monkeypatch, backend, path):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    images, weight, arguments = PATHS[path]
    assert_like_torch(images, weight, **arguments)


@pytest.mark.parametrize(
    ("groups", "group_channels"), [(2, GROUP_CHANNELS), (6, 10), (5, 7), (34, 1)]
)
def test_groups_of_any_width_equal_torch(groups, group_channels):
    images, weight = (2, 5, 4, groups * group_channels), (2, 2, group_channels, groups)
    assert_like_torch(images, weight, groups=groups)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (5, 2)])
@pytest.mark.parametrize("dilation", [1, (3, 2)])
def test_named_padding_equals_torch(padding, kernel, dilation):
    assert_like_torch(
        (2, 14, 11, 3), (*kernel, 3, 2), padding=padding, dilation=dilation
    )


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [(2, 3), 1, "same"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_padding_modes_equal_torchs_layers(mode, padding, axes):
    """Only PyTorch's layers know them. Sizes and kernels differ along each axis."""
    sizes, kernel = (6, 5, 4)[-axes:], (2, 3, 4)[:axes]
    if isinstance(padding, tuple):
        padding = (2, 3, 1)[:axes]
    torch_layer = getattr(torch.nn, f"Conv{axes}d")(
        2, 3, kernel, padding=padding, padding_mode=mode
    ).double()
    images = torch.tensor(random((2, *sizes, 2), 0))
    expected = torch_layer(images.movedim(-1, 1)).movedim(1, -1)
    weight = torch_layer.weight.detach().movedim((0, 1), (-1, -2))
    operands = [jnp.asarray(a.numpy()) for a in (images, weight)]
    bias = jnp.asarray(torch_layer.bias.detach().numpy())
    ours = partial(OURS[axes], padding=padding, padding_mode=mode)
    actual = jax.jit(ours)(*operands, bias)
    assert_close(actual, expected.detach())


@pytest.mark.parametrize("channels", [1, 3, MANY_CHANNELS])
def test_one_image_without_batch_axis_equals_torch(channels):
    assert_like_torch((7, 6, channels), (3, 3, channels, 2), padding=1)


def test_corr2d_is_of_two_axes(unchecked):
    with pytest.raises(ValueError, match=r"\(1, 3, 3\) and \(2, 2\), not two axes"):
        corr2d(jnp.ones((1, 3, 3)), jnp.ones((2, 2)))


def test_corr2d_is_one_channel_of_conv2d():
    X, K = jnp.asarray(random((6, 5), 0)), jnp.asarray(random((2, 3), 1))
    Y = jax.jit(corr2d)(X, K)
    assert_close(Y, conv2d(X[..., None], K[..., None, None])[..., 0])
    assert_close(Y[2, 1], jnp.sum(X[2:4, 1:4] * K))


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (0, 2)])
def test_corr2d_refuses_kernels_that_do_not_fit(shape):
    with pytest.raises(ValueError, match="does not fit into X of shape"):
        corr2d(jnp.zeros((3, 3)), jnp.zeros(shape))


def operands(path, leading=()):
    shapes = PATHS[path][:2]
    return tuple(
        jnp.asarray(random((*leading, *shape), seed))
        for seed, shape in enumerate(shapes)
    )


def loss(path, images, weight, conv2d=conv2d):
    return (conv2d(images, weight, **PATHS[path][2]) ** 2).sum() / 2


@pytest.mark.parametrize("path", PATHS)
def test_vmap_over_images_and_weights_equals_a_loop(path):
    images, weight = operands(path, leading=(3,))
    gradient = jax.grad(partial(loss, path), (0, 1))
    batched = jax.jit(jax.vmap(gradient))(images, weight)
    one = jax.jit(gradient)
    looped = [one(x, w) for x, w in zip(images, weight, strict=True)]
    for actual, *expected in zip(batched, *looped, strict=True):
        assert_close(actual, jnp.stack(expected))


@pytest.mark.parametrize("path", PATHS)
def test_gradient_in_a_compiled_scan_equals_one_outside(path):
    images, weight = operands(path)
    gradient = jax.grad(partial(loss, path), 1)
    descend = lambda w: w - 0.001 * gradient(images, w)
    scanned, _ = jax.jit(
        lambda w: lax.scan(lambda w, _: (descend(w), None), w, length=3)
    )(weight)
    once = jax.jit(descend)
    assert_close(scanned, once(once(once(weight))))


@pytest.mark.parametrize("path", PATHS)
def test_forward_mode_is_the_transpose_of_reverse_mode(path):
    primals = operands(path)
    convolve = lambda x, w: conv2d(x, w, **PATHS[path][2])
    tangents = tuple(jnp.asarray(random(a.shape, 4)) for a in primals)
    push = jax.jit(lambda primals, tangents: jax.jvp(convolve, primals, tangents))
    pull = jax.jit(lambda primals, g: jax.vjp(convolve, *primals)[1](g))
    output, tangent = push(primals, tangents)
    cotangent = jnp.asarray(random(output.shape, 5))
    gradients = pull(primals, cotangent)
    pairing = sum(jnp.vdot(g, t) for g, t in zip(gradients, tangents, strict=True))
    assert_close(jnp.vdot(cotangent, tangent), pairing)


def forward_over_reverse(gradient, primals, direction):
    return jax.jvp(gradient, primals, direction)[1]


def reverse_over_reverse(gradient, primals, direction):
    along = lambda *primals: sum(map(jnp.vdot, gradient(*primals), direction))
    return jax.grad(along, (0, 1))(*primals)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("second", [forward_over_reverse, reverse_over_reverse])
def test_second_derivatives_equal_torch(second, path):
    """Along one direction: a product with the Hessian."""
    images, weight = operands(path)
    direction = tuple(jnp.asarray(random(a.shape, 2)) for a in (images, weight))
    gradient = jax.grad(partial(loss, path), (0, 1))
    actual = jax.jit(partial(second, gradient))((images, weight), direction)
    tensors, directions = (
        tuple(torch.tensor(np.asarray(a)) for a in arrays)
        for arrays in ((images, weight), direction)
    )
    torch_loss = lambda x, w: loss(path, x, w, torch_conv)
    _, expected = torch.autograd.functional.vhp(torch_loss, tensors, directions)
    for array, reference in zip(actual, expected, strict=True):
        assert_close(array, reference)


def equations(jaxpr):
    """All equations of a jaxpr and of the jaxprs inside it."""
    is_jaxpr = lambda value: isinstance(value, Jaxpr | ClosedJaxpr)
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(value):
                yield from equations(getattr(value, "jaxpr", value))


@pytest.mark.parametrize("path", PATHS)
def test_gradient_on_cpu_holds_only_plain_convolutions(monkeypatch, path):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    gradient = jax.grad(lambda x, w: loss(path, jnp.sin(x), w), (0, 1))
    step = lambda x, w: lax.scan(lambda w, _: (gradient(x, w)[1], None), w, length=2)
    for function in (gradient, step):
        layouts = {
            equation.params["dimension_numbers"]
            for equation in equations(jax.make_jaxpr(function)(*operands(path)).jaxpr)
            if equation.primitive is lax.conv_general_dilated_p
        }
        plain = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
        assert layouts <= {plain}


@pytest.mark.parametrize(
    "dtype",  # float16 takes the ways of bfloat16
    [slow(jnp.float16), jnp.bfloat16, jnp.float32],
)
@pytest.mark.parametrize("path", PATHS)
def test_keeps_the_dtype_to_its_precision(dtype, path):
    rounded = [a.astype(dtype) for a in operands(path)]
    convolve = lambda x, w: conv2d(x, w, **PATHS[path][2])
    cotangent = jnp.ones_like(convolve(*rounded))

    @jax.jit
    def output_and_gradients(operands, cotangent):
        output, pullback = jax.vjp(convolve, *operands)
        return output, *pullback(cotangent)

    actual = output_and_gradients(rounded, cotangent)
    as_double = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float64), tree)
    expected = output_and_gradients(as_double(rounded), as_double(cotangent))
    for array, reference in zip(actual, expected, strict=True):
        assert array.dtype == dtype
        # One rounding at the end; float32 sums of up to 378 products round in between.
        roundings = 8 if dtype == jnp.float32 else 1
        limit = roundings * jnp.finfo(dtype).eps * jnp.max(jnp.abs(reference))
        np.testing.assert_allclose(array.astype(jnp.float64), reference, atol=limit)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("channels", [1, 4])
def test_large_kernels_round_the_gradient_for_the_images_once(dtype, channels):
    """Added up in half precision, what 25 positions give would round 24 times."""
    shapes = (2, 12, 12, channels), (5, 5, channels, 16), (2, 8, 8, 16)
    *primals, cotangent = (
        jnp.asarray(random(shape, seed)).astype(dtype)
        for seed, shape in enumerate(shapes)
    )
    gradient = jax.jit(lambda x, w, g: jax.vjp(conv2d, x, w)[1](g)[0])
    actual = gradient(*primals, cotangent)
    exact = gradient(*(a.astype(jnp.float64) for a in (*primals, cotangent)))
    # One rounding is half of eps; float32 sums in between add next to nothing.
    limit = 0.51 * jnp.finfo(dtype).eps * jnp.max(jnp.abs(exact))
    np.testing.assert_allclose(actual.astype(jnp.float64), exact, atol=limit, rtol=0)


def zeros(*shape, dtype=jnp.float32):
    return jnp.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": zeros(5, 4)}, r"input has shape \(5, 4\)"),
        ({"input": zeros(1, 1, 5, 5, 4)}, "input has shape"),
        ({"weight": zeros(3, 4, 2)}, r"weight has shape \(3, 4, 2\)"),
        ({"input": zeros(2, 5, 5, 4, dtype=jnp.int32)}, "input has dtype int32"),
        ({"input": zeros(2, 5, 5, 4, dtype=jnp.float16)}, "weight has dtype float32"),
        ({"bias": zeros(6, dtype=jnp.float16)}, "bias has dtype float16"),
        ({"bias": zeros(4)}, r"bias has shape \(4,\)"),
        ({"input": zeros(2, 5, 5, 3)}, "input has 3 channels.*needs 4"),
        ({"groups": 2}, "input has 4 channels.*needs 8"),
        ({"groups": 4}, "groups=4 must be positive and divide the 6 output"),
        ({"groups": 0}, "groups=0"),
        ({"stride": 0}, "stride=0 must be an integer of at least 1"),
        ({"stride": (1, 2, 3)}, r"stride=\(1, 2, 3\)"),
        ({"stride": 1.5}, "stride=1.5"),
        ({"dilation": (1, -1)}, r"dilation=\(1, -1\)"),
        ({"padding": -1}, "padding=-1 must be an integer of at least 0"),
        ({"padding": "full"}, "padding='full'"),
        ({"padding_mode": "mirror"}, "padding_mode='mirror' is not one of 'zeros'"),
        (
            {"padding": (1, 5), "padding_mode": "reflect"},
            "padding=5 exceeds 4, .* padding_mode='reflect' .* width 5",
        ),
        (
            {"padding": (6, 1), "padding_mode": "circular"},
            "padding=6 exceeds 5, .* padding_mode='circular' .* height 5",
        ),
        ({"weight": zeros(3, 0, 4, 6)}, "weight's width is 0"),
        ({"padding": "same", "stride": (1, 2)}, 'padding="same" needs stride=1'),
        ({"input": zeros(2, 5, 2, 4)}, "width 3.*exceeds input's padded width 2"),
        ({"dilation": (3, 1)}, "height 3.*7.*exceeds input's padded height 5"),
    ],
)
def test_invalid_arguments_raise(changes, message):
    arguments = {"input": zeros(2, 5, 5, 4), "weight": zeros(3, 3, 4, 6)} | changes
    # Unwrapped: the annotations, checked here only, would otherwise speak first.
    checked = inspect.unwrap(conv2d)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: checked(**arguments))


@pytest.mark.parametrize("groups", [1.0, True])
def test_groups_are_counted(groups, unchecked):
    with pytest.raises(ValueError, match=f"groups={groups} is no whole number"):
        conv2d(zeros(2, 5, 5, 4), zeros(3, 3, 4, 6), groups=groups)
