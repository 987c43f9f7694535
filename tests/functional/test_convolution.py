"""conv2d against PyTorch in float64: values, gradients, transformations, errors."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr

from jaxdl.functional import convolution
from jaxdl.functional.convolution import FEW_CHANNELS, conv2d
from tests.oracle import assert_close, random

MANY_CHANNELS = FEW_CHANNELS + 1
CHANNELS = (1, 3, MANY_CHANNELS)  # one for each way the CPU path goes


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def torch_conv2d(images, weight, bias, **arguments):
    """PyTorch's conv2d for channels-last tensors."""
    # Contiguous: PyTorch's gradient refuses some permuted one-channel weights.
    images, weight = images.movedim(-1, -3), weight.permute(3, 2, 0, 1).contiguous()
    output = torch.nn.functional.conv2d(images, weight, bias, **arguments)
    return output.movedim(-3, -1)


def assert_like_torch(images_shape, weight_shape, **arguments):
    """Compares the output and, for a random cotangent, all three gradients."""
    shapes = (images_shape, weight_shape, weight_shape[-1:])
    operands = [random(shape, seed) for seed, shape in enumerate(shapes)]
    tensors = [torch.tensor(a, requires_grad=True) for a in operands]
    expected = torch_conv2d(*tensors, **arguments)
    cotangent = random(expected.shape, 3)
    expected_gradients = torch.autograd.grad(expected, tensors, torch.tensor(cotangent))

    @jax.jit
    def value_and_gradients(operands, cotangent):
        output, pullback = jax.vjp(lambda *a: conv2d(*a, **arguments), *operands)
        return output, pullback(cotangent)

    output, gradients = value_and_gradients(
        jax.tree.map(jnp.asarray, operands), jnp.asarray(cotangent)
    )
    assert_close(output, expected.detach())
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert_close(gradient, expected_gradient)


pairs = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def problems(draw):
    """Shapes and settings that fit together, often only just."""
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    group_channels = draw(st.sampled_from(CHANNELS)) if groups == 1 else 2
    kernel, stride = draw(pairs(1, 4)), draw(pairs(1, 5))
    padding, dilation = draw(pairs(0, 3)), draw(pairs(1, 3))
    spare = draw(pairs(0, 6))
    sizes = (
        max(1, d * (k - 1) + 1 - 2 * p + more)
        for d, k, p, more in zip(dilation, kernel, padding, spare, strict=True)
    )
    images = (draw(st.integers(1, 3)), *sizes, group_channels * groups)
    weight = (*kernel, group_channels, groups * draw(st.integers(1, 3)))
    return images, weight, stride, padding, dilation, groups


@settings(derandomize=True, max_examples=20, deadline=None)
@given(problems())
def test_equals_torch(problem):
    images, weight, stride, padding, dilation, groups = problem
    assert_like_torch(
        images, weight, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize(("channels", "stride"), [(1, 1), (1, 2), (3, 2), (9, 2)])
def test_every_backends_path_equals_torch(monkeypatch, backend, channels, stride):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    shapes = (2, 9, 8, channels), (3, 2, channels, 4)
    assert_like_torch(*shapes, stride=stride, padding=1)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4), (5, 2)])
@pytest.mark.parametrize("dilation", [1, (3, 2)])
def test_named_padding_equals_torch(padding, kernel, dilation):
    assert_like_torch(
        (2, 14, 11, 3), (*kernel, 3, 2), padding=padding, dilation=dilation
    )


@pytest.mark.parametrize("channels", CHANNELS)
def test_one_image_without_batch_axis_equals_torch(channels):
    assert_like_torch((7, 6, channels), (3, 3, channels, 2), padding=1)


def test_depthwise_equals_torch():
    assert_like_torch((2, 7, 6, 4), (3, 3, 1, 8), padding=1, groups=4)


def operands(channels, leading=()):
    images = jnp.asarray(random((*leading, 2, 9, 8, channels), 0))
    weight = jnp.asarray(random((*leading, 3, 2, channels, 4), 1))
    return images, weight


def convolve(images, weight, conv2d=conv2d):
    # On CPU a single channel takes its own way at stride 1 only.
    stride = 1 if images.shape[-1] == 1 else (2, 1)
    return conv2d(images, weight, stride=stride, padding=1)


