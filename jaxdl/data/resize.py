"""Resizing: one NumPy image by Pillow, JAX arrays and whole sets on the device."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxdl.optional import import_optional

BLOCK = 512

Image = Shaped[Array | np.ndarray, "*batch height width channels"]
Resized = Shaped[Array | np.ndarray, "*batch new_height new_width channels"]


def resize(
    image: Image,
    size: int | tuple[int, int],
    method: Literal["bilinear", "bicubic"] = "bilinear",
) -> Resized:
    """The image at another size and of the same dtype, antialiased where it shrinks.

    An integer is the new length of the shorter side; the longer one keeps its
    proportion, rounded down, as in torchvision's `Resize`. A pair is height and width.

    Pillow resizes a NumPy image, floats in float32; `jax.image.resize` a JAX array,
    with or without leading axes. Both put pixel centres at half-integers, use a
    triangle or Keys' cubic with a = -1/2, widened where the image shrinks, and
    normalise the weights at the border. On floats in [0, 1] they differ by 1e-5, since
    JAX rounds the weights to float32 (in float64 it agrees with the antialiased
    `torch.nn.functional.interpolate` to the last bits). On uint8 they differ by 1 in a
    tenth to a quarter of the values, since Pillow works in fixed point and rounds
    between its passes over rows and columns; bicubic on noise by up to 13, where the
    first pass overshoots and is cut off at 0 and 255.

    Raises:
        ValueError: a side is or would be below 1, there is no such `method`, the image
            is neither uint8 nor floating, or a NumPy array is no single image.

    >>> resize(np.zeros((375, 500, 3), np.uint8), 256).shape
    (256, 341, 3)
    """
    height, width = new_size(image.shape[-3:-1], size)
    if image.dtype != np.uint8 and not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image has dtype {image.dtype}, neither uint8 nor floating")
    if method not in ("bilinear", "bicubic"):
        raise ValueError(f"method={method!r} is not 'bilinear' or 'bicubic'")
    if isinstance(image, np.ndarray):
        return _resize_by_pillow(image, height, width, method)
    shape = (*image.shape[:-3], height, width, image.shape[-1])
    if image.dtype != jnp.uint8:
        return jax.image.resize(image, shape, method)
    resized = jax.image.resize(image.astype(jnp.float32), shape, method)
    return jnp.clip(jnp.round(resized), 0, 255).astype(jnp.uint8)


def new_size(sides: Sequence[int], size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width to which `resize` brings an image of these `sides`.

    Raises:
        ValueError: a side is or would be below 1.

    >>> new_size((375, 500), 256)
    (256, 341)
    """
    if min(sides) < 1:
        raise ValueError(f"image has {sides[0]}×{sides[1]} pixels: nothing to resize")
    if isinstance(size, int | np.integer):
        # Multiplied first: the proportion itself would be rounded.
        height, width = (int(size) * side // min(sides) for side in sides)
    else:
        height, width = size
    if min(height, width) < 1:
        raise ValueError(f"size={size} makes an image of {height}×{width} pixels")
    return height, width


def resize_images(
    images: Float[np.ndarray, "n h w c"], size: int
) -> Float[np.ndarray, "n {size} {size} c"]:
    """Floating images made size × size by bilinear interpolation.

    Pixel centres lie at half-integers, and shrinking is antialiased, as in
    `torch.nn.functional.interpolate(mode="bilinear", antialias=True)`. No value lies
    outside of those that its image had. The device holds 512 images at a time, whatever
    their number.

    Raises:
        ValueError: `size` is below 1, images have no pixels, or are not floating.

    >>> resize_images(np.zeros((2, 28, 28, 1), np.float32), 32).shape
    (2, 32, 32, 1)
    """
    if size < 1:
        raise ValueError(f"size={size} must be at least 1")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"images have dtype {images.dtype}, not a floating one: scale bytes by"
            " `to_float`"
        )
    n, _, _, channels = images.shape
    resized = np.empty((n, size, size, channels), images.dtype)
    for start in range(0, n, BLOCK):
        block = images[start : start + BLOCK]
        # The last is filled up: another number of images would be compiled once more.
        missing = min(BLOCK, n) - len(block)
        filled = np.pad(block, [(0, missing), *[(0, 0)] * 3]) if missing else block
        kept = np.asarray(_resize_block(filled, size))[: len(block)]
        resized[start : start + BLOCK] = kept
    return resized


@partial(jax.jit, static_argnames="size")
def _resize_block(
    images: Float[Array, "n h w c"], size: int
) -> Float[Array, "n {size} {size} c"]:
    # A mean lies between its values, but the rounded weights may sum to 1 + 2e-7.
    least, most = (f(images, axis=(1, 2), keepdims=True) for f in (jnp.min, jnp.max))
    return jnp.clip(resize(images, (size, size)), least, most)


def _resize_by_pillow(image: Image, height: int, width: int, method: str) -> Resized:
    if image.ndim != 3:
        raise ValueError(
            f"image has shape {image.shape}: a NumPy array is resized as one image "
            "(height, width, channels)"
        )
    pil_image = import_optional("PIL.Image", "resizing a NumPy image")
    resample = pil_image.Resampling[method.upper()]

    def resize_plane(plane):
        resized = pil_image.fromarray(plane).resize((width, height), resample)
        return np.array(resized)

    if image.dtype == np.uint8 and image.shape[-1] == 3:
        return resize_plane(image)
    # Not four at once: Pillow would take the last for opacity, and weight by it.
    planes = image if image.dtype == np.uint8 else image.astype(np.float32)
    resized = np.empty((height, width, image.shape[-1]), image.dtype)
    for i in range(image.shape[-1]):
        resized[..., i] = resize_plane(planes[..., i])
    return resized
