import io
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxdl.data.png import decode_greyscale_pngs

SIZES = [(1, 1), (1, 9), (9, 1), (7, 5), (13, 31)]


def chunk(kind, body=b""):
    checksum = zlib.crc32(kind + body)
    return len(body).to_bytes(4, "big") + kind + body + checksum.to_bytes(4, "big")


def header(height, width, rest=(8, 0, 0, 0, 0)):
    return width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes(rest)


def png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def filtered(pixels, filters):
    """Rows as the PNG specification filters them, §9.2, each behind its filter type."""
    padded = np.pad(pixels.astype(int), ((1, 0), (1, 0)))
    left, above, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    estimate = left + above - corner
    candidates = np.stack([left, above, corner])
    nearest = np.abs(candidates - estimate).argmin(axis=0)
    paeth = np.take_along_axis(candidates, nearest[None], axis=0)[0]
    predictions = np.stack([0 * left, left, above, (left + above) // 2, paeth])
    prediction = predictions[filters, np.arange(len(pixels))]
    rows = (pixels - prediction).astype(np.uint8)
    return np.column_stack([np.array(filters, np.uint8), rows]).tobytes()


def encode(pixels, filters, idat_length=None, extra=()):
    data = zlib.compress(filtered(pixels, filters))
    step = idat_length or len(data)
    idat = [chunk(b"IDAT", data[i : i + step]) for i in range(0, len(data), step)]
    return png(chunk(b"IHDR", header(*pixels.shape)), *extra, *idat, chunk(b"IEND"))


def pil_decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


def pil_encode(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", **options)
    return buffer.getvalue()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def draw(rng, *shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("filter_type", range(5))
def test_each_filter_is_undone(rng, filter_type, size):
    pixels = draw(rng, *size)
    data = encode(pixels, [filter_type] * size[0])
    np.testing.assert_array_equal(pil_decode(data), pixels)
    np.testing.assert_array_equal(decode_greyscale_pngs([data]), pixels[None])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_filters_may_differ_by_row_and_by_image(rng, size):
    pixels = draw(rng, 40, *size)
    data = [encode(image, rng.integers(0, 5, size[0])) for image in pixels]
    np.testing.assert_array_equal(decode_greyscale_pngs(data), pixels)


# Equal neighbours are where ties between Paeth's three candidates occur.
def test_ties_in_the_paeth_filter_are_broken_in_order(rng):
    pixels = rng.integers(0, 4, (50, 6, 6), dtype=np.uint8)
    data = [encode(image, [4] * 6) for image in pixels]
    np.testing.assert_array_equal(np.stack([pil_decode(d) for d in data]), pixels)
    np.testing.assert_array_equal(decode_greyscale_pngs(data), pixels)


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"compress_level": 0}])
def test_images_written_by_pillow(rng, options):
    smooth = np.cumsum(rng.integers(0, 3, (20, 17, 11), dtype=np.uint8), axis=2)
    pixels = np.concatenate([draw(rng, 20, 17, 11), smooth.astype(np.uint8)])
    data = [pil_encode(image, **options) for image in pixels]
    np.testing.assert_array_equal(decode_greyscale_pngs(data), pixels)


@pytest.mark.parametrize("idat_length", [1, 7, 100])
def test_pixels_in_several_chunks(rng, idat_length):
    pixels = draw(rng, 9, 11)
    data = encode(pixels, [3] * 9, idat_length)
    np.testing.assert_array_equal(decode_greyscale_pngs([data]), pixels[None])


def test_optional_chunks_are_skipped(rng):
    pixels = draw(rng, 4, 5)
    data = encode(pixels, [1] * 4, extra=[chunk(b"tEXt", b"Title\0circle")])
    np.testing.assert_array_equal(decode_greyscale_pngs([data]), pixels[None])


GOOD = encode(np.arange(12, dtype=np.uint8).reshape(3, 4), [0, 1, 4])
IHDR, IEND = chunk(b"IHDR", header(3, 4)), chunk(b"IEND")
IDAT = chunk(b"IDAT", zlib.compress(bytes(15)))


def with_byte_changed(position):
    changed = bytearray(GOOD)
    changed[position] ^= 0x10
    return bytes(changed)


def with_header(*rest, height=3, width=4):
    return png(chunk(b"IHDR", header(height, width, rest)), IDAT, IEND)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "signature"),
        (b"GIF89a" + GOOD[6:], "signature"),
        (GOOD[:20], "cut off after 20 bytes"),
        (GOOD[:50], "cut off after 50 bytes"),
        (GOOD[:-12], "cut off"),
        (GOOD + b"\0", "1 bytes follow its end"),
        (with_byte_changed(18), "b'IHDR' fails its checksum"),
        (with_byte_changed(45), "b'IDAT' fails its checksum"),
        (with_byte_changed(-1), "b'IEND' fails its checksum"),
        (png(IDAT, IHDR, IEND), "first chunk is b'IDAT'"),
        (png(IHDR, chunk(b"PLTE", bytes(3)), IDAT, IEND), "unexpected chunk b'PLTE'"),
        (png(IHDR, IEND), "cannot be decompressed"),
        (png(IHDR, chunk(b"IDAT", b"no zlib"), IEND), "cannot be decompressed"),
        (png(IHDR, chunk(b"IDAT", zlib.compress(bytes(14))), IEND), "holds 14 bytes"),
        (png(IHDR, chunk(b"IDAT", zlib.compress(bytes(16))), IEND), "holds 16 bytes"),
        (png(IHDR, chunk(b"IDAT", zlib.compress(b"\5" * 15)), IEND), "filter type 5"),
        (with_header(16, 0, 0, 0, 0), "bit depth 16, colour type 0"),
        (with_header(8, 2, 0, 0, 0), "bit depth 8, colour type 2"),
        (with_header(8, 0, 0, 0, 1), "interlaced"),
        (with_header(8, 0, 1, 0, 0), "unknown compression"),
        (with_header(8, 0, 0, 0, 0, width=0), "width 0"),
        (with_header(8, 0, 0, 0, 0, width=5), r"size \(3, 5\) differs from \(3, 4\)"),
    ],
)
def test_a_bad_image_is_refused_by_its_index(bad, message):
    with pytest.raises(ValueError, match=f"image 1: .*{message}"):
        decode_greyscale_pngs([GOOD, bad, GOOD])


@pytest.mark.parametrize("mode", ["1", "I;16", "LA", "P", "RGB", "RGBA"])
def test_other_kinds_of_pixel_are_refused(mode):
    buffer = io.BytesIO()
    Image.new(mode, (4, 3)).save(buffer, format="PNG")
    with pytest.raises(ValueError, match=r"image 0: bit depth .* not 8-bit grey"):
        decode_greyscale_pngs([buffer.getvalue()])


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="no images"):
        decode_greyscale_pngs([])
