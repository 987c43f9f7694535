import io
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from PIL import Image

from jaxdl.data.decoding import decode_image
from jaxdl.data.resize import resize


def picture(mode="RGB", size=(23, 17), seed=0):
    rng = np.random.default_rng(seed)
    shape = (*size[::-1], len(Image.new(mode, (1, 1)).getbands()))
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(-1) if shape[2] == 1 else pixels, mode=mode)


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def by_torchvision(data):
    """What torchvision's `ImageFolder` makes of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # palettes with opacity
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


PALETTE = picture("L").convert("P", palette=Image.Palette.ADAPTIVE)
IMAGES = {
    "grey": (picture("L"), "PNG", {}),
    "grey and opacity": (picture("LA"), "PNG", {}),
    "opacity": (picture("RGBA"), "PNG", {}),
    "bilevel": (picture("L").convert("1"), "PNG", {}),
    "palette": (picture().convert("P"), "PNG", {}),
    "palette of 16": (picture().quantize(16), "PNG", {"bits": 4}),
    "transparent colour": (picture().convert("P"), "PNG", {"transparency": 3}),
    "transparent palette": (
        picture().convert("P"), "PNG", {"transparency": bytes(range(256))},
    ),
    "transparent RGB": (picture(), "PNG", {"transparency": (1, 2, 3)}),
    "JPEG": (picture(), "JPEG", {"quality": 90}),
    "progressive JPEG": (picture(), "JPEG", {"progressive": True}),
    "grey JPEG": (picture("L"), "JPEG", {}),
    "CMYK JPEG": (picture("CMYK"), "JPEG", {}),
    "one pixel": (picture(size=(1, 1)), "PNG", {}),
    "PPM": (picture(), "PPM", {}),
    "BMP": (picture(), "BMP", {}),
    "TIFF": (picture(), "TIFF", {"compression": "tiff_lzw"}),
    "WebP": (picture("RGBA"), "WEBP", {"lossless": True}),
    "two frames": (
        picture(), "PNG", {"save_all": True, "append_images": [picture(seed=1)]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_decoded_as_torchvision_decodes_them(name):
    image, format, options = IMAGES[name]
    data = encoded(image, format, **options)
    decoded = decode_image(data)
    np.testing.assert_array_equal(decoded, by_torchvision(data))
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable


def png_of_16_bits(pixels, colour_type):
    """A PNG image that Pillow cannot write."""

    def chunk(kind, body):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks)


@pytest.mark.parametrize(
    ("colour_type", "bands"),
    [(0, 1), (2, 3), (4, 2), (6, 4)],
    ids=["grey", "RGB", "grey and opacity", "RGB and opacity"],
)
def test_of_16_bits_the_upper_8_are_kept(rng, colour_type, bands):
    pixels = rng.integers(0, 2**16, (5, 7, bands))
    colours = pixels[..., : 1 if bands < 3 else 3] >> 8
    decoded = decode_image(png_of_16_bits(pixels, colour_type))
    np.testing.assert_array_equal(decoded, np.broadcast_to(colours, (5, 7, 3)))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_of_no_known_range_are_refused(mode):
    data = encoded(picture("L").convert(mode), "TIFF")
    with pytest.raises(
        ValueError, match=rf"Pillow's mode {mode}\) have no known range"
    ):
        decode_image(data)


def test_the_orientation_that_exif_tells_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    data = encoded(picture(size=(8, 4)), "JPEG", exif=exif)
    assert decode_image(data).shape == (4, 8, 3)


@pytest.mark.parametrize("size", [8, 40, (5, 9), (17, 23)])
@pytest.mark.parametrize(
    "image", [picture(), picture("L"), picture("RGBA")], ids=lambda image: image.mode
)
def test_decoding_to_a_size_is_decoding_and_resizing(image, size):
    data = encoded(image)
    np.testing.assert_array_equal(
        decode_image(data, size), resize(decode_image(data), size)
    )


# What is no image

JPEG = encoded(picture(), "JPEG", quality=90)
PNG = encoded(picture())


def test_a_changed_bit_of_a_png_is_refused():
    """Pillow would decode many of them, to other pixels."""
    for place in range(len(PNG)):
        changed = bytearray(PNG)
        changed[place] ^= 1 << place % 8
        with pytest.raises(ValueError, match="cannot be decoded as an image"):
            decode_image(bytes(changed))


@pytest.mark.parametrize("data", [JPEG, PNG], ids=["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_cut_short_is_refused(data, share):
    with pytest.raises(
        ValueError, match=r"cannot be decoded as an image: .*(?i:truncated|cut off)"
    ):
        decode_image(data[: int(share * len(data))])


@pytest.mark.parametrize(
    "data", [b"", b"no image", encoded(picture("L"), "GIF")], ids=lambda data: data[:4]
)
def test_other_bytes_are_refused(data):
    message = f"image: {len(data)} bytes of no format among JPEG, PNG"
    with pytest.raises(ValueError, match=message):
        decode_image(data)


def test_a_decompression_bomb_is_refused(monkeypatch):
    data = encoded(Image.new("L", (50, 50)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    with pytest.raises(ValueError, match=r"2500 pixels\) exceeds limit of 2400 pixels"):
        decode_image(data)


def check_decoding(data):
    try:
        image = decode_image(data)
    except ValueError as error:
        assert str(error).startswith("cannot be decoded as an image: ")  # noqa: PT017
    else:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3


@given(data=st.binary(max_size=200))
@example(data=b"\xff\xd8\xff")
@example(data=b"\x89PNG\r\n\x1a\n")
def test_random_bytes_are_decoded_or_refused(data):
    check_decoding(data)


@given(
    data=st.sampled_from([JPEG, PNG]),
    flips=st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 7)), max_size=5),
    end=st.integers(0, 10**4),
)
def test_damaged_images_are_decoded_or_refused(data, flips, end):
    damaged = bytearray(data)
    for place, bit in flips:
        damaged[place % len(data)] ^= 1 << bit
    check_decoding(bytes(damaged[: max(end % (2 * len(data)), 20)]))


def test_pillow_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"decoding images needs PIL\.Image"):
        decode_image(PNG)
