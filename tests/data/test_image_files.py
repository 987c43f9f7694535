import io
import os
import struct
import sys
import warnings
import zlib

import jax
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from jaxdl.data.image_files import (
    SUFFIXES,
    decode_image,
    image_folder,
    image_list,
)
from jaxdl.data.resize import resize
from jaxdl.data.splits import random_split


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


def write_folder(root, names, **options):
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(seed=seed, size=(9 + seed, 8)), **options))


# Decoding

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


@pytest.mark.parametrize("data", [JPEG, PNG], ids=["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_cut_short_is_refused(data, share):
    with pytest.raises(
        ValueError, match=r"cannot be decoded as an image: .*(?i:truncated)"
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


# A folder for each class


def test_a_folder_is_read_in_torchvisions_order(tmp_path):
    dogs = ["dog/b.png", "dog/10.PNG", "dog/z/a.jpeg"]
    cats = ["Cat/9.png", "Cat/a/8.png", "Cat/a b.png", "Cat/a b/7.png"]
    others = ["dog/.hidden.png", "dog/.git/a.png", ".git/a.png", "loose.png"]
    write_folder(tmp_path, [*dogs, *cats, *others])
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    files = image_folder(tmp_path)
    # torchvision.datasets.folder.make_dataset
    expected = [
        (os.path.join(root, name), label)
        for label, folder in enumerate(["Cat", "dog"])
        for root, _, found in sorted(os.walk(tmp_path / folder, followlinks=True))
        for name in sorted(found)
        if name.lower().endswith(SUFFIXES) and "/." not in os.path.join(root, name)
    ]
    assert len(expected) == len(dogs + cats) == len(files)
    assert list(zip(files.paths, files.labels, strict=True)) == expected
    assert files.class_names == ("Cat", "dog")


def test_an_image_is_decoded_when_it_is_asked_for(tmp_path):
    write_folder(tmp_path, ["a/0.png", "b/1.png"])
    files = image_folder(str(tmp_path))
    (tmp_path / "b" / "1.png").write_bytes(encoded(picture(seed=7), "JPEG"))
    found = files[-1]
    np.testing.assert_array_equal(
        found["image"], by_torchvision((tmp_path / "b" / "1.png").read_bytes())
    )
    assert found["label"] == 1
    assert len(list(files)) == 2  # an index past the end is an IndexError
    assert files.resized((4, 5))[0]["image"].shape == (4, 5, 3)
    assert files.resized(4)[0]["image"].shape == (4, 4, 3)


def test_parts_of_a_folder(tmp_path):
    write_folder(tmp_path, [f"{name}/{i}.png" for name in "ab" for i in range(5)])
    files = image_folder(tmp_path).resized((3, 3))
    train, held_out = (
        files.select(rows)
        for rows in random_split(jax.random.key(0), np.arange(10), [7, 3])
    )
    assert (len(train), len(held_out)) == (7, 3)
    assert {*train.paths, *held_out.paths} == set(files.paths)
    for part in train, held_out:
        folders = [part.class_names[label] for label in part.labels]
        assert folders == [path.split(os.sep)[-2] for path in part.paths]
        assert part[0]["image"].shape == (3, 3, 3)


def test_an_image_that_is_damaged_is_named(tmp_path):
    write_folder(tmp_path, ["a/0.png", "a/1.png"])
    path = tmp_path / "a" / "1.png"
    path.write_bytes(path.read_bytes()[:100])
    files = image_folder(tmp_path)
    with pytest.raises(ValueError, match=r"a/1\.png cannot be decoded as an image: "):
        files[1]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a/1\.png"):
        files[1]


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no folders"):
        image_folder(tmp_path)
    write_folder(tmp_path, ["a/0.png"])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "readme.md").touch()
    with pytest.raises(FileNotFoundError, match=r"/b holds no images .*\.jpg, \.jpeg"):
        image_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        image_folder(tmp_path / "absent")
    with pytest.raises(NotADirectoryError, match=r"0\.png"):
        image_folder(tmp_path / "a" / "0.png")


def test_links_are_followed_but_not_in_circles(tmp_path):
    write_folder(tmp_path, ["a/0.png", "elsewhere/1.png"])
    (tmp_path / "set" / "b").mkdir(parents=True)
    (tmp_path / "set" / "a").symlink_to(tmp_path / "a")
    (tmp_path / "set" / "b" / "more").symlink_to(tmp_path / "elsewhere")
    assert image_folder(tmp_path / "set").labels == (0, 1)
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    with pytest.raises(ValueError, match=r"/loop is a link to .*/a, which is read alr"):
        image_folder(tmp_path / "set")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_that_may_not_be_read_is_refused(tmp_path):
    write_folder(tmp_path, ["a/0.png", "a/b/1.png"])
    (tmp_path / "a" / "b").chmod(0)
    with pytest.raises(PermissionError, match="/a/b"):
        image_folder(tmp_path)


@pytest.mark.parametrize("size", [0, (3, 0)])
def test_a_size_below_one_is_refused_before_anything_is_read(tmp_path, size):
    write_folder(tmp_path, ["a/0.png"])
    with pytest.raises(ValueError, match=r"size=.*0.* makes an image of"):
        image_folder(tmp_path).resized(size)


# A list of labels


def write_list(tmp_path, text):
    write_folder(tmp_path, ["x.png", "sub/y.png", "z.png"])
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


def test_a_list_gives_the_images_it_names_in_its_order(tmp_path):
    text = "label , path,note\ndog,z.png,1\ncat, sub/y.png,2\ndog,x.png,3\n"
    files = image_list(write_list(tmp_path, text))
    names = ("z.png", "sub/y.png", "x.png")
    assert files.paths == tuple(str(tmp_path / name) for name in names)
    assert (files.labels, files.class_names) == ((1, 0, 1), ("cat", "dog"))
    np.testing.assert_array_equal(
        files[1]["image"], by_torchvision((tmp_path / "sub" / "y.png").read_bytes())
    )


def test_a_list_may_lie_elsewhere(tmp_path):
    path = write_list(tmp_path, "path,label\nx.png,a\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    files = image_list(path.rename(elsewhere / "labels.csv"), tmp_path)
    assert files.paths == (str(tmp_path / "x.png"),)


@pytest.mark.parametrize(
    ("labels", "classes"), [("10 9 9", ("9", "10")), ("10 cat 9", ("10", "9", "cat"))]
)
def test_classes_are_sorted_by_value_if_all_are_integers(tmp_path, labels, classes):
    names = labels.split()
    rows = zip(("x.png", "z.png", "sub/y.png"), names, strict=True)
    text = "path,label\n" + "".join(f"{path},{name}\n" for path, name in rows)
    files = image_list(write_list(tmp_path, text))
    assert files.class_names == classes
    assert [classes[label] for label in files.labels] == names


def test_lists_may_share_their_classes(tmp_path):
    path = write_list(tmp_path, "path,label\nx.png,dog\n")
    files = image_list(path, class_names=("emu", "dog", "cat"))
    assert (files.labels, files.class_names) == ((1,), ("emu", "dog", "cat"))
    message = "line 2 has the label 'dog', not one of class_names"
    with pytest.raises(ValueError, match=message):
        image_list(path, class_names=("emu", "cat"))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("path,label\nx.png,a\ngone.png,b\n", FileNotFoundError,
         r"labels\.csv line 3 lists 'gone\.png': there is no .*/gone\.png"),
        ("path,label\nx.png,a\nsub,b\n", FileNotFoundError, "line 3 lists 'sub'"),
        ("file,label\nx.png,a\n", ValueError,
         r"\.csv line 1 names the columns \['file', 'label'\]: 'path' is missing"),
        ("path,class\nx.png,a\n", ValueError, "'label' is missing"),
        ("path,label\n", ValueError, r"labels\.csv lists no images below its header"),
        ("", ValueError, r"labels\.csv is empty"),
        ("path,label\nx.png, \n", ValueError, "the label '', not the name of a class"),
        ("path,label\nx.png\n", ValueError, "line 2 has 1 fields, not 2"),
    ],
)  # fmt: skip
def test_a_list_that_is_wrong_is_refused(tmp_path, text, kind, message):
    path = write_list(tmp_path, text)
    with pytest.raises(kind, match=message):
        image_list(path)


def test_pillow_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"decoding images needs PIL\.Image"):
        decode_image(PNG)
