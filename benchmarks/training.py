"""A case measured: the sides checked to do the same work, then timed in turns."""

import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks import torch_side
from benchmarks.cases import FAST, FLAX, ONE, Case
from benchmarks.settings import Settings
from benchmarks.timing import NO_CACHE, cache_in, fresh_in_turns, in_turns, ratio

OURS, CACHED, WHOLE = "jaxdl", "jaxdl, cache", "jaxdl, make_run"
SINGLE = "jaxdl, one member"
EAGER = (torch_side.INDEXED, torch_side.LOADER)


def make_begins(case: Case, settings: Settings) -> dict[str, Any]:
    """Returns, by side, a function that builds it."""
    from benchmarks import flax_side, jaxdl_side

    data = case.draw()
    weights, rows = torch_side.draw_weights(case, data), jaxdl_side.order(case)

    def torch_way(way):
        return lambda: torch_side.build(case, data, weights, rows, way, settings.device)

    builds = {OURS: lambda: jaxdl_side.build(case, data, weights)}
    ways = EAGER if case.kind == "train" else EAGER[:1]
    builds |= {way: torch_way(way) for way in ways}
    if settings.torch_compile and (case.kind == "train" or settings.device == "gpu"):
        builds[torch_side.COMPILED] = torch_way(torch_side.COMPILED)
    builds[FLAX] = lambda: flax_side.build(case, data, weights)
    if case.kind in ("rates", "ensemble"):
        single = replace(case, members=1)
        builds[SINGLE] = lambda: jaxdl_side.build(single, data, weights[:1])
    if case.whole:
        builds[WHOLE] = lambda: jaxdl_side.build(case, data, weights, whole=True)
    return builds


def measure(case: Case, settings: Settings) -> dict[str, Any]:
    """Returns the record of one case.

    Raises:
      AssertionError: a side's losses are not jaxdl's.
    """
    case = case.quick() if settings.quick else case
    begins, sides, expected = {}, {}, None
    for side, build in make_begins(case, settings).items():
        try:
            begin = build()
            run = begin()
            start = time.perf_counter()
            losses = np.asarray(run())
            first = time.perf_counter() - start
            expected = losses if expected is None else expected
            difference = check(case, side, losses, expected)
        except Exception as error:
            if side != torch_side.COMPILED:
                raise
            message = f"{type(error).__name__}: {error}".strip()
            sides[side] = {"error": message.splitlines()[0]}  # it does not take all
            continue
        begins[side] = begin
        sides[side] = {"first": first, "difference": difference}

    seconds = in_turns(begins, settings.turns, quick=settings.quick)
    for side, times in seconds.items():
        median = statistics.median(times)
        sides[side] |= {"seconds": times, "median": median}
        sides[side]["compile"] = max(0.0, sides[side].pop("first") - median)
    record = {
        "title": case.title,
        "kind": case.kind,
        "examples": case.examples,
        "batch_size": case.batch_size,
        "steps": case.steps,
        "epochs": case.epochs,
        "members": case.members,
        "loss": expected.ravel()[-1].item(),
        "flops": dense_flops(case),
        "sides": sides,
    }
    if case.fresh and settings.fresh_turns:
        for side, found in measure_fresh(case, sides, settings).items():
            sides.setdefault(side, {})["fresh"] = found
    return record | compared(sides, case.goals_on(settings.device), case.members)


def check(case: Case, side: str, losses: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest relative difference of a side's losses from jaxdl's.

    Raises AssertionError where it is more than the case's tolerance.
    """
    expected = expected[:1] if side == SINGLE else expected
    np.testing.assert_allclose(losses, expected, rtol=case.tolerance, err_msg=side)
    return abs(losses / expected - 1).max().item()


def compared(
    sides: Mapping[str, Any], goals: Mapping[str, float], members: int = 1
) -> dict[str, Any]:
    """Returns the ratios of others' times to jaxdl's, and what they should be."""
    timed = {
        side: found["seconds"] for side, found in sides.items() if "seconds" in found
    }
    eager = [side for side in EAGER if side in timed]
    faster = min(eager, key=lambda side: sides[side]["median"])
    others = {FAST: timed[faster]} | {
        side: timed[side] for side in (torch_side.COMPILED, FLAX) if side in timed
    }
    ratios = {name: ratio(times, timed[OURS]) for name, times in others.items()}
    if SINGLE in timed:
        one_by_one = [members * seconds for seconds in timed[SINGLE]]
        ratios[ONE] = ratio(one_by_one, timed[OURS])
    if WHOLE in timed:
        ratios[f"{FAST} / {WHOLE}"] = ratio(timed[faster], timed[WHOLE])
    checked = {
        name: {"goal": goal, "met": ratios[name]["median"] >= goal}
        for name, goal in goals.items()
        if name in ratios
    }
    return {"faster": faster, "ratios": ratios, "goals": checked}


def measure_fresh(
    case: Case, sides: Mapping[str, Any], settings: Settings
) -> dict[str, dict[str, Any]]:
    """Fresh processes of the sides; jaxdl's with a compilation cache, too."""
    eager = min(
        (side for side in EAGER if side in sides), key=lambda s: sides[s]["median"]
    )

    def command(side):
        given = ["-m", "benchmarks.fresh", case.name, side, "--device", settings.device]
        return given + ["--quick"] * settings.quick

    with tempfile.TemporaryDirectory() as cache:
        commands = {
            OURS: (command(OURS), NO_CACHE),
            CACHED: (command(OURS), cache_in(cache)),
            eager: (command(eager), {}),
            FLAX: (command(FLAX), NO_CACHE),
        }
        fresh_in_turns({CACHED: commands[CACHED]}, 1)  # fills the cache
        return fresh_in_turns(commands, settings.fresh_turns)


def dense_flops(case: Case) -> int | None:
    """Operations of the matrix products of one step of a perceptron."""
    if case.network != "mlp" or case.kind != "train":
        return None
    widths = (784, *case.options["widths"])
    products = [a * b for a, b in pairwise(widths)]
    # Forward, the weights' gradients, and the inputs' of all but the first layer.
    return 2 * case.batch_size * (3 * sum(products) - products[0])
