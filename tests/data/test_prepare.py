"""Small sets prepared from files of their own, and the real ones whole."""

import fcntl
import functools
import gzip
import hashlib
import http.server
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo
from tensorflow_datasets.core.hashing import Hasher

from jaxdl.data import __main__ as command_line, idx_sources, load_images
from jaxdl.data.idx_sources import CONTENT_DIGESTS, FILES
from jaxdl.data.prepare import prepare_images
from jaxdl.data.tfds_images import PREPARABLE, load_prepared

VERSION = "3.0.1"
SIZES = {"train": 23, "t10k": 11}
CODES = {3: b"\0\0\x08\x03", 1: b"\0\0\x08\x01"}


def to_idx(array):
    header = CODES[array.ndim] + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write_files(directory, name, seed=0, sizes=SIZES):
    """Writes four files as compressed idx; returns their arrays and URL infos."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    arrays, url_infos = {}, {}
    for file in FILES:
        n = sizes[file.split("-")[0]]
        images = rng.integers(0, 256, (n, 28, 28))
        arrays[file] = images if "images" in file else rng.integers(0, 10, n)
        compressed = gzip.compress(to_idx(arrays[file]), mtime=0)
        (directory / f"{file}.gz").write_bytes(compressed)
        digest = hashlib.sha256(compressed).hexdigest()
        url = f"http://127.0.0.1:9/{name}/{file}.gz"
        size = tfds.core.utils.Size(len(compressed))
        url_infos[url] = UrlInfo(size, digest, f"{file}.gz")
    return arrays, url_infos


def official(name):
    return tfds.builder_cls(name)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files of small sets, which are known in the place of the real ones."""
    monkeypatch.setattr(idx_sources, "CONTENT_DIGESTS", {})
    monkeypatch.setattr(idx_sources, "DEBIAN_DIRECTORIES", {})
    arrays = {}
    for seed, name in enumerate(PREPARABLE):
        arrays[name], url_infos = write_files(tmp_path / "files" / name, name, seed)
        monkeypatch.setattr(official(name), "url_infos", url_infos)
    return tmp_path / "files", arrays


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


def in_stored_order(split, array):
    """Where tensorflow-datasets puts the examples: by the hash of their index."""
    return array[sorted(range(len(array)), key=Hasher(split).hash_key)]


# What is prepared


@pytest.mark.parametrize("name", PREPARABLE)
def test_the_images_and_labels_are_those_of_the_files(files, data_dir, name):
    directory, arrays = files
    prepare_images(name, data_dir, directory / name)
    data = load_images(name, data_dir)
    for split, prefix, part in [
        ("train", "train", data.train),
        ("test", "t10k", data.test),
    ]:
        images = in_stored_order(split, arrays[name][f"{prefix}-images-idx3-ubyte"])
        labels = in_stored_order(split, arrays[name][f"{prefix}-labels-idx1-ubyte"])
        np.testing.assert_array_equal(255 * part["image"][..., 0], images)
        np.testing.assert_array_equal(part["label"], labels)


@pytest.mark.parametrize("name", PREPARABLE)
def test_the_description_is_the_official_one(files, data_dir, name):
    folder = prepare_images(name, data_dir, files[0] / name)
    assert folder == data_dir / name / VERSION
    info = tfds.builder_from_directory(folder).info
    expected = official(name)(data_dir=data_dir / "absent").info
    assert (info.name, info.version) == (name, official(name).VERSION)
    assert info.features.to_json() == expected.features.to_json()
    assert info.features["label"].names == expected.features["label"].names
    assert info.supervised_keys == expected.supervised_keys
    assert (info.citation, info.homepage) == (expected.citation, expected.homepage)
    assert info.description == expected.description
    assert info.splits["train"].num_examples == SIZES["train"]
    assert info.splits["test"].num_examples == SIZES["t10k"]
    assert info.file_format.value == "array_record"


def test_tensorflow_datasets_reads_it(files, data_dir):
    directory, _ = files
    prepare_images("mnist", data_dir, directory / "mnist")
    data = load_images("mnist", data_dir)
    for split, part in [("train", data.train), ("test", data.test)]:
        source = tfds.data_source("mnist", split=split, data_dir=data_dir)
        examples = source.__getitems__(range(len(source)))
        np.testing.assert_array_equal(
            part["image"], np.stack([x["image"] for x in examples]) / np.float32(255)
        )
        assert part["label"].tolist() == [x["label"] for x in examples]


