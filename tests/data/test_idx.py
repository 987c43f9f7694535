"""The format of MNIST's files, whole and damaged."""

import gzip
import re

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as npst

from jaxdl.data.idx import parse_idx, read_idx, uncompress

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def to_idx(array):
    """The bytes of an idx file, as the format's description lays them out."""
    code = CODES[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


arrays = st.sampled_from(sorted(CODES)).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, min_side=0))
)


@given(arrays)
def test_every_type_and_shape_is_read_back(array):
    for content in (to_idx(array), uncompress(gzip.compress(to_idx(array)))):
        read = parse_idx(content)
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(read, array)


def test_the_array_can_be_written_to():
    assert parse_idx(to_idx(np.zeros(3, np.uint8))).flags.writeable


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("name", ["images.gz", "images"])
def test_the_name_does_not_matter(tmp_path, rng, name, compress):
    array = rng.integers(0, 256, (3, 5, 7), dtype=np.uint8)
    path = tmp_path / name
    path.write_bytes(compress(to_idx(array)))
    np.testing.assert_array_equal(read_idx(path), array)
    np.testing.assert_array_equal(read_idx(str(path)), array)


# What cannot be read

GOOD = to_idx(np.arange(6, dtype=np.int16).reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with the bytes '', not with the magic number"),
        (b"\0\0\x08", "starts with the bytes '00 00 08', not"),
        (b"<!DOCTYPE html>", "starts with the bytes '3c 21 44 4f', not"),
        (b"\0\x01\x08\x01" + GOOD[4:], "starts with the bytes '00 01 08 01', not"),
        (b"\0\0\x0a\x01" + GOOD[4:], "starts with the bytes '00 00 0a 01', not"),
        (GOOD[:11], "cut short in its header, after 11 bytes"),
        (GOOD[:-1], "cut short: 23 bytes, not the 24 of an array of shape (2, 3) and"),
        (GOOD[:12], "cut short: 12 bytes, not the 24"),
        (GOOD + b"\0", "has bytes left over: 25 bytes, not the 24"),
        (GOOD[:4] + b"\xff" * 8, f"not the {12 + 2 * (2**32 - 1) ** 2} of an array"),
        (to_idx(np.zeros((0, 1), "u1"))[:3] + b"\xc8" + bytes(800), "is impossible"),
    ],
)
def test_damaged_content(content, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_idx(content)
    assert "\n" not in str(caught.value)


def test_the_message_names_the_file(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(GOOD[:-1])
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: it is cut short"):
        read_idx(path)


@pytest.mark.parametrize("length", range(2, len(gzip.compress(GOOD))))
def test_a_compressed_file_that_was_cut_off(tmp_path, length):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(GOOD)[:length])
    with pytest.raises(ValueError, match=rf"images.gz: its {length} bytes cannot be"):
        read_idx(path)


def test_a_compressed_file_with_a_changed_byte():
    content = bytearray(gzip.compress(GOOD))
    content[-8] ^= 1  # of the checksum
    with pytest.raises(ValueError, match=r"CRC check failed.*: they are cut short or"):
        uncompress(bytes(content))


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_idx(tmp_path / "absent")
    with pytest.raises(IsADirectoryError, match=re.escape(str(tmp_path))):
        read_idx(tmp_path)


# Bytes of every kind


def read_or_refuse(content):
    try:
        parse_idx(uncompress(content))
    except ValueError as error:
        message = str(error)
    else:
        return
    assert re.fullmatch("its? .+", message)


@given(st.binary(max_size=64))
def test_arbitrary_bytes(content):
    read_or_refuse(content)
    read_or_refuse(b"\x1f\x8b" + content)
    read_or_refuse(gzip.compress(content))
    read_or_refuse(b"\0\0\x08" + content)


@given(st.data(), st.sampled_from([GOOD, gzip.compress(GOOD)]))
def test_changed_bytes(data, good):
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(content) - 1))
        content[index] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)))
    read_or_refuse(bytes(content))
    read_or_refuse(bytes(content[:end]))
    read_or_refuse(bytes(content) + bytes(content[:end]))
