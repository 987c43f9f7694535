"""Data sets as dictionaries of arrays, and how to split and make them."""

from jaxdl.data.images import IMAGE_SETS, ImageData, load_images, normalize
from jaxdl.data.splits import Folds, k_folds, random_split
from jaxdl.data.synthetic import make_linear_data

__all__ = [
    "IMAGE_SETS",
    "Folds",
    "ImageData",
    "k_folds",
    "load_images",
    "make_linear_data",
    "normalize",
    "random_split",
]
