"""Where the idx files of MNIST and its relatives come from, and whether they are right.

The sets have the same four file names, and each file has many compressed forms. So the
content of a file, and not its name or place, says to which set it belongs.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxdl.data.idx import parse_idx, uncompress
from jaxdl.data.tfds_images import PREPARABLE
from jaxdl.optional import import_optional

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
# SHA-256 of the uncompressed files. For kmnist only that of the official compressed
# files is known, which tensorflow-datasets registers for each set.
CONTENT_DIGESTS = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion_mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
DEBIAN_DIRECTORIES = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}
CONNECT_SECONDS = 10


def find_idx_files(
    name: str, manual_dir: str | os.PathLike[str] | None
) -> dict[str, Path] | None:
    """The set's files by name, compressed or not: in `manual_dir`, if one is given.

    Otherwise those of Debian's package dataset-fashion-mnist, or None where there are
    none. Of a file in both forms it is the compressed one.

    Raises:
        FileNotFoundError: a file is not in `manual_dir`.
    """
    directory = Path(manual_dir) if manual_dir else DEBIAN_DIRECTORIES.get(name)
    if directory is None or not (manual_dir or directory.is_dir()):
        return None
    paths = {
        file: path
        for file in FILES
        for path in (directory / file, directory / f"{file}.gz")
        if path.is_file()
    }
    if missing := [f"{file}.gz" for file in FILES if file not in paths]:
        raise FileNotFoundError(
            f"{name!r} is made of four files, of which {directory.absolute()} has no "
            f"{', '.join(missing)}, whether compressed or not"
        )
    return paths


def download_idx_files(
    name: str, dl_manager: Any, url_infos: Mapping[str, Any]
) -> dict[str, Path]:
    """Fetches the set's files, by tensorflow-datasets, which verifies their checksums.

    Args:
        dl_manager: a `tfds.download.DownloadManager`.
        url_infos: what tensorflow-datasets knows of the files, by their URLs.

    Raises:
        OSError: they cannot be had.
        ValueError: a checksum differs.
    """
    tfds = import_optional("tensorflow_datasets", f"downloading {name!r}")
    requests = import_optional("requests", f"downloading {name!r}")
    urls = {Path(url).stem: url for url in url_infos}
    advice = (
        f"fetch {', '.join(map(os.path.basename, urls.values()))} from "
        f"{os.path.dirname(urls[FILES[0]])}/ and name their directory by "
        "--manual-dir, or try again"
    )
    try:
        # tensorflow-datasets would try for minutes to reach what cannot be reached.
        requests.head(urls[FILES[0]], timeout=CONNECT_SECONDS).raise_for_status()
        downloaded = dl_manager.download(urls)
    except (OSError, tfds.download.DownloadError) as error:
        raise OSError(
            f"{name!r} cannot be downloaded: {advice} ({_one_line(error)})"
        ) from error
    except tfds.download.download_manager.NonMatchingChecksumError as error:
        raise ValueError(
            f"{name!r} was downloaded damaged: {advice} ({_one_line(error)})"
        ) from error
    return {file: Path(path) for file, path in downloaded.items()}


def known_digests() -> dict[str, tuple[str, str]]:
    """Set and file by SHA-256: of the official compressed files, and of contents."""
    tfds = import_optional("tensorflow_datasets", "checking idx files")
    known = {}
    for name in PREPARABLE:
        for url, info in tfds.builder_cls(name).url_infos.items():
            known[info.checksum] = (name, Path(url).stem)
        for file, digest in zip(FILES, CONTENT_DIGESTS.get(name, ()), strict=False):
            known[digest] = (name, file)
    return known


def read_idx_file(
    path: Path, name: str, file: str, known: Mapping[str, tuple[str, str]]
) -> Shaped[np.ndarray, "..."]:
    """The array in `path`, once it is known to be that `file` of the set `name`.

    Raises:
        ValueError: it is damaged, or another file than that.
        OSError: it cannot be read.
    """
    raw = path.read_bytes()
    try:
        content = uncompress(raw)
        array = parse_idx(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    of_file, of_content = _sha256(raw), _sha256(content)
    owner = known.get(of_content) or known.get(of_file)
    if owner != (name, file):
        expected = [digest for digest in known if known[digest] == (name, file)][-1]
        kind = "content" if name in CONTENT_DIGESTS else "compressed file"
        found = of_content if name in CONTENT_DIGESTS else of_file
        other = f", but that of {owner[0]!r}: {owner[1]}" if owner else ""
        raise ValueError(
            f"{path} is not the {file} of {name!r}{other}; the SHA-256 of its {kind} "
            f"is {found}, expected {expected}"
        )
    return array


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
