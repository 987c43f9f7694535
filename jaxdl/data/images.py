"""Image classification sets, whole and in memory."""

import difflib
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxdl.data.resize import resize_images
from jaxdl.data.tfds_images import PREPARABLE, load_prepared, tfds_directory
from jaxdl.optional import import_optional

IMAGE_SETS = ("digits", *PREPARABLE)
DIGITS_TEST_SIZE = 360


class ImageData(NamedTuple):
    """A training and a test set of labelled images.

    Each holds "image", float32 in [0, 1] of shape (n, height, width, channels), and
    "label", int32 of shape (n,), an index into `class_names`.
    """

    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    class_names: tuple[str, ...]


def load_images(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    size: int | None = None,
) -> ImageData:
    """The image set of that name, in the order in which it is stored.

    "digits" comes with scikit-learn: 1,797 handwritten digits of 8×8 pixels with 17
    grey levels. The last 360 are the test set, mostly by other writers than the rest.
    "mnist", "fashion_mnist" and "kmnist" (28×28) are read as tensorflow-datasets or
    `jaxdl.data.prepare` wrote them.

    Args:
        data_dir: the directory of tensorflow-datasets; by default the environment
            variable TFDS_DATA_DIR, else ~/tensorflow_datasets.
        size: height and width to resize to by bilinear interpolation with half-pixel
            centres, antialiased when shrinking. None leaves every pixel as stored.

    Raises:
        ValueError: no such set, `size` below 1, or the stored set is damaged.
        FileNotFoundError: the set, or a part of it, is not in `data_dir`.
        ImportError: scikit-learn or tensorflow-datasets is not installed.

    >>> digits = load_images("digits", size=16)
    >>> digits.test["image"].shape
    (360, 16, 16, 1)
    """
    if name not in IMAGE_SETS:
        near = difflib.get_close_matches(name.lower(), IMAGE_SETS, n=1)
        suggestion = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"unknown image set {name!r}: {suggestion}There are {', '.join(IMAGE_SETS)}"
        )
    if size is not None and size < 1:
        raise ValueError(f"size={size} must be at least 1")
    data = _load_digits() if name == "digits" else _load_tfds(name, data_dir)
    if size is None:
        return data
    train, test = (
        {**part, "image": resize_images(part["image"], size)}
        for part in (data.train, data.test)
    )
    return data._replace(train=train, test=test)


def normalize(
    image: Float[Array | np.ndarray, "*batch height width channels"],
    mean: float | Sequence[float],
    std: float | Sequence[float],
) -> Float[Array | np.ndarray, "*batch height width channels"]:
    """(image - mean) / std, by one number or by one for each channel.

    As torchvision's `Normalize`; MNIST's own are 0.1307 and 0.3081.

    Raises:
        ValueError: the image is of integers, a `std` is not above 0, or there are not
            as many as channels.

    >>> float(normalize(np.full((1, 1, 1), 0.4388), 0.1307, 0.3081).round(6)[0, 0, 0])
    1.0
    """
    if image.dtype.kind in "biu":
        raise ValueError(f"image has dtype {image.dtype}: make it floating by to_float")
    for name, values in {"mean": np.asarray(mean), "std": np.asarray(std)}.items():
        if values.shape not in ((), (1,), image.shape[-1:]):
            raise ValueError(f"{name}={values} does not fit {image.shape[-1]} channels")
    if not np.all(np.asarray(std) > 0):
        raise ValueError(f"std={std} must be above 0")
    return (image - np.asarray(mean, image.dtype)) / np.asarray(std, image.dtype)


def standardize_images(images: ImageData) -> ImageData:
    """Both parts normalised by the mean and deviation of the training pixels.

    >>> digits = standardize_images(load_images("digits"))
    >>> [abs(round(float(f(digits.train["image"])), 3)) for f in (np.mean, np.std)]
    [0.0, 1.0]
    """
    pixels = images.train["image"]
    mean, std = (float(f(pixels, dtype=np.float64)) for f in (np.mean, np.std))
    train, test = (
        {**part, "image": np.asarray(normalize(part["image"], mean, std))}
        for part in images[:2]
    )
    return images._replace(train=train, test=test)


def _load_digits() -> ImageData:
    sklearn_datasets = import_optional("sklearn.datasets", "the image set 'digits'")
    digits = sklearn_datasets.load_digits()
    image = (digits.images[..., None] / 16).astype(np.float32)
    label = digits.target.astype(np.int32)
    first_test = len(image) - DIGITS_TEST_SIZE
    return ImageData(
        train={"image": image[:first_test], "label": label[:first_test]},
        test={"image": image[first_test:], "label": label[first_test:]},
        class_names=tuple(str(name) for name in digits.target_names),
    )


def _load_tfds(name: str, data_dir: str | os.PathLike[str] | None) -> ImageData:
    train, test, class_names = load_prepared(name, tfds_directory(data_dir))
    train, test = (
        {**part, "image": _to_unit_interval(part["image"])} for part in (train, test)
    )
    return ImageData(train, test, class_names)


def _to_unit_interval(
    image: UInt8[np.ndarray, "n h w c"],
) -> Float[np.ndarray, "n h w c"]:
    """pixel / 255, rounded to float32 once, as torchvision's ToTensor computes it."""
    scaled = image.astype(np.float32)
    scaled /= 255  # in place: the array is large
    return scaled
