"""Two-dimensional convolution with PyTorch's semantics, channels last."""

import operator
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
Padding = int | Pair | Literal["valid", "same"]

# Which axis of each array is which: lax's name for "images NHWC, kernels HWIO".
PLAIN = ("NHWC", "HWIO", "NHWC")

# Up to here, on CPU, a matrix product and shifts beat XLA's gradient for the input.
FEW_CHANNELS = 8


def conv2d(
    input: Float[Array, "*batch height width in_channels"],
    weight: Float[Array, "kernel_height kernel_width group_channels out_channels"],
    bias: Float[Array, " out_channels"] | None = None,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Float[Array, "*batch out_height out_width out_channels"]:
    """Cross-correlates images with a kernel: `torch.nn.functional.conv2d`.

    `input` is one image or a batch of them; `weight` has in_channels / groups input
    channels. `padding` puts that many zeros on both sides of each axis; "valid" is 0,
    and "same" (stride 1 only) keeps the size, an odd zero going to the bottom or right.
    XLA's "SAME" allows strides, and then pads differently from any `padding=`.

    On CPU the reverse-mode gradient of an ungrouped convolution consists of plain
    NHWC-HWIO convolutions and matrix products, which stay fast inside `lax.scan`.
    Elsewhere, and with groups, it is XLA's own. The backend is `jax.default_backend()`
    when traced. Forward mode, `vmap` and higher derivatives work everywhere.

    Raises ValueError where shapes, dtypes or settings do not fit together.

    >>> image, kernel = jnp.arange(9.0).reshape(3, 3, 1), jnp.ones((2, 2, 1, 1))
    >>> conv2d(image, kernel, stride=2, padding=1)[..., 0]
    Array([[ 0.,  3.],
           [ 9., 24.]], dtype=float32)
    """
    stride, dilation = as_pair("stride", stride), as_pair("dilation", dilation)
    _check_arrays(input, weight, bias)
    _check_channels(input, weight, groups)
    pads = _pads(padding, weight, stride, dilation)
    _check_sizes(input, weight, pads, dilation)

    images = input if input.ndim == 4 else input[None]
    if groups == 1 and jax.default_backend() == "cpu":
        output = _convolve_cpu(images, weight, stride, pads, dilation)
    else:
        output = _convolve(images, weight, stride, pads, dilation, groups)
    output = output if input.ndim == 4 else output[0]
    return output if bias is None else output + bias


def as_pair(name: str, value: Any, minimum: int = 1) -> Pair:
    """Returns an int twice and a pair as it is, checked against `minimum`.

    Raises ValueError, under the argument's `name`, for anything else.
    """
    rule = (
        f"{name}={value!r} must be an integer of at least {minimum}, or a pair of them"
    )
    values = value if isinstance(value, tuple | list) else (value, value)
    try:
        first, second = map(operator.index, values)
    except (TypeError, ValueError):
        raise ValueError(rule) from None
    if min(first, second) < minimum:
        raise ValueError(rule)
    return first, second


def _convolve(images, weight, stride, pads, dilation, groups=1, layout=PLAIN):
    return lax.conv_general_dilated(
        images,
        weight,
        window_strides=stride,
        padding=pads,
        rhs_dilation=dilation,
        dimension_numbers=layout,
        feature_group_count=groups,
    )


# A custom JVP, not a custom VJP: reverse mode transposes it, and forward mode remains.
@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _convolve_cpu(images, weight, stride, pads, dilation):
    if not _few_channels(weight, limit=1) or stride != (1, 1):
        return _convolve(images, weight, stride, pads, dilation)
    shifts = _shifts(images, weight.shape[:2], stride, pads, dilation)
    scalars = weight.reshape(len(shifts), -1)
    output = sum(s * k for s, k in zip(shifts, scalars, strict=True))
    # Without the barrier XLA repeats the whole sum in every operation that reads it.
    return lax.optimization_barrier(output)


@partial(_convolve_cpu.defjvp, symbolic_zeros=True)
def _convolve_cpu_jvp(stride, pads, dilation, primals, tangents):
    """Computes conv(x, dw) + conv(dx, w), in layouts whose transposes are plain.

    XLA's CPU backend hands NHWC-HWIO-NHWC convolutions to its fast library. It rewrites
    others into that form, but not inside loops. JAX transposes a convolution by
    exchanging the roles of its axes; so each tangent below is written with the roles
    exchanged already, on operands permuted to match: its transpose comes out plain.
    """
    x, w = primals
    dx, dw = tangents
    convolve = partial(_convolve, stride=stride, pads=pads, dilation=dilation)
    output = _convolve_cpu(x, w, stride, pads, dilation)

    tangent = jnp.zeros_like(output)
    if not isinstance(dx, SymbolicZero):
        if _few_channels(w, limit=FEW_CHANNELS):
            # Transposed: one matrix product, then a sum of shifts.
            shifts = _shifts(dx, w.shape[:2], stride, pads, dilation)
            tangent += jnp.concatenate(shifts, axis=-1) @ w.reshape(-1, w.shape[3])
        else:
            swapped = w.transpose(0, 1, 3, 2)
            tangent += convolve(dx, swapped, layout=("NHWC", "HWOI", "NHWC"))
    if not isinstance(dw, SymbolicZero):
        x, dw = x.transpose(3, 1, 2, 0), dw.transpose(2, 0, 1, 3)
        by_row = convolve(x, dw, layout=("CHWN", "IHWO", "HWNC"))
        tangent += by_row.transpose(2, 0, 1, 3)
    return output, tangent


def _few_channels(weight, limit: int) -> bool:
    """Whether sums of shifts serve; half precision would round every addition."""
    return weight.shape[2] <= limit and weight.dtype.itemsize >= 4


def _shifts(images, kernel, stride, pads, dilation):
    """Returns what each kernel position sees, row by row, as images of output size."""
    padded = jnp.pad(images, ((0, 0), *pads, (0, 0)))
    batch, *sizes, channels = padded.shape
    spans = [n - d * (k - 1) for n, k, d in zip(sizes, kernel, dilation, strict=True)]
    return [
        lax.slice(
            padded,
            (0, top, left, 0),
            (batch, top + spans[0], left + spans[1], channels),
            (1, *stride, 1),
        )
        for top in range(0, dilation[0] * kernel[0], dilation[0])
        for left in range(0, dilation[1] * kernel[1], dilation[1])
    ]


def _check_arrays(input, weight, bias) -> None:
    if input.ndim not in (3, 4):
        raise ValueError(
            f"input has shape {input.shape}; expected (height, width, channels) "
            "or (batch, height, width, channels)"
        )
    if weight.ndim != 4:
        raise ValueError(
            f"weight has shape {weight.shape}; expected "
            "(kernel height, kernel width, in_channels / groups, out_channels)"
        )
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise ValueError(f"input has dtype {input.dtype}; expected a floating one")
    for name, array in {"weight": weight, "bias": bias}.items():
        if array is not None and array.dtype != input.dtype:
            raise ValueError(
                f"{name} has dtype {array.dtype}, but input has {input.dtype}"
            )
    if bias is not None and bias.shape != weight.shape[3:]:
        raise ValueError(
            f"bias has shape {bias.shape}; weight's {weight.shape[3]} output channels "
            f"need {weight.shape[3:]}"
        )


def _check_channels(input, weight, groups: int) -> None:
    group_channels, out_channels = weight.shape[2:]
    if groups < 1 or out_channels % groups:
        raise ValueError(
            f"groups={groups} must be positive and divide the {out_channels} output "
            "channels of weight"
        )
    if input.shape[-1] != group_channels * groups:
        raise ValueError(
            f"input has {input.shape[-1]} channels; weight of shape {weight.shape} "
            f"with groups={groups} needs {group_channels * groups}"
        )


def _pads(padding: Any, weight, stride: Pair, dilation: Pair) -> Pads:
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f'padding="same" needs stride=1, got stride={stride}')
        rows, columns = (dilation[axis] * (weight.shape[axis] - 1) for axis in (0, 1))
        return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)
    if isinstance(padding, str):
        raise ValueError(
            f'padding={padding!r} must be "valid", "same", an integer or a pair'
        )
    rows, columns = as_pair("padding", padding, minimum=0)
    return (rows, rows), (columns, columns)


def _check_sizes(input, weight, pads: Pads, dilation: Pair) -> None:
    for axis, name in enumerate(("height", "width")):
        size = input.shape[axis - 3]
        padded = size + sum(pads[axis])
        extent = dilation[axis] * (weight.shape[axis] - 1) + 1
        if not weight.shape[axis]:
            raise ValueError(f"weight's {name} is 0, expected 1 or more")
        if extent > padded:
            raise ValueError(
                f"weight's {name} {weight.shape[axis]} (with dilation="
                f"{dilation[axis]}: {extent}) exceeds input's padded {name} {padded}"
            )
