"""Cross-correlation with PyTorch's semantics, channels last."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdl.backend import on_cpu
from jaxdl.functional.convolution_cpu import convolve_cpu
from jaxdl.functional.convolution_xla import Sliding, convolve
from jaxdl.functional.products import spread
from jaxdl.functional.windows import (
    AXES,
    Pads,
    Sizes,
    as_batch,
    as_pads,
    as_sizes,
    shifts,
)

Padding = int | Sizes | Literal["valid", "same"]
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]

PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def conv1d(
    input: Float[Array, "*batch length in_channels"],
    weight: Float[Array, "kernel_length group_channels out_channels"],
    bias: Float[Array, " out_channels"] | None = None,
    stride: int | Sizes = 1,
    padding: Padding = 0,
    dilation: int | Sizes = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
) -> Float[Array, "*batch out_length out_channels"]:
    """Cross-correlates sequences with a kernel, as `conv2d` does images.

    >>> conv1d(jnp.arange(4.0)[:, None], jnp.array([[[-1.0]], [[1.0]]]))[:, 0]
    Array([1., 1., 1.], dtype=float32)
    """
    settings = stride, padding, dilation, groups, padding_mode
    return _conv(1, input, weight, bias, *settings)


def conv2d(
    input: Float[Array, "*batch height width in_channels"],
    weight: Float[Array, "kernel_height kernel_width group_channels out_channels"],
    bias: Float[Array, " out_channels"] | None = None,
    stride: int | Sizes = 1,
    padding: Padding = 0,
    dilation: int | Sizes = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
) -> Float[Array, "*batch out_height out_width out_channels"]:
    """Cross-correlates images with a kernel: `torch.nn.functional.conv2d`.

    `input` is one image or a batch of them; `weight` has in_channels / groups input
    channels. `padding` adds as many values on both sides of each axis; "valid" adds
    none, and "same" (stride 1 only) keeps the size, an odd one going to the bottom or
    right. XLA's "SAME" allows strides, and then pads differently from any `padding=`.
    `padding_mode` says what is added, as in `torch.nn.Conv2d`: zeros, the image
    mirrored at its border without repeating it ("reflect"), the border ("replicate"),
    or the opposite side ("circular").

    On CPU the reverse-mode gradient of all convolutions consists of plain ones, matrix
    products and sums, which stay fast inside `lax.scan`. Elsewhere it is XLA's own. The
    backend is `jax.default_backend()` when traced. Forward mode, `vmap` and higher
    derivatives work everywhere. Some of these products hold zeros between groups or
    places, and 0 · inf is NaN: on CPU a number that is not finite can reach outputs and
    gradients of the same image that do not see it.

    Raises ValueError where shapes, dtypes or settings do not fit together.

    >>> image, kernel = jnp.arange(9.0).reshape(3, 3, 1), jnp.ones((2, 2, 1, 1))
    >>> conv2d(image, kernel, stride=2, padding=1)[..., 0]
    Array([[ 0.,  3.],
           [ 9., 24.]], dtype=float32)
    """
    settings = stride, padding, dilation, groups, padding_mode
    return _conv(2, input, weight, bias, *settings)


def conv3d(
    input: Float[Array, "*batch depth height width in_channels"],
    weight: Float[Array, "*kernel group_channels out_channels"],
    bias: Float[Array, " out_channels"] | None = None,
    stride: int | Sizes = 1,
    padding: Padding = 0,
    dilation: int | Sizes = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
) -> Float[Array, "*batch out_depth out_height out_width out_channels"]:
    """Cross-correlates volumes with a kernel, as `conv2d` does images.

    >>> conv3d(jnp.ones((2, 2, 2, 3)), jnp.ones((2, 2, 2, 3, 1)))
    Array([[[[24.]]]], dtype=float32)
    """
    settings = stride, padding, dilation, groups, padding_mode
    return _conv(3, input, weight, bias, *settings)


def corr2d(
    X: Float[Array, "height width"], K: Float[Array, "kernel_height kernel_width"]
) -> Float[Array, "out_height out_width"]:
    """Cross-correlates one array with another, written as its definition says.

    Y[i, j] = Σ K[a, b] X[i + a, j + b]: each entry of the kernel times what it sees.
    This is what courses call convolution; a mathematician's flips the kernel first.

    Raises ValueError where one has not two axes, or the kernel is the larger.

    >>> corr2d(jnp.arange(9.0).reshape(3, 3), jnp.arange(4.0).reshape(2, 2))
    Array([[19., 25.],
           [37., 43.]], dtype=float32)
    """
    if X.ndim != 2 or K.ndim != 2:
        raise ValueError(f"X and K have shapes {X.shape} and {K.shape}, not two axes")
    sizes = tuple(n - k + 1 for n, k in zip(X.shape, K.shape, strict=True))
    if min(sizes) < 1 or 0 in K.shape:
        raise ValueError(f"K of shape {K.shape} does not fit into X of shape {X.shape}")
    seen = shifts(X[None, ..., None], K.shape, (1, 1), (1, 1), sizes)
    return sum(k * x[0, ..., 0] for k, x in zip(K.ravel(), seen, strict=True))


def _conv(axes, input, weight, bias, stride, padding, dilation, groups, padding_mode):
    images, single = as_batch(input, axes)
    stride = as_sizes("stride", stride, axes)
    dilation = as_sizes("dilation", dilation, axes)
    _check_arrays(axes, images, weight, bias)
    _check_channels(images, weight, groups)
    pads = as_pads(padding, weight.shape[:-2], stride, dilation)
    _check_sizes(images, weight, pads, dilation)
    if padding_mode != "zeros":
        images = _pad(images, pads, padding_mode)
        pads = ((0, 0),) * axes

    sliding = Sliding(stride, pads, dilation, groups)
    output = (convolve_cpu if on_cpu() else convolve)(images, weight, sliding)
    output = output[0] if single else output
    return output if bias is None else output + spread(bias, output.shape)


def _pad(images, pads: Pads, mode: str):
    if mode not in PAD_MODES:
        names = ", ".join(map(repr, ("zeros", *PAD_MODES)))
        raise ValueError(f"padding_mode={mode!r} is not one of {names}")
    sizes = images.shape[1:-1]
    for axis, size, pad in zip(AXES[len(sizes)], sizes, pads, strict=True):
        limit = {"reflect": size - 1, "circular": size}.get(mode, max(pad))
        if max(pad) > limit:
            raise ValueError(
                f"padding={max(pad)} exceeds {limit}, the most that "
                f"padding_mode={mode!r} can take from {axis} {size}"
            )
    return jnp.pad(images, ((0, 0), *pads, (0, 0)), mode=PAD_MODES[mode])


def _check_arrays(axes: int, images, weight, bias) -> None:
    if weight.ndim != axes + 2:
        kernel = ", ".join(f"kernel {axis}" for axis in AXES[axes])
        raise ValueError(
            f"weight has shape {weight.shape}; expected "
            f"({kernel}, in_channels / groups, out_channels)"
        )
    for name, array in {"weight": weight, "bias": bias}.items():
        if array is not None and array.dtype != images.dtype:
            raise ValueError(
                f"{name} has dtype {array.dtype}, but input has {images.dtype}"
            )
    if bias is not None and bias.shape != weight.shape[-1:]:
        raise ValueError(
            f"bias has shape {bias.shape}; weight's {weight.shape[-1]} output channels "
            f"need {weight.shape[-1:]}"
        )


def _check_channels(images, weight, groups: int) -> None:
    group_channels, out_channels = weight.shape[-2:]
    if not isinstance(groups, int | np.integer) or isinstance(groups, bool):
        raise ValueError(f"groups={groups!r} is no whole number")
    if groups < 1 or out_channels % groups:
        raise ValueError(
            f"groups={groups} must be positive and divide the {out_channels} output "
            "channels of weight"
        )
    if images.shape[-1] != group_channels * groups:
        raise ValueError(
            f"input has {images.shape[-1]} channels; weight of shape {weight.shape} "
            f"with groups={groups} needs {group_channels * groups}"
        )


def _check_sizes(images, weight, pads: Pads, dilation: Sizes) -> None:
    settings = zip(
        AXES[len(pads)], images.shape[1:-1], weight.shape, pads, dilation, strict=False
    )
    for axis, size, kernel, pad, d in settings:
        if not kernel:
            raise ValueError(f"weight's {axis} is 0, expected 1 or more")
        padded, extent = size + sum(pad), d * (kernel - 1) + 1
        if extent > padded:
            raise ValueError(
                f"weight's {axis} {kernel} (with dilation={d}: {extent}) exceeds "
                f"input's padded {axis} {padded}"
            )
