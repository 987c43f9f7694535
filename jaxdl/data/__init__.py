"""Data sets as dictionaries of arrays, and how to split, encode and make them."""

from jaxdl.data.bundled import BUNDLED_TABLES, BundledTable, load_bundled
from jaxdl.data.csv_files import read_numeric_csv
from jaxdl.data.encoding import Encoder, encode, fit_encoder
from jaxdl.data.faker_names import bundled_names
from jaxdl.data.generated import generate_otto, generate_titanic
from jaxdl.data.idx import read_idx
from jaxdl.data.image_files import ImageFiles, decode_image, image_folder, image_list
from jaxdl.data.images import (
    IMAGE_SETS,
    ImageData,
    load_images,
    normalize,
    standardize_images,
)
from jaxdl.data.layout import to_nchw, to_nhwc
from jaxdl.data.names import NameData, encode_names, load_names
from jaxdl.data.prepare import prepare_images
from jaxdl.data.resize import resize, resize_images
from jaxdl.data.splits import Folds, k_folds, random_split
from jaxdl.data.streaming import Stream, prefetch
from jaxdl.data.submission import write_submission
from jaxdl.data.synthetic import make_linear_data
from jaxdl.data.tables import OTTO, TITANIC, Schema, Table, read_table
from jaxdl.data.transforms import (
    center_crop,
    compose,
    random_crop,
    random_horizontal_flip,
    to_float,
)

__all__ = [
    "BUNDLED_TABLES",
    "IMAGE_SETS",
    "OTTO",
    "TITANIC",
    "BundledTable",
    "Encoder",
    "Folds",
    "ImageData",
    "ImageFiles",
    "NameData",
    "Schema",
    "Stream",
    "Table",
    "bundled_names",
    "center_crop",
    "compose",
    "decode_image",
    "encode",
    "encode_names",
    "fit_encoder",
    "generate_otto",
    "generate_titanic",
    "image_folder",
    "image_list",
    "k_folds",
    "load_bundled",
    "load_images",
    "load_names",
    "make_linear_data",
    "normalize",
    "prefetch",
    "prepare_images",
    "random_crop",
    "random_horizontal_flip",
    "random_split",
    "read_idx",
    "read_numeric_csv",
    "read_table",
    "resize",
    "resize_images",
    "standardize_images",
    "to_float",
    "to_nchw",
    "to_nhwc",
    "write_submission",
]
