"""Images channels last, as JAX and TensorFlow have them, and channels first as PyTorch.

An array of shape (n, height, width, channels) keeps the channels of a pixel side by
side in memory; (n, channels, height, width) keeps each channel's picture in one piece.
"""

import numpy as np
from jaxtyping import Array, Shaped


def to_nhwc(
    images: Shaped[Array | np.ndarray, "*batch channels height width"],
) -> Shaped[Array | np.ndarray, "*batch height width channels"]:
    """Puts the channels last: PyTorch's `permute(0, 2, 3, 1)`.

    Of a NumPy array it is a view, in which only the strides change; JAX copies.

    >>> view = to_nhwc(np.zeros((2, 3, 4, 5), np.uint8))
    >>> view.shape, view.strides
    ((2, 4, 5, 3), (60, 5, 1, 20))
    """
    _check(images)
    return images.swapaxes(-3, -2).swapaxes(-2, -1)


def to_nchw(
    images: Shaped[Array | np.ndarray, "*batch height width channels"],
) -> Shaped[Array | np.ndarray, "*batch channels height width"]:
    """Puts the channels first, as PyTorch's models want them: undoes `to_nhwc`."""
    _check(images)
    return images.swapaxes(-2, -1).swapaxes(-3, -2)


def _check(images) -> None:
    if images.ndim < 3:
        raise ValueError(f"images have shape {images.shape}; expected three axes each")
