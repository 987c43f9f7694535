"""Maxima of windows with PyTorch's semantics, channels last.

A window's maximum is its first in row-major order, or its last NaN, and the gradient
goes there alone, through elementwise operations: XLA's own scatter is slow on CPU.
"""

import math
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Integer

from jaxdl.functional.checks import check_indices, widened
from jaxdl.functional.windows import (
    Pooling,
    Sizes,
    adaptive_windows,
    along,
    as_batch,
    as_sizes,
    pooling,
    shifts,
)

# A larger window is reduced one axis after the other, to compile in reasonable time.
# Along an axis that is itself larger, and tiles, one reduction finds the winner.
LARGE_WINDOW = 32


def max_pool1d(
    input: Float[Array, "*batch length channels"],
    kernel_size: int | Sizes,
    stride: int | Sizes | None = None,
    padding: int | Sizes = 0,
    dilation: int | Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Computes maxima along one axis, as `max_pool2d` does along two.

    >>> max_pool1d(jnp.array([[1.0], [3.0], [2.0]]), 2, stride=1)[:, 0]
    Array([3., 3.], dtype=float32)
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode
    return _max_pool(1, input, *settings, return_indices=return_indices)


def max_pool2d(
    input: Float[Array, "*batch height width channels"],
    kernel_size: int | Sizes,
    stride: int | Sizes | None = None,
    padding: int | Sizes = 0,
    dilation: int | Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Computes each window's maximum: `torch.nn.functional.max_pool2d`.

    `input` is one image or a batch of them. `stride` defaults to `kernel_size` (Flax's
    to 1); `padding`, at most half the kernel, adds -inf on both sides of each axis.
    Windows that would reach beyond that are dropped; `ceil_mode` keeps them, unless
    they start beyond the image and its left padding. A window with a NaN gives NaN.

    Returns the maxima, (*batch, out_height, out_width, channels), and with
    `return_indices` a pair of them and of the place of each in its image, int32, that
    is row · width + column.

    Raises ValueError where shapes or settings do not fit together.

    >>> image = jnp.array([[1.0, 2.0, 9.0], [4.0, 3.0, 9.0]])[..., None]
    >>> max_pool2d(image, 2)[..., 0]
    Array([[4.]], dtype=float32)
    >>> max_pool2d(image, 2, ceil_mode=True, return_indices=True)[1][..., 0]
    Array([[3, 2]], dtype=int32)
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode
    return _max_pool(2, input, *settings, return_indices=return_indices)


def max_pool3d(
    input: Float[Array, "*batch depth height width channels"],
    kernel_size: int | Sizes,
    stride: int | Sizes | None = None,
    padding: int | Sizes = 0,
    dilation: int | Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Computes maxima along three axes, as `max_pool2d` does along two.

    >>> max_pool3d(jnp.arange(8.0).reshape(2, 2, 2, 1), 2)
    Array([[[[7.]]]], dtype=float32)
    """
    settings = kernel_size, stride, padding, dilation, ceil_mode
    return _max_pool(3, input, *settings, return_indices=return_indices)


def adaptive_max_pool2d(
    input: Float[Array, "*batch height width channels"],
    output_size: int | tuple[int | None, int | None],
    return_indices: bool = False,
) -> Any:
    """Computes maxima of the windows that part an image into rows and columns.

    There are `output_size` of them along height and width; None keeps an axis. Window i
    of n goes from ⌊i size / n⌋ to ⌈(i + 1) size / n⌉, so windows may share a line.
    Returns what `max_pool2d` does, and raises ValueError likewise.

    >>> adaptive_max_pool2d(jnp.arange(12.0).reshape(3, 4, 1), (2, 1))[..., 0]
    Array([[ 7.],
           [11.]], dtype=float32)
    """
    images, single = as_batch(input, 2)
    found = _Maxima(images, _places(images) if return_indices else None)
    windows = adaptive_windows(images.shape[1:-1], output_size)
    for axis, parts in reversed(list(enumerate(windows))):
        maxima = [_max_of(found, axis, part) for part in parts]
        found = jax.tree.map(partial(_concatenate, axis + 1), *maxima)
    return _as_given(found, single)


def max_unpool2d(
    input: Float[Array, "*batch height width channels"],
    indices: Integer[Array, "*batch height width channels"],
    kernel_size: int | Sizes,
    stride: int | Sizes | None = None,
    padding: int | Sizes = 0,
    output_size: int | Sizes | None = None,
) -> Float[Array, "*batch out_height out_width channels"]:
    """Puts maxima back where `max_pool2d(..., return_indices=True)` found them.

    All else is zero. The height and the width are (size - 1) stride - 2 padding +
    kernel_size, or those of `output_size`, which may differ by less than the stride.

    Raises:
      ValueError: shapes or settings do not fit together, or an index lies outside of
        its image; inside jit such a value is dropped, unless `checkify` is applied.

    >>> image = jnp.array([[1.0, 2.0], [4.0, 3.0]])[..., None]
    >>> max_unpool2d(*max_pool2d(image, 2, return_indices=True), 2)[..., 0]
    Array([[0., 0.],
           [4., 0.]], dtype=float32)
    """
    values, single = as_batch(input, 2)
    if indices.shape != input.shape or not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(
            f"indices of shape {indices.shape} and dtype {indices.dtype} should be "
            f"integers of input's shape {input.shape}"
        )
    batch, *pooled, channels = values.shape
    sizes = _unpooled_sizes(tuple(pooled), kernel_size, stride, padding, output_size)
    within = check_indices("index", indices, math.prod(sizes))
    # Past the last place, where it is dropped.
    places = jnp.where(within, widened(indices), math.prod(sizes))
    places = places.reshape(batch, -1, channels)
    image, _, channel = jnp.ogrid[:batch, :1, :channels]
    flat = jnp.zeros((batch, math.prod(sizes), channels), values.dtype)
    # Said to be unique, places that windows share hand their gradient to each of them.
    at = flat.at[image, places, channel]
    flat = at.set(values.reshape(places.shape), unique_indices=True)
    images = flat.reshape(batch, *sizes, channels)
    return images[0] if single else images


def _unpooled_sizes(pooled: Sizes, kernel_size, stride, padding, wanted) -> Sizes:
    kernel = as_sizes("kernel_size", kernel_size, 2)
    stride = kernel if stride is None else as_sizes("stride", stride, 2)
    padding = as_sizes("padding", padding, 2, minimum=0)
    window = zip(pooled, kernel, stride, padding, strict=True)
    sizes = tuple((n - 1) * s - 2 * p + k for n, k, s, p in window)
    if wanted is None:
        return sizes
    wanted = as_sizes("output_size", wanted, 2)
    for given, size, step in zip(wanted, sizes, stride, strict=True):
        if not size - step < given < size + step:
            raise ValueError(
                f"output_size={wanted} must be within the stride {stride} of {sizes}"
            )
    return wanted


class _Maxima(NamedTuple):
    """Values, and the number that each had in its image where that is asked for."""

    values: Array
    places: Array | None


def _max_pool(axes: int, input, *settings, return_indices: bool):
    images, single = as_batch(input, axes)
    found = _Maxima(images, _places(images) if return_indices else None)
    window = pooling(images.shape[1:-1], *settings)
    if math.prod(window.kernel) <= LARGE_WINDOW:
        return _as_given(_slide(found, window), single)
    # The first maximum in row-major order is its row's first, in the first such row.
    for axis in reversed(range(axes)):
        found = _slide(found, along(axis, found.values.shape[1:-1], window))
    return _as_given(found, single)


def _places(images):
    sizes = images.shape[1:-1]
    return jnp.arange(math.prod(sizes), dtype=jnp.int32).reshape(1, *sizes, 1)


def _as_given(found: _Maxima, single: bool):
    values, places = jax.tree.map(lambda a: a[0] if single else a, found)
    return values if places is None else (values, places)


def _max_of(found: _Maxima, axis: int, part: slice) -> _Maxima:
    """Reduces a part of one spatial axis to its maximum."""
    cut = lambda a: lax.slice_in_dim(a, part.start, part.stop, axis=axis + 1)
    found = jax.tree.map(cut, found)
    sizes = found.values.shape[1:-1]
    return _slide(found, along(axis, sizes, pooling(sizes, sizes, None, 0)))


def _concatenate(axis: int, *parts):
    return jnp.concatenate(parts, axis)


# Compiled, for those who call it outside of jit: dozens of small operations otherwise.
@partial(jax.jit, static_argnums=1, inline=True)
def _slide(found: _Maxima, window: Pooling) -> _Maxima:
    tiles = _tiles_the_image(window)
    if tiles:
        maxima = _max_of_tiles(_tiles(found.values, window, outside=-jnp.inf))
    else:
        maxima = _max_of_windows(found.values, window)
    if found.places is None:
        return _Maxima(maxima, None)
    values = lax.stop_gradient(found.values)
    if tiles and math.prod(window.kernel) > LARGE_WINDOW:
        _, winner = _winner_of_tiles(_tiles(values, window, outside=-jnp.inf))
        places = _tiles(found.places, window, outside=0)
        return _Maxima(maxima, _pick_of_tiles(winner, places))
    _, winner = _winner(values, window)
    return _Maxima(maxima, _pick(winner, found.places, window))


def _tiles_the_image(window: Pooling) -> bool:
    plain = not any(window.padding) and max(window.dilation) == 1
    return plain and window.stride == window.kernel


def _tiles(images, window: Pooling, outside):
    """Returns the windows: behind each spatial axis one of the kernel's.

    With `ceil_mode` the last ones reach beyond the image, where `outside` is.
    """
    kernel, sizes = window.kernel, window.sizes
    whole = [n * k for n, k in zip(sizes, kernel, strict=True)]
    images = _padded(images, window, outside)[(slice(None), *map(slice, whole))]
    axes = [size for pair in zip(sizes, kernel, strict=True) for size in pair]
    return images.reshape(len(images), *axes, images.shape[-1])


# Custom JVPs, not custom VJPs: reverse mode transposes them, and forward mode remains.
@jax.custom_jvp
def _max_of_tiles(tiles):
    return tiles.max(_kernel_axes(tiles))


@_max_of_tiles.defjvp
def _max_of_tiles_jvp(primals, tangents):
    """Picks the tangent at each tile's maximum. Transposed, it puts one there."""
    (tiles,), (dtiles,) = primals, tangents
    maximum, winner = lax.optimization_barrier(_winner_of_tiles(tiles))
    return maximum, _pick_of_tiles(winner, lax.optimization_barrier(dtiles))


def _winner_of_tiles(tiles):
    axes = _kernel_axes(tiles)
    kernel = [tiles.shape[axis] for axis in axes]
    count = math.prod(kernel)
    if count <= LARGE_WINDOW:
        return _winner_of([_at(tiles, axes, place) for place in np.ndindex(*kernel)])
    maximum = _max_of_tiles(tiles)  # whose derivatives are those of its winner
    # The first maximum ranks highest, and above it the last NaN.
    numbers = _numbers(tiles, np.int32)
    ranks = jnp.where(tiles == jnp.expand_dims(maximum, axes), -numbers, -count)
    rank = jnp.where(jnp.isnan(tiles), 1 + numbers, ranks).max(axes)
    return maximum, jnp.where(rank > 0, rank - 1, -rank)


def _pick_of_tiles(winner, tiles):
    axes = _kernel_axes(tiles)
    chosen = jnp.expand_dims(winner, axes) == _numbers(tiles, winner.dtype)
    return jnp.where(chosen, tiles, 0).sum(axes).astype(tiles.dtype)


def _numbers(tiles, dtype):
    """Numbers the kernel's positions, row by row, along its axes of `tiles`."""
    axes = _kernel_axes(tiles)
    shape = [tiles.shape[a] if a in axes else 1 for a in range(tiles.ndim)]
    return np.arange(math.prod(shape), dtype=dtype).reshape(shape)


def _at(tiles, axes, position):
    index: list[Any] = [slice(None)] * tiles.ndim
    for axis, place in zip(axes, position, strict=True):
        index[axis] = place
    return tiles[tuple(index)]


def _kernel_axes(tiles) -> tuple[int, ...]:
    return tuple(range(2, tiles.ndim - 1, 2))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_of_windows(images, window: Pooling):
    return reduce(jnp.maximum, _seen(images, window, outside=-jnp.inf))


@_max_of_windows.defjvp
def _max_of_windows_jvp(window: Pooling, primals, tangents):
    """Picks the tangent at each window's maximum. Transposed, it puts one there."""
    (images,), (dimages,) = primals, tangents
    # Behind barriers: XLA would find the winner anew for each position that it is
    # compared to, and compute anew whatever the gradient that comes back is made of.
    maxima, winner = lax.optimization_barrier(_winner(images, window))
    return maxima, _pick(winner, lax.optimization_barrier(dimages), window)


def _winner(images, window: Pooling):
    """Returns each window's maximum, and which position of the kernel it is at."""
    if any(window.padding):
        # Raised a little, -inf within the image beats the -inf that pads it.
        raised = jnp.maximum(images, jnp.finfo(images.dtype).min)
        _, winner = _winner_of(_seen(raised, window, outside=-jnp.inf))
        return _max_of_windows(images, window), winner
    return _winner_of(_seen(images, window, outside=-jnp.inf))


def _winner_of(seen):
    maximum, *others = seen
    small = len(others) <= np.iinfo(np.int8).max
    winner = jnp.zeros(maximum.shape, jnp.int8 if small else jnp.int32)
    for position, value in enumerate(others, 1):
        wins = (value > maximum) | jnp.isnan(value)
        maximum = jnp.where(wins, value, maximum)
        winner = jnp.where(wins, jnp.asarray(position, winner.dtype), winner)
    return maximum, winner


def _pick(winner, images, window: Pooling):
    """Returns what is at the winning positions."""
    seen = _seen(images, window, outside=0)
    return sum(jnp.where(winner == i, value, 0) for i, value in enumerate(seen))


def _seen(images, window: Pooling, outside):
    padded = _padded(images, window, outside)
    return shifts(padded, window.kernel, window.stride, window.dilation, window.sizes)


def _padded(images, window: Pooling, outside):
    pads = ((0, 0), *window.pads(images.shape[1:-1]), (0, 0))
    return jnp.pad(images, pads, constant_values=outside)