def loss(images, weight):
    return jnp.sum(jnp.sin(convolve(images, weight)))


@pytest.mark.parametrize("channels", CHANNELS)
def test_vmap_over_images_and_weights_equals_a_loop(channels):
    images, weight = operands(channels, leading=(3,))
    gradient = jax.grad(loss, (0, 1))
    batched = jax.jit(jax.vmap(gradient))(images, weight)
    looped = [gradient(x, w) for x, w in zip(images, weight, strict=True)]
    for actual, *expected in zip(batched, *looped, strict=True):
        assert_close(actual, jnp.stack(expected))


@pytest.mark.parametrize("channels", CHANNELS)
def test_gradient_in_a_compiled_scan_equals_one_outside(channels):
    images, weight = operands(channels)
    descend = lambda w: w - 0.1 * jax.grad(loss, 1)(images, w)
    scanned, _ = jax.jit(
        lambda w: lax.scan(lambda w, _: (descend(w), None), w, length=3)
    )(weight)
    assert_close(scanned, descend(descend(descend(weight))))


@pytest.mark.parametrize("channels", CHANNELS)
def test_forward_mode_is_the_transpose_of_reverse_mode(channels):
    primals = operands(channels)
    tangents = tuple(jnp.asarray(random(a.shape, 4)) for a in primals)
    output, tangent = jax.jvp(convolve, primals, tangents)
    cotangent = jnp.asarray(random(output.shape, 5))
    gradients = jax.vjp(convolve, *primals)[1](cotangent)
    pairing = sum(jnp.vdot(g, t) for g, t in zip(gradients, tangents, strict=True))
    assert_close(jnp.vdot(cotangent, tangent), pairing)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
def test_second_derivatives_equal_torch(outer, channels):
    images, weight = operands(channels)
    images, weight = images[:1, :3, :2], weight[:2, ..., :1]
    torch_convolve = lambda x, w, **arguments: torch_conv2d(x, w, None, **arguments)
    torch_loss = lambda x, w: convolve(x, w, torch_convolve).sin().sum()
    tensors = tuple(torch.tensor(np.asarray(a)) for a in (images, weight))
    expected = torch.autograd.functional.hessian(torch_loss, tensors)
    actual = jax.jit(outer(jax.grad(loss, (0, 1)), (0, 1)))(images, weight)
    for actual_row, expected_row in zip(actual, expected, strict=True):
        for actual_block, expected_block in zip(actual_row, expected_row, strict=True):
            assert_close(actual_block, expected_block)


def equations(jaxpr):
    """All equations of a jaxpr and of the jaxprs inside it."""
    is_jaxpr = lambda value: isinstance(value, Jaxpr | ClosedJaxpr)
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=is_jaxpr):
            if is_jaxpr(value):
                yield from equations(getattr(value, "jaxpr", value))


@pytest.mark.parametrize("channels", CHANNELS)
def test_gradient_on_cpu_holds_only_plain_convolutions(monkeypatch, channels):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    step = lambda x, w: lax.scan(
        lambda w, _: (jax.grad(loss, 1)(x, w), None), w, length=2
    )
    gradient = jax.grad(
        lambda x, w: loss(jnp.sin(convolve(x, w)), w[..., :4, :]), (0, 1)
    )
    square = jnp.asarray(random((3, 2, 4, 4), 1))
    deep = jax.make_jaxpr(gradient)(operands(4)[0], square)
    jaxprs = [jax.make_jaxpr(step)(*operands(channels)), deep]
    jaxprs.append(jax.make_jaxpr(jax.grad(jax.jit(loss), (0, 1)))(*operands(channels)))

    for jaxpr in jaxprs:
        layouts = {
            equation.params["dimension_numbers"]
            for equation in equations(jaxpr.jaxpr)
            if equation.primitive is lax.conv_general_dilated_p
        }
        plain = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
        assert layouts == {plain}


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("channels", CHANNELS)
def test_keeps_the_dtype_to_its_precision(dtype, channels):
    shapes = (2, 9, 8, channels), (7, 6, channels, 4)
    rounded = [jnp.asarray(random(shape, 0), dtype) for shape in shapes]
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
        ({"padding": "same", "stride": 2}, 'padding="same" needs stride=1'),
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


def test_a_pair_is_returned_as_it_is():
    assert convolution.as_pair("stride", (2, 3)) == (2, 3)
