"""Two-dimensional pooling with PyTorch's semantics, channels last."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdl.functional.convolution import Pair, as_pair


def max_pool2d(
    input: Float[Array, "*batch height width channels"],
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
) -> Float[Array, "*batch out_height out_width channels"]:
    """Computes each window's maximum: `torch.nn.functional.max_pool2d`.

    `input` is one image or a batch of them. `stride` defaults to `kernel_size` (Flax's
    to 1); `padding`, at most half the kernel, adds -inf on both sides of each axis.
    Windows that would reach beyond that are dropped; a window with a NaN gives NaN.

    Where windows tile the image, the gradient goes to each window's first maximum in
    row-major order, or to its last NaN, as in PyTorch, through elementwise operations;
    XLA's own scatter is slow on CPU. Overlapping windows use XLA's.

    Raises ValueError where shapes or settings do not fit together.

    >>> image = jnp.array([[1.0, 2.0, 9.0], [4.0, 3.0, 9.0]])[..., None]
    >>> max_pool2d(image, 2)[..., 0]
    Array([[4.]], dtype=float32)
    """
    kernel = as_pair("kernel_size", kernel_size)
    stride = kernel if stride is None else as_pair("stride", stride)
    padding = as_pair("padding", padding, minimum=0)
    _check(input, kernel, padding)

    images = input if input.ndim == 4 else input[None]
    if stride == kernel and padding == (0, 0):
        output = _max_of_tiles(_tiles(images, kernel))
    else:
        output = _max_of_windows(images, kernel, stride, padding)
    return output if input.ndim == 4 else output[0]


def _tiles(images, kernel: Pair):
    """Returns the windows: batch, row, kernel row, column, kernel column, channel."""
    batch, height, width, channels = images.shape
    rows, columns = height // kernel[0], width // kernel[1]
    whole = images[:, : rows * kernel[0], : columns * kernel[1]]
    return whole.reshape(batch, rows, kernel[0], columns, kernel[1], channels)


# A custom JVP, not a custom VJP: reverse mode transposes it, and forward mode remains.
@jax.custom_jvp
def _max_of_tiles(tiles):
    return tiles.max((2, 4))


@_max_of_tiles.defjvp
def _max_of_tiles_jvp(primals, tangents):
    """Picks the tangent at each tile's maximum. Transposed, it puts one there."""
    (tiles,), (dtiles,) = primals, tangents
    rows, columns = tiles.shape[2], tiles.shape[4]
    maximum = tiles[:, :, 0, :, 0]
    winner = jnp.zeros(maximum.shape, jnp.int32)
    for position in range(1, rows * columns):
        value = tiles[:, :, position // columns, :, position % columns]
        wins = (value > maximum) | jnp.isnan(value)
        maximum = jnp.where(wins, value, maximum)
        winner = jnp.where(wins, position, winner)
    positions = jnp.arange(rows * columns).reshape(rows, 1, columns, 1)
    chosen = jnp.expand_dims(winner, (2, 4)) == positions
    return maximum, jnp.where(chosen, dtiles, 0).sum((2, 4))


def _max_of_windows(images, kernel: Pair, stride: Pair, padding: Pair):
    return lax.reduce_window(
        images,
        -jnp.inf,
        lax.max,
        window_dimensions=(1, *kernel, 1),
        window_strides=(1, *stride, 1),
        padding=[(0, 0), *((p, p) for p in padding), (0, 0)],
    )


def _check(input, kernel: Pair, padding: Pair) -> None:
    if input.ndim not in (3, 4):
        raise ValueError(
            f"input has shape {input.shape}; expected (height, width, channels) "
            "or (batch, height, width, channels)"
        )
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise ValueError(f"input has dtype {input.dtype}; expected a floating one")
    for axis, name in enumerate(("height", "width")):
        if padding[axis] > kernel[axis] // 2:
            raise ValueError(
                f"padding={padding} exceeds half of kernel_size={kernel} in {name}"
            )
        padded = input.shape[axis - 3] + 2 * padding[axis]
        if kernel[axis] > padded:
            raise ValueError(
                f"kernel_size={kernel} exceeds input's padded {name} {padded}"
            )
