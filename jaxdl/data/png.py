"""Decodes many small greyscale PNG images at once.

A PNG decoder called image by image spends its time in the calls. Here only zlib is
called per image; the filters are undone for the same row of all images together.

PNG specification (third edition): §5 chunks, §9 filtering, §11.2 IHDR, IDAT, IEND.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_LENGTH = 33  # the signature and the IHDR chunk, which must come first

Lines = UInt8[np.ndarray, "images width"]


def decode_greyscale_pngs(
    images: Sequence[bytes],
) -> UInt8[np.ndarray, "n height width"]:
    """Pixels of 8-bit greyscale, non-interlaced PNG images that share one size.

    Raises:
        ValueError: there is no image, or one (named by its index) is damaged, is of
            another kind, or differs in size from the first. Checksums are verified.
    """
    if not images:
        raise ValueError("there are no images to decode")
    header, height, width = images[0][:HEADER_LENGTH], 0, 0
    scanlines = []
    for index, png in enumerate(images):
        try:
            if index == 0:
                height, width = _size(png)
            elif png[:HEADER_LENGTH] != header and _size(png) != (height, width):
                raise ValueError(f"size {_size(png)} differs from {(height, width)}")
            scanlines.append(_scanlines(png, height * (1 + width)))
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
    lines = np.frombuffer(b"".join(scanlines), np.uint8)
    return _unfilter(lines.reshape(len(images), height, 1 + width))


def check_png(png: bytes) -> None:
    """Raises ValueError for a chunk whose checksum does not fit, or that is cut off."""
    kind, end = b"", len(SIGNATURE)
    while kind != b"IEND":
        kind, end = _check_chunk(png, end)


def _size(png: bytes) -> tuple[int, int]:
    """Height and width of an image, known to be of the kind that is decoded here."""
    if not png.startswith(SIGNATURE):
        raise ValueError("it does not start with the PNG signature")
    kind, end = _check_chunk(png, len(SIGNATURE))
    if (kind, end) != (b"IHDR", HEADER_LENGTH):
        raise ValueError(f"its first chunk is {kind!r}, not a 13-byte IHDR")
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    depth, colour, compression, filtering, interlace = png[24:29]
    if (depth, colour) != (8, 0):
        raise ValueError(f"bit depth {depth}, colour type {colour}: not 8-bit grey")
    if (compression, filtering, interlace) != (0, 0, 0):
        raise ValueError("it is interlaced or uses an unknown compression or filter")
    if not (width and height):
        raise ValueError(f"height {height}, width {width}: neither may be 0")
    return height, width


def _check_chunk(png: bytes, start: int) -> tuple[bytes, int]:
    """Type and end of the chunk at `start`, once its checksum is verified."""
    end = start + 12 + int.from_bytes(png[start : start + 4], "big")
    kind = png[start + 4 : start + 8]
    if len(kind) < 4 or end > len(png):
        raise ValueError(f"it is cut off after {len(png)} bytes")
    checksum = int.from_bytes(png[end - 4 : end], "big")
    if zlib.crc32(png[start + 4 : end - 4]) != checksum:
        raise ValueError(f"chunk {kind!r} fails its checksum")
    return kind, end


def _scanlines(png: bytes, length: int) -> bytes:
    """The `length` bytes of filtered rows that the IDAT chunks hold together."""
    kind, end = b"IHDR", HEADER_LENGTH
    compressed = []
    while kind != b"IEND":
        start = end
        kind, end = _check_chunk(png, start)
        if kind == b"IDAT":
            compressed.append(png[start + 8 : end - 4])
        elif kind != b"IEND" and kind[:1].isupper():  # a chunk that may not be skipped
            raise ValueError(f"unexpected chunk {kind!r}")
    if end != len(png):
        raise ValueError(f"{len(png) - end} bytes follow its end")
    try:
        scanlines = zlib.decompress(b"".join(compressed))
    except zlib.error as error:
        raise ValueError(f"its pixels cannot be decompressed ({error})") from error
    if len(scanlines) != length:
        raise ValueError(f"it holds {len(scanlines)} bytes of pixels, not {length}")
    return scanlines


def _unfilter(
    lines: UInt8[np.ndarray, "n height width_and_filter"],
) -> UInt8[np.ndarray, "n height width"]:
    """Undoes the filter that the first byte of each line names."""
    filters, pixels = lines[..., 0], lines[..., 1:].copy()
    if filters.max() > 4:
        index = int(np.argmax(filters.max(axis=1) > 4))
        raise ValueError(f"image {index}: filter type {filters[index].max()}, not 0..4")
    above = np.zeros_like(pixels[:, 0])
    for y in range(pixels.shape[1]):
        line = pixels[:, y]
        for filter_type, undo in enumerate((_sub, _up, _average, _paeth), start=1):
            (chosen,) = np.nonzero(filters[:, y] == filter_type)
            if chosen.size:
                line[chosen] = undo(line[chosen], above[chosen])
        above = line
    return pixels


def _sub(line: Lines, above: Lines) -> Lines:
    return np.cumsum(line, axis=1, dtype=np.uint8)


def _up(line: Lines, above: Lines) -> Lines:
    return line + above


def _average(line: Lines, above: Lines) -> Lines:
    pixels = np.zeros_like(line)
    left = pixels[:, 0]
    for x in range(line.shape[1]):
        mean = (left.astype(np.uint16) + above[:, x]) // 2
        left = line[:, x] + mean.astype(np.uint8)
        pixels[:, x] = left
    return pixels


def _paeth(line: Lines, above: Lines) -> Lines:
    """Adds the one of left, above and above-left nearest to left + above - above-left.

    Ties go to the first in that order (§9.4).
    """
    pixels = np.zeros_like(line)
    wide = above.astype(np.int16)
    left = np.zeros_like(wide[:, 0])
    corner = left
    for x in range(line.shape[1]):
        up = wide[:, x]
        from_left, from_up = abs(up - corner), abs(left - corner)
        from_corner = abs(left + up - 2 * corner)
        nearest = np.where(from_up <= from_corner, up, corner)
        use_left = (from_left <= from_up) & (from_left <= from_corner)
        nearest = np.where(use_left, left, nearest)
        pixels[:, x] = line[:, x] + nearest.astype(np.uint8)
        left, corner = pixels[:, x].astype(np.int16), up
    return pixels
