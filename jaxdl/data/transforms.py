"""Image transforms: pure functions f(image), and f(key, image) where they draw.

An image is (height, width, channels). The same function works at load time, on one
NumPy image, and on the device, inside a jitted step, where `jax.vmap` makes it one for
a batch. A key is whatever numbers are drawn from there: a `np.random.Generator`, which
keeps JAX out of the processes that load, or a JAX key. All that is drawn is an offset
or a coin, so the two kinds of key differ in the draw and in nothing else.

    def augment(key, image):
        crop_key, flip_key = split(key, 2)
        image = random_crop(crop_key, image, 32, padding=4)
        return random_horizontal_flip(flip_key, image)

    augment(np.random.default_rng(0), image)
    jax.vmap(augment)(jax.random.split(key, len(images)), images)

`jaxdl.data.resize` and `jaxdl.data.normalize` belong to them.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, PRNGKeyArray, Shaped, UInt8

Key = np.random.Generator | PRNGKeyArray
Image = Shaped[Array | np.ndarray, "height width channels"]
Images = Shaped[Array | np.ndarray, "*batch height width channels"]
Cropped = Shaped[Array | np.ndarray, "*batch new_height new_width channels"]


def compose(*transforms: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The transforms one after the other: compose(f, g)(image) = g(f(image)).

    For those that take a key, write the function: it has to say which key goes where.

    >>> halve = lambda image: image // 2
    >>> compose(halve, to_float)(np.full((1, 1, 1), 204, np.uint8)).item()
    0.4000000059604645
    """
    return lambda image: reduce(lambda x, transform: transform(x), transforms, image)


def split(key: Key, count: int = 2) -> tuple[Key, ...]:
    """Independent keys of the same kind: `jax.random.split`, or `Generator.spawn`."""
    if isinstance(key, np.random.Generator):
        return tuple(key.spawn(count))
    return tuple(jax.random.split(key, count))


def center_crop(image: Images, size: int | tuple[int, int]) -> Cropped:
    """The middle of the image, `size` high and wide; leading axes are batches.

    The upper left corner is at round((height - size) / 2), ties to even, as in
    torchvision's `CenterCrop`, which pads an image that is too small; this refuses it.

    Raises:
        ValueError: `size` exceeds the image or is below 1.

    >>> center_crop(np.arange(5).reshape(1, 5, 1), (1, 2))[0, :, 0]
    array([2, 3])
    """
    height, width = _crop_size(image, size)
    top = round((image.shape[-3] - height) / 2)
    left = round((image.shape[-2] - width) / 2)
    return image[..., top : top + height, left : left + width, :]


def random_crop(
    key: Key, image: Image, size: int | tuple[int, int], *, padding: int = 0
) -> Cropped:
    """A part of the image, `size` high and wide, all positions equally likely.

    As torchvision's `RandomCrop`: `padding` zeros are put on each side first.

    Raises:
        ValueError: `size` exceeds the padded image or is below 1, `padding` is below 0,
            the image has not three axes, or a Generator is given for a JAX array.

    >>> image = np.ones((32, 32, 3), np.uint8)
    >>> random_crop(np.random.default_rng(0), image, 32, padding=4).shape
    (32, 32, 3)
    """
    if padding < 0:
        raise ValueError(f"padding={padding} is below 0")
    image = _placed(key, image)
    _check_one(image)
    if padding:
        pad = np.pad if isinstance(image, np.ndarray) else jnp.pad
        image = pad(image, ((padding, padding), (padding, padding), (0, 0)))
    height, width = _crop_size(image, size)
    limits = (image.shape[0] - height + 1, image.shape[1] - width + 1)
    if isinstance(key, np.random.Generator):
        top, left = key.integers(limits)
        return image[top : top + height, left : left + width]
    top, left = jax.random.randint(key, (2,), 0, np.array(limits))
    return jax.lax.dynamic_slice(image, (top, left, 0), (height, width, image.shape[2]))


def random_horizontal_flip(key: Key, image: Image, p: float = 0.5) -> Image:
    """The image, mirrored left to right with probability `p`.

    Raises:
        ValueError: `p` lies outside of [0, 1], the image has not three axes, or a
            Generator is given for a JAX array.

    >>> image = np.array([[[1], [2]]])
    >>> random_horizontal_flip(jax.random.key(0), image, p=1.0)[0, :, 0]
    Array([2, 1], dtype=int32)
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p={p} is not within [0, 1]")
    image = _placed(key, image)
    _check_one(image)
    if isinstance(key, np.random.Generator):
        return image[:, ::-1] if key.random() < p else image
    return jnp.where(jax.random.bernoulli(key, p), image[:, ::-1], image)


def to_float(
    image: UInt8[Array | np.ndarray, "*shape"],
) -> Float32[Array | np.ndarray, "*shape"]:
    """pixel / 255: uint8 scaled to float32 in [0, 1], as torchvision's `ToTensor`.

    The axes stay where they are. On the device XLA may multiply by the rounded 1/255,
    which moves the last bit.

    Raises:
        ValueError: the image is not uint8, so perhaps scaled already.
    """
    if image.dtype != np.uint8:
        raise ValueError(f"image has dtype {image.dtype}, not uint8")
    return image.astype(np.float32) / 255


def _check_one(image: Image) -> None:
    if image.ndim != 3:
        raise ValueError(
            f"image has shape {image.shape}: one image (height, width, channels) is"
            " needed, and jax.vmap over images and keys makes it a batch"
        )


def _crop_size(image: Images, size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int | np.integer) else size
    limits = image.shape[-3:-1]
    if not (1 <= height <= limits[0] and 1 <= width <= limits[1]):
        raise ValueError(
            f"size={size} does not fit an image of {limits[0]}×{limits[1]} pixels: "
            "resize it first, or pad it"
        )
    return height, width


def _placed(key: Key, image: Image) -> Image:
    """The image where its key draws: in NumPy or on the device."""
    if not isinstance(key, np.random.Generator):
        return jnp.asarray(image)
    if isinstance(image, jax.Array):
        raise ValueError(
            "a JAX array needs a JAX key: what a NumPy Generator draws would be fixed "
            "when the step is compiled"
        )
    return image
