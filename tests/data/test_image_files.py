import io
import os

import jax
import numpy as np
import pytest
from hypothesis import example, given, strategies as st
from PIL import Image

from jaxdl.data.decoding import decode_image
from jaxdl.data.image_files import SUFFIXES, image_folder, image_list
from jaxdl.data.splits import random_split


def encoded(seed):
    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    pixels = rng.integers(0, 256, (8, 9 + seed, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(root, names):
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(seed))


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
    (tmp_path / "b" / "1.png").write_bytes(encoded(7))
    found = files[-1]
    np.testing.assert_array_equal(found["image"], decode_image(encoded(7)))
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


def test_a_mask_is_no_rows(tmp_path, unchecked):
    write_folder(tmp_path, [f"{name}/{i}.png" for name in "ab" for i in range(3)])
    files = image_folder(tmp_path)
    mask = np.array(files.labels) == 1
    with pytest.raises(ValueError, match=r"dtype bool; .* np.flatnonzero"):
        files.select(mask)
    assert files.select(np.flatnonzero(mask)).labels == (1, 1, 1)
    assert len(files.select([])) == 0


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
    path.write_bytes(text.encode(errors="surrogatepass"))
    return path


def test_a_list_gives_the_images_it_names_in_its_order(tmp_path):
    text = "label , path,note\ndog,z.png,1\ncat, sub/y.png,2\ndog,x.png,3\n"
    files = image_list(write_list(tmp_path, text))
    names = ("z.png", "sub/y.png", "x.png")
    assert files.paths == tuple(str(tmp_path / name) for name in names)
    assert (files.labels, files.class_names) == ((1, 0, 1), ("cat", "dog"))
    np.testing.assert_array_equal(files[1]["image"], decode_image(encoded(1)))


def test_a_list_may_lie_elsewhere(tmp_path):
    path = write_list(tmp_path, "path,label\nx.png,a\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    files = image_list(path.rename(elsewhere / "labels.csv"), tmp_path)
    assert files.paths == (str(tmp_path / "x.png"),)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ("10 9 9", ("9", "10")),
        ("10 cat 9", ("10", "9", "cat")),
        ("2 -1 10", ("-1", "2", "10")),
    ],
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
        ("path,label,label\nx.png,a,b\n", ValueError, "'label' is there more than"),
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


@given(text=st.text(max_size=60), header=st.sampled_from(["", "path,label\n"]))
@example(text="x" * 5000 + ",a", header="path,label\n")
@example(text='x.png,a\n"', header="path,label\n")
def test_random_lists_are_read_or_refused(tmp_path_factory, text, header):
    path = write_list(tmp_path_factory.mktemp("lists"), header + text)
    try:
        files = image_list(path)
    except (ValueError, OSError) as error:
        assert str(error)  # noqa: PT017
    else:
        assert len(files) > 0
