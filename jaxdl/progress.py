"""What a program at work shows: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import numpy as np

Show = bool | Literal["bar"]

LINES = 20
"""how many lines a run prints at most, however many epochs it has"""


class Report(NamedTuple):
    """`advance(steps, text)` moves the bar; `line(text)` leaves a line above it."""

    advance: Callable[[int, str], None]
    line: Callable[[str], None]
    moves: bool
    """whether there is a bar"""


@contextmanager
def reporting(
    total: int, *, show: Show = True, name: str = "", unit: str = "steps"
) -> Iterator[Report]:
    """Shows the progress of `total` steps: rate, time left, and the newest numbers.

    Where standard output is no terminal there is no bar and `line` prints. With
    `show="bar"` there are no lines, and the bar goes at its end; with `show=False`
    nothing is shown at all. A `name` stands before what is shown.
    """
    # Not at the top: a training step can be imported without a terminal library.
    from rich.console import Console

    console, before = Console(), f"{name}  " if name else ""
    nothing = lambda text: None
    if not show or not console.is_terminal:
        write = lambda text: print(before + text, flush=True)
        lines = write if show is True else nothing
        yield Report(lambda steps, text: None, lines, moves=False)
        return

    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    columns = (
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        TextColumn(
            "{task.fields[rate]}{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis"),
        ),
    )
    with Progress(*columns, console=console, transient=show == "bar") as progress:
        task = progress.add_task(f"{before}compiling", total=total, rate="")

        def advance(steps: int, text: str) -> None:
            speed = progress.tasks[0].speed
            rate = f"{speed:.{0 if speed > 9 else 1}f} {unit}/s  " if speed else ""
            progress.update(task, advance=steps, description=before + text, rate=rate)

        write = lambda text: console.print(before + text, highlight=False, markup=False)
        yield Report(advance, write if show is True else nothing, moves=True)


def is_due(epoch: int, epochs: int) -> bool:
    """Tells whether epoch (from 1) gets a line: some evenly spaced, and the last."""
    return epoch % -(-epochs // LINES) == 0 or epoch == epochs


def spell(record: Mapping[str, Any]) -> str:
    """Writes the metrics that are single numbers on a line, split by split.

    >>> spell({"train/loss": 0.25, "train/accuracy": 0.875, "test/loss": 0.5})
    'train loss 0.25 accuracy 0.875  test loss 0.5'
    """
    words: dict[str, list[str]] = {}
    for name, value in record.items():
        if np.ndim(value) == 0:
            split, _, tag = name.rpartition("/")
            words.setdefault(split, [split] if split else []).append(
                f"{tag} {value:.3g}"
            )
    return "  ".join(" ".join(line) for line in words.values())
