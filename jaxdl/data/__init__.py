"""Data sets as dictionaries of arrays, and how to split, encode and make them."""

from jaxdl.data.bundled import BUNDLED_TABLES, BundledTable, load_bundled
from jaxdl.data.csv_files import read_numeric_csv
from jaxdl.data.encoding import Encoder, encode, fit_encoder
from jaxdl.data.faker_names import bundled_names
from jaxdl.data.generated import generate_otto, generate_titanic
from jaxdl.data.idx import read_idx
from jaxdl.data.images import IMAGE_SETS, ImageData, load_images, normalize
from jaxdl.data.layout import to_nchw, to_nhwc
from jaxdl.data.names import NameData, encode_names, load_names
from jaxdl.data.prepare import prepare_images
from jaxdl.data.splits import Folds, k_folds, random_split
from jaxdl.data.submission import write_submission
from jaxdl.data.synthetic import make_linear_data
from jaxdl.data.tables import OTTO, TITANIC, Schema, Table, read_table

__all__ = [
    "BUNDLED_TABLES",
    "IMAGE_SETS",
    "OTTO",
    "TITANIC",
    "BundledTable",
    "Encoder",
    "Folds",
    "ImageData",
    "NameData",
    "Schema",
    "Table",
    "bundled_names",
    "encode",
    "encode_names",
    "fit_encoder",
    "generate_otto",
    "generate_titanic",
    "k_folds",
    "load_bundled",
    "load_images",
    "load_names",
    "make_linear_data",
    "normalize",
    "prepare_images",
    "random_split",
    "read_idx",
    "read_numeric_csv",
    "read_table",
    "to_nchw",
    "to_nhwc",
    "write_submission",
]
