"""Reads idx files, the format in which MNIST and its relatives are published.

Format: http://yann.lecun.com/exdb/mnist, "The IDX file format".
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

GZIP_SIGNATURE = b"\x1f\x8b"
# The third byte of a file names the type of its numbers, which are big-endian.
DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> Shaped[np.ndarray, "..."]:
    """The array in an idx file, plain or compressed by gzip.

    Its first bytes tell whether it is compressed, not its name.

    Raises:
        ValueError: it is damaged or no idx file; the message names it.
        OSError: it cannot be read.
    """
    path = Path(path)
    try:
        return parse_idx(uncompress(path.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_idx(content: bytes) -> Shaped[np.ndarray, "..."]:
    """The array that the bytes of an idx file describe, in native byte order.

    Raises:
        ValueError: the magic number is wrong, or numbers are missing or left over.

    >>> parse_idx(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + b"abcdef").tolist()
    [[97, 98, 99], [100, 101, 102]]
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES:
        raise ValueError(
            f"it starts with the bytes {content[:4].hex(' ')!r}, not with the magic "
            "number of an idx file (00 00, a type of 08 09 0b 0c 0d or 0e, the axes)"
        )
    dtype, start = np.dtype(DTYPES[content[2]]), 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"it is cut short in its header, after {len(content)} bytes")
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    length = start + math.prod(shape) * dtype.itemsize
    if len(content) != length:
        problem = "is cut short" if len(content) < length else "has bytes left over"
        raise ValueError(
            f"it {problem}: {len(content)} bytes, not the {length} of an array of "
            f"shape {shape} and type {dtype.name}"
        )
    try:
        array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    except ValueError as error:  # more axes than NumPy has, or 0 of something huge
        raise ValueError(f"its shape {shape} is impossible ({error})") from error
    return array.astype(dtype.newbyteorder("="))


def uncompress(content: bytes) -> bytes:
    """What gzip compressed, or the same bytes where it did not.

    Raises:
        ValueError: the compressed bytes are damaged.
    """
    if not content.startswith(GZIP_SIGNATURE):
        return content
    try:
        return gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"its {len(content)} bytes cannot be decompressed ({error}): they are "
            "cut short or damaged"
        ) from error
