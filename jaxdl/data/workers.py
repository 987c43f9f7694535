"""Reading ahead, in a thread or in other processes, which Grain starts and feeds."""

import atexit
import gc
import multiprocessing
import os
import pickle
import signal
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from traceback import walk_stack, walk_tb
from typing import Any, TypeVar

import jax
import numpy as np

from jaxdl.optional import import_optional

T = TypeVar("T")


def read_ahead(
    read: Callable[[int], T], numbers: Sequence[int], workers: int = 0
) -> Iterator[T]:
    """read(number) for each of the numbers, in order, called before it is asked for.

    With `workers` that many other processes call it, without a thread of this one.
    Grain starts them, by spawning: the first result takes a second or two, `read` is
    pickled, and a script has to be guarded by `if __name__ == "__main__":`. What `read`
    raises is raised here, if it `travels`. The workers end with the iterator, and with
    this process, however it ends.

    Args:
        read: makes a pytree of NumPy arrays, and not None, out of a number.

    Raises:
        RuntimeError: the script is not guarded, in its workers.
    """
    grain = import_optional("grain", "reading ahead")
    flags = import_optional("absl.flags", "reading ahead").FLAGS
    if not flags.is_parsed():  # Grain reads its own where no program has parsed them
        flags.mark_as_parsed()
    # Numbered before they are dealt out: no number of workers changes what is read.
    results = grain.MapDataset.source(numbers).map(read)
    ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    reading = results.to_iter_dataset(ahead)
    if not workers:
        return iter(reading)
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # Python and Grain would say so in pages, of processes that start processes.
        raise RuntimeError(
            f"workers={workers} starts processes, which import this script and would"
            " start others; put what it does under `if __name__ == '__main__':`"
        )
    options = grain.MultiprocessingOptions(
        num_workers=min(workers, len(numbers)), per_worker_buffer_size=1
    )
    received = _until_closed(reading.mp_prefetch(options, _as_worker))
    atexit.register(_close, weakref.ref(received))
    return received


def _until_closed(dataset: Any) -> Generator[Any]:
    iterator = iter(dataset)
    try:
        yield from map(_copy, iterator)
    except Exception as error:
        iterator.close()
        _clear_frames(error)
        raise
    finally:
        iterator.close()  # ends the workers
        gc.collect()  # Grain leaves their last batches in cycles, and in shared memory


def _clear_frames(error: BaseException) -> None:
    """Lets go of the batches that Grain's ended frames hold, callers' among them."""
    for ended, _ in walk_tb(error.__traceback__):
        for frame, _ in walk_stack(ended):
            with suppress(RuntimeError):  # it runs
                frame.clear()


def _close(reference: weakref.ref[Generator]) -> None:
    """Ends the workers where a program ends while it reads."""
    if generator := reference():
        generator.close()


def _as_worker(index: int, count: int) -> None:
    """Leaves interrupts to the parent process, and ends when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow():
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _copy(result: T) -> T:
    """The result in memory of its own: what processes share is scarce."""
    return jax.tree.map(np.array, result)


def travels(error: Exception) -> bool:
    """Tells whether an error reaches another process, and ends a stream there.

    One of a class in `__main__` would not arrive, and be waited for; StopIteration
    would look like the end of the source.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return not isinstance(error, StopIteration)
