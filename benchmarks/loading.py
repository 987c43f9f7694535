"""Times reading data beside PyTorch's DataLoader, and measures its memory.

Images are 2,000 generated JPEGs of 500×375 pixels, resized to 224×224 by Pillow on both
sides, in batches of 64 bytes-valued images, shuffled, by 2 worker processes. The rate
from the start counts the start of the workers, not the import of the libraries; the
steady one is that after the first 8 batches. Both take turns, and medians are shown.

Memory is the most that a process and its workers had resident together, with what they
share counted in each.
"""

import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.settings import Settings

IMAGES, CLASSES = 2000, 10
SIZE = (224, 224)
BATCH, WARM_UP, EPOCHS, WORKERS = 64, 8, 3, 2
STREAMED = 30_000
TURNS = 3
PAGE = os.sysconf("SC_PAGE_SIZE")


class Rates(NamedTuple):
    """of one reading: seconds to the first batch, and images a second"""

    first: float
    whole: float
    steady: float


def write_images(folder: Path) -> None:
    """Smooth colours under noise: files of about 50 KB, as photographs make."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 6, (4, 375, 500, 3))
    for i in range(IMAGES):
        colours = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = Image.fromarray(colours).resize((500, 375), Image.Resampling.BICUBIC)
        pixels = np.clip(np.asarray(smooth) + noise[i % 4], 0, 255).astype(np.uint8)
        path = folder / str(i % CLASSES) / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def jaxdl_batches(folder: Path) -> Iterator[Any]:
    import grain  # noqa: F401  what is timed is not the import
    import jax

    from jaxdl.data.image_files import image_folder
    from jaxdl.data.streaming import Stream

    files = image_folder(folder).resized(SIZE)
    stream = Stream(files, BATCH, remainder="drop", key=jax.random.key(0))
    yield
    yield from stream.read(epochs=EPOCHS, workers=WORKERS)


def torch_batches(folder: Path) -> Iterator[Any]:
    import torch

    class Images(torch.utils.data.Dataset):
        def __init__(self):
            self.paths = sorted(folder.rglob("*.jpg")) * EPOCHS

        def __len__(self):
            return len(self.paths)

        def __getitem__(self, index):
            path = self.paths[index]
            with open(path, "rb") as file:
                image = Image.open(file).convert("RGB")
            pixels = np.array(image.resize(SIZE, Image.Resampling.BILINEAR))
            return torch.from_numpy(pixels), int(path.parent.name)

    loader = torch.utils.data.DataLoader(
        Images(),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        multiprocessing_context="fork",  # the default of a program on Linux
    )
    yield
    yield from loader


def rates(make_batches: Callable[[Path], Iterator[Any]], folder: Path) -> Rates:
    batches = make_batches(folder)
    next(batches)  # all is imported
    start = time.perf_counter()
    times = [time.perf_counter() - start for _ in batches]
    steady = BATCH * (len(times) - WARM_UP) / (times[-1] - times[WARM_UP - 1])
    return Rates(times[0], BATCH * len(times) / times[-1], steady)


class Generated:
    """Images that are drawn when they are asked for."""

    def __len__(self) -> int:
        return STREAMED

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng(index)
        return {"image": rng.integers(0, 256, (*SIZE, 3), np.uint8), "label": index}


def peak_memory() -> tuple[list[float], float]:
    """Peaks of the tenths of a long streaming in MiB, and images a second."""
    import jax

    from jaxdl.data.streaming import Stream, prefetch

    stream = Stream(Generated(), BATCH, remainder="mask", key=jax.random.key(0))
    mean = jax.jit(lambda batch: batch["image"].mean(dtype=np.float32))
    samples: list[float] = []
    ended = threading.Event()

    def watch():
        while not ended.wait(0.1):
            samples.append(sum(map(resident, family(os.getpid()))) / 2**20)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    for batch, _ in prefetch(stream.read(epochs=1, workers=WORKERS)):
        mean(batch).block_until_ready()
    rate = STREAMED / (time.perf_counter() - start)
    ended.set()
    watcher.join()
    return [float(max(part)) for part in np.array_split(samples, 10)], rate


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in file.read_text().split():
            found += family(int(child))
    return found


def resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:  # it ended
        return 0


def apart(function: Callable, *arguments: Any) -> Any:
    """The function's result in a fresh process, which may start others."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def mnist_seconds(data_dir: str) -> float:
    from jaxdl.data.tfds_images import load_prepared

    load_prepared("mnist", Path(data_dir))  # imports
    start = time.perf_counter()
    load_prepared("mnist", Path(data_dir))
    return time.perf_counter() - start


def measure(settings: Settings) -> dict[str, Any]:
    """Medians of turns: seconds to the first batch, and images a second."""
    sides = {"jaxdl": jaxdl_batches, "PyTorch": torch_batches}
    measured: dict[str, list[Rates]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        for _ in range(TURNS):
            for name, batches in sides.items():
                measured[name].append(apart(rates, batches, Path(folder)))
    found: dict[str, Any] = {
        name: {
            field: statistics.median(getattr(run, field) for run in runs)
            for field in Rates._fields
        }
        for name, runs in measured.items()
    }
    peaks, rate = apart(peak_memory)
    found["stream"] = {"images": STREAMED, "peaks_mib": peaks, "rate": rate}
    if data_dir := os.environ.get("TFDS_DATA_DIR"):
        seconds = [apart(mnist_seconds, data_dir) for _ in range(TURNS)]
        found["mnist_seconds"] = statistics.median(seconds)
    return found
