"""Trains every lesson beside PyTorch, in float64, and says how far the losses part.

    python -m tests.course_parity
    python -m tests.course_parity --lesson lenet mlp --write

Each lesson runs with its defaults, in a process of its own, and is trained twice more
in PyTorch: on the same batches from the same weights, and from weights one unit in the
last place larger. With --write the rows of these lessons are kept and docs/parity.md
gets the table; without, they are shown.
"""

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

from rich.progress import track

from tests.course_parity.cases import CASES
from tests.course_parity.results import COLUMNS, compared, row, write


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m tests.course_parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--lesson", nargs="+", default=[*CASES], metavar="NAME")
    parser.add_argument("--write", action="store_true", help="into docs/parity.md")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.lesson if name not in CASES]:
        parser.error(f"no lesson that trains is called {', '.join(unknown)}")
    # As in the tests: PyTorch's threads would wait for those of JAX.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawn = multiprocessing.get_context("spawn")
    failed = []
    print("| " + " | ".join(COLUMNS) + " |")
    for lesson in track(arguments.lesson, "lessons", transient=True):
        start = time.perf_counter()
        try:
            with ProcessPoolExecutor(1, spawn) as pool:
                outcomes = pool.submit(compared, lesson).result()
        except Exception:
            traceback.print_exc()
            failed.append(lesson)
            continue
        for name, outcome in outcomes.items():
            print(row(lesson, name, outcome), flush=True)
        print(f"{lesson}: {time.perf_counter() - start:.0f} s", flush=True)
        if arguments.write:
            write({lesson: outcomes})
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
