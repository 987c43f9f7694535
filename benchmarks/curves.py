"""How the time of a step grows with the batch, the width, the depth and the members."""

import statistics
from collections.abc import Iterator
from operator import mul
from typing import Any

from benchmarks.cases import FLAX, MNIST, Case
from benchmarks.settings import Settings
from benchmarks.timing import in_turns
from benchmarks.torch_side import INDEXED
from benchmarks.training import OURS, make_begins

VALUES = {
    "batch": (8, 32, 128, 512, 2048),
    "width": (16, 64, 256, 1024),
    "depth": (1, 2, 4, 8, 16),
    "members": (1, 8, 64),
}
WHAT = {
    "batch": "perceptron 784-256-256-10",
    "width": "perceptron 784-width-width-10, batch 64",
    "depth": "perceptron of so many hidden layers of 128, batch 64",
    "members": "learning rates of softmax regression, batch 256",
}


def cases(axis: str, quick: bool) -> Iterator[tuple[int, Case]]:
    for value in VALUES[axis][: 2 if quick else None]:
        batch, widths, members = 64, (256, 256, 10), 1
        if axis == "batch":
            batch = value
        elif axis == "width":
            widths = (value, value, 10)
        elif axis == "depth":
            widths = (*[128] * value, 10)
        else:
            batch, widths, members = 256, (10,), value
        work = batch * members * sum(map(mul, (784, *widths), widths))
        steps = 2 if quick else max(5, min(100, round(1e9 / work)))
        yield (
            value,
            Case(
                f"{axis}_{value}", WHAT[axis], "mlp", MNIST, steps * batch, batch,
                options={"widths": widths}, learning_rate=0.01, members=members,
                kind="rates" if axis == "members" else "train",
            ),
        )  # fmt: skip


def measure(settings: Settings) -> dict[str, Any]:
    """Returns, by axis, its values and each side's seconds a step."""
    found: dict[str, Any] = {}
    for axis in VALUES:
        points: dict[str, list[float]] = {OURS: [], INDEXED: [], FLAX: []}
        values = []
        for value, case in cases(axis, settings.quick):
            builds = make_begins(case, settings._replace(torch_compile=False))
            begins = {side: builds[side]() for side in points}
            for begin in begins.values():
                begin()()
            turns = min(3, settings.turns)
            seconds = in_turns(begins, turns, quick=settings.quick)
            for side, times in seconds.items():
                points[side].append(statistics.median(times) / case.steps)
            values.append(value)
        found[axis] = {"what": WHAT[axis], "values": values, "seconds": points}
    return found