def test_nothing_else_is_left(files, data_dir):
    folder = prepare_images("mnist", data_dir, files[0] / "mnist")
    assert os.listdir(folder.parent) == [VERSION]
    assert {path.name for path in data_dir.iterdir()} == {"mnist", ".mnist.lock"}
    assert {path.name for path in folder.iterdir()} == {
        "dataset_info.json",
        "features.json",
        "mnist-train.array_record-00000-of-00001",
        "mnist-test.array_record-00000-of-00001",
    }


def test_progress_is_shown_on_standard_error_only(files, data_dir, capsys):
    prepare_images("mnist", data_dir, files[0] / "mnist")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search("mnist train .*100%", shown.err)
    assert re.search("mnist test .*100%", shown.err)


def test_a_set_that_is_there_is_read_through_and_not_written(files, data_dir):
    folder = prepare_images("mnist", data_dir, files[0] / "mnist")
    (data_dir / ".mnist.lock").unlink()
    before = {path: path.stat() for path in folder.iterdir()}
    assert prepare_images("mnist", data_dir) == folder
    assert {path: path.stat() for path in folder.iterdir()} == before
    assert os.listdir(data_dir) == ["mnist"]
    shard = folder / "mnist-train.array_record-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"damaged in {shard}.*delete its folder and"):
        prepare_images("mnist", data_dir)


def test_the_environment_names_the_directory(files, data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    folder = prepare_images("mnist", manual_dir=files[0] / "mnist")
    assert folder.parent.parent == data_dir


# Where the files come from


def test_files_that_are_compressed_otherwise_or_not_at_all(files, data_dir):
    directory = files[0] / "mnist"
    for file in FILES[:3]:  # mixed with one that is
        path = directory / f"{file}.gz"
        (directory / file).write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    again = gzip.compress(gzip.decompress((directory / f"{FILES[3]}.gz").read_bytes()))
    (directory / f"{FILES[3]}.gz").write_bytes(again[:4] + b"time" + again[8:])
    digests = [
        hashlib.sha256(to_idx(files[1]["mnist"][file])).hexdigest() for file in FILES
    ]
    idx_sources.CONTENT_DIGESTS["mnist"] = digests
    prepare_images("mnist", data_dir, directory)
    assert len(load_images("mnist", data_dir).train["label"]) == SIZES["train"]


def test_of_a_file_in_both_forms_the_compressed_one_is_read(files, data_dir):
    directory = files[0] / "mnist"
    for file in FILES:
        (directory / file).write_bytes(b"")
    prepare_images("mnist", data_dir, directory)
    assert len(load_images("mnist", data_dir).train["label"]) == SIZES["train"]


def test_files_that_debian_installed(files, data_dir, monkeypatch):
    directory = files[0] / "fashion_mnist"
    monkeypatch.setattr(idx_sources, "DEBIAN_DIRECTORIES", {"fashion_mnist": directory})
    prepare_images("fashion_mnist", data_dir)
    with pytest.raises(OSError, match="cannot be downloaded"):
        prepare_images("mnist", data_dir)


def test_a_directory_that_is_named_precedes_debians(files, data_dir, monkeypatch):
    directories = {"fashion_mnist": files[0] / "fashion_mnist"}
    monkeypatch.setattr(idx_sources, "DEBIAN_DIRECTORIES", directories)
    with pytest.raises(ValueError, match=r"is not the .* of 'fashion_mnist', but that"):
        prepare_images("fashion_mnist", data_dir, files[0] / "mnist")


def test_debians_directory_is_where_the_package_has_it():
    directory = idx_sources.DEBIAN_DIRECTORIES["fashion_mnist"]
    assert directory == Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def serve():
    """Serves a directory over HTTP; the first lines of requests are kept."""
    servers = []

    def start(directory):
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, pattern, *args):
                requests.append(self.requestline)

        requests = []
        handler = functools.partial(Handler, directory=directory)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        return f"http://127.0.0.1:{server.server_port}", requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def move_urls(monkeypatch, name, origin):
    """Lets the set be downloaded from another place."""
    moved = {
        re.sub(r"http://[^/]*", origin, url): info
        for url, info in official(name).url_infos.items()
    }
    monkeypatch.setattr(official(name), "url_infos", moved)


