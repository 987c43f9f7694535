"""Resizing of image sets that are larger than the result of one device call."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BLOCK = 1024


def resize_images(
    images: Float[np.ndarray, "n h w c"], size: int
) -> Float[np.ndarray, "n {size} {size} c"]:
    """Images in [0, 1] made size × size by bilinear interpolation.

    Pixel centres lie at half-integers, and shrinking is antialiased, as in
    `torch.nn.functional.interpolate(mode="bilinear", antialias=True)`. The device holds
    1,024 images at a time, whatever their number.

    Raises:
        ValueError: `size` is below 1.

    >>> resize_images(np.zeros((2, 28, 28, 1), np.float32), 32).shape
    (2, 32, 32, 1)
    """
    if size < 1:
        raise ValueError(f"size={size} must be at least 1")
    n, _, _, channels = images.shape
    resized = np.empty((n, size, size, channels), images.dtype)
    for start in range(0, n, BLOCK):
        block = slice(start, start + BLOCK)
        resized[block] = _resize_block(images[block], size)
    return resized


@partial(jax.jit, static_argnames="size")
def _resize_block(
    images: Float[Array, "n h w c"], size: int
) -> Float[Array, "n {size} {size} c"]:
    n, _, _, channels = images.shape
    shape = (n, size, size, channels)
    resized = jax.image.resize(images, shape, "bilinear", antialias=True)
    return jnp.clip(resized, 0, 1)  # the rounded weights may sum to 1 + 2e-7
