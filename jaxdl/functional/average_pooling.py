"""Averages of windows with PyTorch's semantics, channels last."""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxdl.functional.checks import at_least_float32
from jaxdl.functional.windows import (
    AXES,
    Pooling,
    Sizes,
    adaptive_windows,
    as_batch,
    pooling,
)


def avg_pool1d(
    input: Float[Array, "*batch length channels"],
    kernel_size: int | Sizes,
    stride: int | Sizes | None = None,
    padding: int | Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Float[Array, "*batch out_length channels"]:
    """Computes averages along one axis, as `avg_pool2d` does along two.

    >>> avg_pool1d(jnp.array([[1.0], [3.0], [2.0]]), 2, stride=1)[:, 0]
    Array([2. , 2.5], dtype=float32)
    """
    settings = kernel_size, stride, padding, ceil_mode, count_include_pad
    return _avg_pool(1, input, *settings)


def avg_pool2d(
    input: Float[Array, "*batch height width channels"],
    kernel_size: int | Sizes,
    stride: int | Sizes | None = None,
    padding: int | Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Float[Array, "*batch out_height out_width channels"]:
    """Computes each window's average: `torch.nn.functional.avg_pool2d`.

    `input` is one image or a batch of them. `stride` defaults to `kernel_size`;
    `padding`, at most half the kernel, adds zeros on both sides of each axis, which
    count in the average unless `count_include_pad` is False. `ceil_mode` keeps windows
    that end beyond the padding; what lies there never counts. `divisor_override`
    divides every sum by the same number instead.

    Raises ValueError where shapes or settings do not fit together.

    >>> image = jnp.array([[1.0, 2.0, 9.0], [4.0, 3.0, 9.0]])[..., None]
    >>> avg_pool2d(image, 2)[..., 0]
    Array([[2.5]], dtype=float32)
    >>> avg_pool2d(image, 2, ceil_mode=True)[..., 0]
    Array([[2.5, 9. ]], dtype=float32)
    """
    settings = kernel_size, stride, padding, ceil_mode, count_include_pad
    return _avg_pool(2, input, *settings, divisor_override)


def avg_pool3d(
    input: Float[Array, "*batch depth height width channels"],
    kernel_size: int | Sizes,
    stride: int | Sizes | None = None,
    padding: int | Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Float[Array, "*batch out_depth out_height out_width channels"]:
    """Computes averages along three axes, as `avg_pool2d` does along two.

    Raises ValueError likewise, and as PyTorch for a volume smaller than the kernel,
    whatever its padding.

    >>> avg_pool3d(jnp.arange(8.0).reshape(2, 2, 2, 1), 2)
    Array([[[[3.5]]]], dtype=float32)
    """
    settings = kernel_size, stride, padding, ceil_mode, count_include_pad
    return _avg_pool(3, input, *settings, divisor_override)


def adaptive_avg_pool2d(
    input: Float[Array, "*batch height width channels"],
    output_size: int | tuple[int | None, int | None],
) -> Float[Array, "*batch out_height out_width channels"]:
    """Computes averages of the windows that part an image into rows and columns.

    There are `output_size` of them along height and width; None keeps an axis. Window i
    of n goes from ⌊i size / n⌋ to ⌈(i + 1) size / n⌉, so windows may share a line.

    Raises ValueError for a shape that is no image's, an empty image, and no window.

    >>> adaptive_avg_pool2d(jnp.arange(12.0).reshape(3, 4, 1), (2, 1))[..., 0]
    Array([[3.5],
           [7.5]], dtype=float32)
    """
    images, single = as_batch(input, 2)
    windows = adaptive_windows(images.shape[1:-1], output_size)
    for axis, parts in enumerate(windows, 1):
        cut = partial(lax.slice_in_dim, images, axis=axis)
        means = [cut(w.start, w.stop).mean(axis, keepdims=True) for w in parts]
        images = jnp.concatenate(means, axis)
    return images[0] if single else images


def _avg_pool(
    axes: int, input, kernel_size, stride, padding, ceil_mode, count_pad, divisor=None
):
    if divisor == 0:
        raise ValueError("divisor_override=0 divides by zero")
    images, single = as_batch(input, axes)
    sizes = images.shape[1:-1]
    window = pooling(sizes, kernel_size, stride, padding, ceil_mode=ceil_mode)
    if axes == 3:
        for axis, k, n in zip(AXES[axes], window.kernel, sizes, strict=True):
            if k > n:
                raise ValueError(f"kernel_size={k} exceeds input's {axis} {n}")
    sums = lax.reduce_window(
        at_least_float32(images),
        0.0,
        lax.add,
        window_dimensions=(1, *window.kernel, 1),
        window_strides=(1, *window.stride, 1),
        padding=((0, 0), *window.pads(sizes), (0, 0)),
    )
    counts = _counts(window, sizes, count_pad) if divisor is None else divisor
    averages = (sums / counts).astype(images.dtype)
    return averages[0] if single else averages


def _counts(window: Pooling, sizes: Sizes, count_pad: bool):
    """Returns how many values each window averages, with an axis for channels."""
    counts = np.ones(())
    for k, s, p, _, size, n in zip(*window, sizes, strict=True):
        start = s * np.arange(size) - p
        stop = np.minimum(start + k, n + p)
        inside = np.minimum(stop, n) - np.maximum(start, 0)
        counts = counts[..., None] * (stop - start if count_pad else inside)
    return counts[..., None]