def test_files_are_downloaded(files, data_dir, serve, monkeypatch):
    origin, requests = serve(files[0])
    move_urls(monkeypatch, "mnist", origin)
    folder = prepare_images("mnist", data_dir)
    assert len(load_images("mnist", data_dir).train["label"]) == SIZES["train"]
    expected = [f"GET /mnist/{file}.gz HTTP/1.1" for file in FILES]
    assert sorted(requests[1:]) == sorted(expected)
    size = sum(path.stat().st_size for path in (files[0] / "mnist").iterdir())
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info["downloadSize"] == str(size)
    assert os.listdir(folder.parent) == [VERSION]


def test_a_downloaded_file_with_another_checksum(files, data_dir, serve, monkeypatch):
    origin, _ = serve(files[0])
    move_urls(monkeypatch, "mnist", origin)
    path = files[0] / "mnist" / f"{FILES[1]}.gz"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(gzip.compress(b"another"))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    message = f"'mnist' was downloaded damaged.*{path.name}.*{expected}.*{found}"
    with pytest.raises(ValueError, match=message) as caught:
        prepare_images("mnist", data_dir)
    assert "\n" not in str(caught.value)
    assert os.listdir(data_dir / "mnist") == []


@pytest.mark.parametrize("absent", FILES[::3])
def test_a_file_that_the_server_lacks(files, data_dir, serve, monkeypatch, absent):
    origin, _ = serve(files[0])
    move_urls(monkeypatch, "mnist", origin)
    (files[0] / "mnist" / f"{absent}.gz").unlink()
    with pytest.raises(OSError, match=r"'mnist' cannot be downloaded: fetch .*404"):
        prepare_images("mnist", data_dir)


def test_without_a_network_it_says_at_once_what_to_fetch(files, data_dir, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        origin = f"http://127.0.0.1:{unused.getsockname()[1]}"
        move_urls(monkeypatch, "mnist", origin)
        start = time.monotonic()
        with pytest.raises(OSError, match="'mnist' cannot be downloaded") as caught:
            prepare_images("mnist", data_dir)
    assert time.monotonic() - start < 5
    message = str(caught.value)
    assert "\n" not in message
    assert f" from {origin}/mnist/ and name their directory by --manual-dir" in message
    assert all(f"{file}.gz" in message for file in FILES)
    assert type(caught.value) is OSError
    assert os.listdir(data_dir / "mnist") == []


# Files that are not the set's


def expect_refusal(error, message, data_dir, name, manual_dir):
    with pytest.raises(error, match=message) as caught:
        prepare_images(name, data_dir, manual_dir)
    assert "\n" not in str(caught.value)
    assert os.listdir(data_dir / name) == []


def test_the_files_of_another_set(files, data_dir):
    directory, _ = files
    path = directory / "mnist" / f"{FILES[2]}.gz"
    content = (directory / "kmnist" / path.name).read_bytes()
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    expected = official("mnist").url_infos[f"http://127.0.0.1:9/mnist/{path.name}"]
    message = (
        f"{path} is not the {FILES[2]} of 'mnist', but that of 'kmnist': {FILES[2]}; "
        f"the SHA-256 of its compressed file is {found}, expected {expected.checksum}"
    )
    expect_refusal(ValueError, re.escape(message), data_dir, "mnist", path.parent)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(FILES, 2)))
def test_files_of_one_set_under_each_others_names(files, data_dir, one, other):
    directory = files[0] / "mnist"
    paths = [directory / f"{file}.gz" for file in (one, other)]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    message = f"{one}.gz is not the {one} of 'mnist', but that of 'mnist': {other}"
    expect_refusal(ValueError, message, data_dir, "mnist", directory)


def test_the_real_set_is_known_by_the_content_of_its_files(tmp_path):
    path = tmp_path / FILES[1]
    path.write_bytes(gzip.compress(to_idx(np.zeros(5))))
    found = hashlib.sha256(to_idx(np.zeros(5))).hexdigest()
    expected = CONTENT_DIGESTS["mnist"][1]
    message = rf"of 'mnist'; the SHA-256 of its content is {found}, expected {expected}"
    with pytest.raises(ValueError, match=message):
        idx_sources.read_idx_file(path, "mnist", FILES[1], idx_sources.known_digests())


def test_the_real_kmnist_is_known_by_its_compressed_files(tmp_path):
    path = tmp_path / FILES[1]
    path.write_bytes(gzip.compress(to_idx(np.zeros(5))))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    message = rf"compressed file is {found}, expected e38f9ebcd0f3ebcdec7fc8eabdcdaef93"
    with pytest.raises(ValueError, match=message):
        idx_sources.read_idx_file(path, "kmnist", FILES[1], idx_sources.known_digests())


