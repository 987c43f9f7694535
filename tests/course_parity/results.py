"""What a lesson's comparison came to, kept in a file, and the table of all of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from benchmarks.pages import write_between
from tests.course_parity.cases import CASES, Case
from tests.course_parity.recording import record
from tests.course_parity.torch_runs import Twin, compare
from tests.course_parity.trainings import Training

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "parity.md"
MARKS = "<!-- parity -->", "<!-- end -->"
COLUMNS = (
    "lesson", "model", "data", "steps",
    "jaxdl: largest", "at the end", "passes 1e-8",
    "one ulp: largest", "at the end", "passes 1e-8",
)  # fmt: skip

Results = dict[str, dict[str, dict[str, Any]]]


def compared(lesson: str, limit: int | None = None) -> dict[str, dict[str, Any]]:
    """Runs a lesson and its twins, in float64; the outcome for each model by name."""
    case = CASES[lesson]
    config = {**case.config, **(case.quick if limit else {})}
    with float64_everywhere():
        found = record(lesson, config, limit=limit, enough=case.enough)
        return {
            name: compare(twin, training)
            for name, twin, training in paired(case, found, named=limit is None)
        }


@contextmanager
def float64_everywhere() -> Iterator[None]:
    """As `jax.enable_x64`, but also in the threads that call back from programs."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def paired(
    case: Case, trainings: Sequence[Training], *, named: bool = True
) -> Iterator[tuple[str, Twin, Training]]:
    """The models of a case with what the lesson trained; all of it, unless chosen.

    `named` asks that the lesson calls them the same, where it gives `fit` a name.
    """
    if case.chosen:
        trainings = [trainings[i] for i in case.chosen]
    pairs = zip(case.models.items(), trainings, strict=True)
    for (name, twin), training in pairs:
        if named and training.name not in ("", name):
            raise ValueError(
                f"{training.name!r} was trained where {name!r} is expected"
            )
        yield name, twin, training


def read() -> Results:
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def write(results: Results) -> None:
    """Keeps the results of the lessons given, and writes all that are kept."""
    kept = read() | results
    kept = {lesson: kept[lesson] for lesson in CASES if lesson in kept}
    FILE.write_text(json.dumps(kept, indent=1) + "\n")
    start, end = MARKS
    write_between(PAGE, start, "\n".join(lines(kept)), end)


def lines(results: Results) -> Iterator[str]:
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|" + "---|" * len(COLUMNS)
    for lesson, models in results.items():
        for name, outcome in models.items():
            yield row(lesson, name, outcome)
    if missing := [f"`{lesson}`" for lesson in CASES if lesson not in results]:
        yield f"\nNot measured yet: {', '.join(missing)}."


def row(lesson: str, name: str, outcome: Mapping[str, Any]) -> str:
    steps = f"{outcome['steps']:,}"
    if outcome["floored"]:
        steps += f", {outcome['floored']:,} near 0"
    if outcome["not finite from"]:
        steps += f", NaN or infinite from {outcome['not finite from']:,}"
    cells = [f"`{lesson}`", name, CASES[lesson].data, steps]
    for side in ("jaxdl", "one ulp"):
        largest, last, passes = (
            outcome[side][key] for key in ("largest", "last", "passes")
        )
        step = f"step {passes:,}" if passes else "never"
        cells += [f"{largest:.1e}", f"{last:.1e}", step]
    return "| " + " | ".join(cells) + " |"
