"""Data sets as dictionaries of arrays, and how to split and make them."""

from jaxdl.data.images import ImageData, list_image_sets, load_images
from jaxdl.data.splits import random_split
from jaxdl.data.synthetic import make_linear_data

__all__ = [
    "ImageData",
    "list_image_sets",
    "load_images",
    "make_linear_data",
    "random_split",
]