def test_no_two_known_files_are_the_same():
    known = idx_sources.known_digests()
    assert len(known) == 3 * 4 + 2 * 4
    assert set(known.values()) == set(itertools.product(PREPARABLE, FILES))


def test_damaged_files(files, data_dir):
    path = files[0] / "mnist" / f"{FILES[0]}.gz"
    good = gzip.decompress(path.read_bytes())
    for content, message in [
        (path.read_bytes()[:-9], "its .* bytes cannot be decompressed"),
        (gzip.compress(good[:-1]), "it is cut short: 18047 bytes, not the 18048"),
        (gzip.compress(good[1:]), "it starts with the bytes '00 08 03 00'"),
        (b"<html>", "it starts with the bytes '3c 68 74 6d'"),
    ]:
        path.write_bytes(content)
        expect_refusal(ValueError, f"{path}: {message}", data_dir, "mnist", path.parent)


def test_missing_files(files, data_dir):
    directory = files[0] / "mnist"
    (directory / f"{FILES[0]}.gz").unlink()
    (directory / f"{FILES[3]}.gz").unlink()
    message = f"of which {directory} has no {FILES[0]}.gz, {FILES[3]}.gz"
    expect_refusal(FileNotFoundError, message, data_dir, "mnist", directory)
    absent = directory / "absent"
    message = f"of which {absent} has no {FILES[0]}.gz, "
    expect_refusal(FileNotFoundError, message, data_dir, "mnist", absent)


@pytest.mark.parametrize("name", ["digits", "mnst", "cifar10", ""])
def test_a_set_that_cannot_be_prepared(tmp_path, name):
    message = f"'{name}' cannot be prepared; those that can are mnist, fashion_mnist, k"
    with pytest.raises(ValueError, match=message):
        prepare_images(name, tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "module", ["PIL.Image", "rich.progress", "tensorflow_datasets"]
)
def test_a_package_that_is_not_installed(files, data_dir, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{module}.*pip install -e .*experiments"):
        prepare_images("mnist", data_dir, files[0] / "mnist")


# Interrupted, and two at once

SCRIPT = """
import os, re, sys
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo
from jaxdl.data import idx_sources
from jaxdl.data.__main__ import main

idx_sources.CONTENT_DIGESTS = {{}}
for name in ("fashion_mnist", "kmnist"):  # which inherit from mnist
    tfds.builder_cls(name).url_infos = {{}}
tfds.builder_cls("mnist").url_infos = {{
    url: UrlInfo(tfds.core.utils.Size(size), checksum, filename)
    for url, (size, checksum, filename) in {known}.items()
}}

def send_signal(event, arguments):
    if {signal} and event == {event!r} and re.search({pattern!r}, str(arguments)):
        os.kill(os.getpid(), {signal})

sys.addaudithook(send_signal)  # told of what Python does, before it is done
main()
"""


def start(files, data_dir, signal=0, event="", pattern="", setup=""):
    """A process that prepares mnist, and sends itself a signal at an event."""
    known = {
        url: (int(info.size), info.checksum, info.filename)
        for url, info in official("mnist").url_infos.items()
    }
    script = SCRIPT.format(known=known, signal=signal, event=event, pattern=pattern)
    arguments = f"prepare mnist --data-dir {data_dir} --manual-dir {files[0]}/mnist"
    return subprocess.Popen(
        [sys.executable, "-c", setup + script, *arguments.split()],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


STAGES = {
    "encoding images": ("import", r"^\('PIL.PngImagePlugin'"),
    "writing": ("open", r"/incomplete\.\w+_3.0.1/dataset_info.json', 'w'"),
    "written": ("open", r"incomplete.jaxdl/mnist/3.0.1/dataset_info.json'"),
    "putting in place": ("os.rename", "/mnist/3.0.1', .*/data/mnist/3.0.1'"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_it_is_killed(files, data_dir, capsys, stage):
    process = start(files, data_dir, signal.SIGKILL, *STAGES[stage])
    assert process.communicate()[0] == ""
    assert process.returncode == -signal.SIGKILL
    assert os.listdir(data_dir / "mnist") == ["incomplete.jaxdl"]

    command_line.print_sets(data_dir)
    listed = capsys.readouterr().out
    assert "mnist          half written (incomplete.jaxdl): python -m jaxdl" in listed
    with pytest.raises(FileNotFoundError, match="only half written"):
        load_images("mnist", data_dir)
    assert not tfds.builder("mnist", data_dir=data_dir).is_prepared()

    folder = prepare_images("mnist", data_dir, files[0] / "mnist")
    assert os.listdir(folder.parent) == [VERSION]
    assert len(load_images("mnist", data_dir).train["label"]) == SIZES["train"]


def test_it_is_interrupted(files, data_dir):
    process = start(files, data_dir, signal.SIGINT, *STAGES["writing"])
    output, errors = process.communicate()
    assert (process.returncode, output) == (130, "")
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    assert os.listdir(data_dir / "mnist") == []


def test_two_prepare_it_at_once(files, data_dir):
    data_dir.mkdir()
    with (data_dir / ".mnist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        processes = [start(files, data_dir) for _ in range(2)]
        waiting = f"waiting for the process that holds {lock.name}\n"
        for process in processes:
            assert process.stderr.readline() == waiting
        assert os.listdir(data_dir / "mnist") == []
    results = [process.communicate() for process in processes]
    prepared = f"prepared in {data_dir / 'mnist' / VERSION}\n"
    assert [output for output, _ in results] == [prepared] * 2
    assert sum("mnist train" in errors for _, errors in results) == 1
    assert [process.returncode for process in processes] == [0, 0]
    assert os.listdir(data_dir / "mnist") == [VERSION]
    assert len(load_images("mnist", data_dir).train["label"]) == SIZES["train"]


def test_the_disk_is_full(files, data_dir):
    """A limit to the size of files fails as a full disk does, in array_record."""

    limit = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
    )
    process = start(files, data_dir, setup=limit)
    output, errors = process.communicate()
    assert (process.returncode, output) == (2, "")
    folder = data_dir / "mnist" / VERSION
    assert errors.splitlines()[-1].startswith(f"error: {folder} cannot be written (")
    assert "File too large" in errors
    assert "Traceback" not in errors
    assert os.listdir(folder.parent) == []


def test_what_others_left_stays(files, data_dir):
    theirs = data_dir / "mnist" / "incomplete.ABCDEF_3.0.1"
    theirs.mkdir(parents=True)
    prepare_images("mnist", data_dir, files[0] / "mnist")
    assert sorted(os.listdir(theirs.parent)) == [VERSION, theirs.name]


def test_nothing_that_was_left_half_written_is_taken_up(files, data_dir):
    left = data_dir / "mnist" / "incomplete.jaxdl" / "mnist" / VERSION
    left.mkdir(parents=True)
    (left / "dataset_info.json").write_text("{}")
    folder = prepare_images("mnist", data_dir, files[0] / "mnist")
    assert len(load_images("mnist", data_dir).train["label"]) == SIZES["train"]
    assert os.listdir(folder.parent) == [VERSION]


def test_an_unfinished_version_is_not_overwritten(files, data_dir):
    unfinished = data_dir / "mnist" / VERSION
    unfinished.mkdir(parents=True)
    message = rf"half written in {unfinished.parent} \({VERSION}\): delete that and run"
    with pytest.raises(FileNotFoundError, match=message):
        prepare_images("mnist", data_dir, files[0] / "mnist")
    assert os.listdir(unfinished) == []


# The command line


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["data", *map(str, arguments)])
    status = 0
    try:
        command_line.main()
    except SystemExit as error:
        status = error.code
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_the_command_prepares(files, data_dir, monkeypatch, capsys):
    directories = ["--data-dir", data_dir, "--manual-dir", files[0] / "kmnist"]
    status, output, _ = run(monkeypatch, capsys, "prepare", "kmnist", *directories)
    assert status == 0
    assert output == f"prepared in {data_dir / 'kmnist' / VERSION}\n"
    assert len(load_images("kmnist", data_dir).train["label"]) == SIZES["train"]


def test_mistakes_are_one_line(files, data_dir, monkeypatch, capsys):
    directories = ["--data-dir", data_dir, "--manual-dir", files[0]]
    for arguments, message in [
        (["mnst"], "error: 'mnst' cannot be prepared; "),
        (["mnist", *directories], "error: 'mnist' is made of four files, of which "),
    ]:
        status, output, errors = run(monkeypatch, capsys, "prepare", *arguments)
        assert (status, output) == (2, "")
        assert errors.startswith(message)
        assert errors.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["prepare"], ["prepare", "mnist", "--x"]])
def test_incomplete_commands(monkeypatch, capsys, arguments):
    assert run(monkeypatch, capsys, *arguments)[0] == 2


def test_the_list(files, data_dir, monkeypatch, capsys):
    command = "python -m jaxdl.data prepare"
    bundled = "digits, breast_cancer, diabetes_progression, iris, wine"
    (data_dir / "fashion_mnist" / "incomplete.ABCDEF_3.0.1").mkdir(parents=True)
    prepare_images("mnist", data_dir, files[0] / "mnist")
    (data_dir / "mnist").rename(data_dir / "zoo")
    prepare_images("kmnist", data_dir, files[0] / "kmnist")
    capsys.readouterr()
    assert run(monkeypatch, capsys, "list", "--data-dir", data_dir) == (
        0,
        f"In {data_dir}:\n"
        f"  mnist          not here: {command} mnist\n"
        f"  fashion_mnist  half written (incomplete.ABCDEF_3.0.1): "
        f"{command} fashion_mnist\n"
        f"  kmnist         prepared, version {VERSION}\n"
        f"  zoo            prepared, version {VERSION}\n"
        f"With scikit-learn: {bundled}\n",
        "",
    )


def test_the_list_of_a_directory_that_is_not_there(data_dir):
    command = [sys.executable, "-m", "jaxdl.data", "list", "--data-dir", data_dir]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert listed.stdout.splitlines()[:2] == [
        f"In {data_dir}:",
        "  mnist          not here: python -m jaxdl.data prepare mnist",
    ]
    assert (listed.stderr, data_dir.exists()) == ("", False)


# The real sets


def in_original_order(split, array):
    order = sorted(range(len(array)), key=Hasher(split).hash_key)
    return array[np.argsort(order)]


def rebuild_files(directory, data):
    """Writes the published files again, two of them not compressed."""
    directory.mkdir()
    for split, prefix, part in [("train", "train", data[0]), ("test", "t10k", data[1])]:
        images = to_idx(in_original_order(split, part["image"][..., 0]))
        labels = to_idx(in_original_order(split, part["label"]))
        compressed = gzip.compress(images, compresslevel=1)
        (directory / f"{prefix}-images-idx3-ubyte.gz").write_bytes(compressed)
        (directory / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTENT_DIGESTS)
def test_a_prepared_set_is_the_official_one(tfds_dir, data_dir, tmp_path, name):
    expected = load_prepared(name, tfds_dir)
    rebuild_files(tmp_path / "files", expected)
    folder = prepare_images(name, data_dir, tmp_path / "files")
    prepared = load_prepared(name, data_dir)
    for ours, theirs in zip(prepared[:2], expected[:2], strict=True):
        np.testing.assert_array_equal(ours["image"], theirs["image"])
        np.testing.assert_array_equal(ours["label"], theirs["label"])
    assert prepared[2] == expected[2]
    compare_descriptions(folder, tfds_dir / name / VERSION)


def compare_descriptions(folder, official_folder):
    for path in official_folder.iterdir():
        if path.name == "features.json" or path.suffix == ".txt":
            assert (folder / path.name).read_bytes() == path.read_bytes()
    infos = [
        json.loads((path / "dataset_info.json").read_text())
        for path in (folder, official_folder)
    ]
    for info in infos:
        for key in ["moduleName", "downloadSize"]:  # of the code; of what was fetched
            info.pop(key, None)
        for split in info["splits"]:
            split.pop("numBytes")  # Pillow and TensorFlow compress alike, not the same
    assert infos[0] == infos[1]
    names = [sorted(os.listdir(path)) for path in (folder, official_folder)]
    assert names[0] == names[1]


@pytest.mark.slow
def test_the_real_set_is_killed_at_any_time(tfds_dir, data_dir, tmp_path):
    rebuild_files(tmp_path / "files", load_prepared("mnist", tfds_dir))
    directories = ["--data-dir", data_dir, "--manual-dir", tmp_path / "files"]
    command = [sys.executable, "-m", "jaxdl.data", "prepare", "mnist", *directories]
    rng = np.random.default_rng(0)
    folder = data_dir / "mnist" / VERSION
    for seconds in [2, 4, *rng.uniform(1, 9, 8)]:
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
        if folder.exists():  # whole, then
            assert len(load_prepared("mnist", data_dir)[0]["label"]) == 60_000
            shutil.rmtree(folder)
        else:
            states = r"only half written|no directory|not prepared"
            with pytest.raises(FileNotFoundError, match=states):
                load_images("mnist", data_dir)
    subprocess.run(command, check=True)
    assert os.listdir(folder.parent) == [VERSION]
    assert len(load_prepared("mnist", data_dir)[1]["label"]) == 10_000
