"""Which known trap explains the first difference? Each is tried."""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from jaxdl.parity.problem import Problem
from jaxdl.parity.report import OUTPUT, Cause, Row
from jaxdl.parity.torch_side import Fault, TorchSide
from jaxdl.parity.traps import DECAY, TRAPS

MOST_CAUSES = 8

# run(faults, with_steps) compares PyTorch with these faults to Flax.
Run = Callable[[Sequence[Fault], bool], Sequence[Row]]


class Suspect(NamedTuple):
    """A cause to try, and the faults that put it into PyTorch."""

    cause: Cause
    faults: list[Fault]


def diagnose(
    net: Any, problem: Problem, side: TorchSide, run: Run
) -> tuple[tuple[Cause, ...], bool]:
    """Returns the causes, and whether nothing differs with all of them.

    The trap that carries the agreement furthest, and then to the most values, is taken
    for the cause of the first difference; with it in PyTorch the search goes on.
    """
    causes: list[Cause] = []
    faults: list[Fault] = []
    rows = run(faults, True)
    while (first := _first(rows)) < len(rows) and len(causes) < MOST_CAUSES:
        with_steps = rows[first].stage.startswith("step")
        best, found = (first + 1, 0), None
        for suspect in _suspects(net, problem, side, rows, first):
            try:
                tried = run([*faults, *suspect.faults], with_steps)
            except RuntimeError:  # with this fault shapes do not fit
                continue
            reached = _first(tried), sum(row.agrees for row in tried)
            if reached > best:
                best, found = reached, suspect
        if found is None:
            break
        causes.append(found.cause)
        faults += found.faults
        rows = run(faults, True)
    return tuple(causes), first == len(rows)


def _first(rows: Sequence[Row]) -> int:
    """The index of the first row that differs, or their number."""
    return next((i for i, row in enumerate(rows) if not row.agrees), len(rows))


def _suspects(
    net: Any, problem: Problem, side: TorchSide, rows: Sequence[Row], first: int
) -> Iterator[Suspect]:
    """Yields each trap in all modules it may be in, then in each that is near the row.

    Modules far from the row, which run after it or before what agrees, explain nothing.
    """
    modules = dict(net.named_modules())
    near = _near(rows, first, side.calls)
    for trap in TRAPS:
        for fault in trap.faults:
            hows = {}
            for name, module in modules.items():
                if trap.applies_to(module):
                    how = fault(copy.deepcopy(module), side.maps.get(name, ()))
                    if how is not None:
                        hows[name] = how
            singles = [[name] for name in hows if name in near]
            for names in [list(hows), *singles] if len(hows) > 1 else singles:
                if near.isdisjoint(names):
                    continue
                where = f"{_joined(names)}: {hows[names[0]]}"
                yield Suspect(
                    Cause(trap.name, where, trap.explanation),
                    [
                        Fault(name, partial(fault, sizes=side.maps.get(name, ())))
                        for name in names
                    ],
                )
    if rows[first].stage.startswith("step"):
        for fault in DECAY.faults:
            own = copy.deepcopy(net)
            how = fault(problem.make_torch_optimizer(own), own)
            if how is not None:
                cause = Cause(DECAY.name, how, DECAY.explanation)
                yield Suspect(cause, [Fault(None, fault)])


def _near(rows: Sequence[Row], first: int, calls: Sequence[str]) -> set[str]:
    """The modules that ran since the last row that agrees, or that the row is of."""
    row = rows[first]
    if row.stage not in ("evaluation", "training") or row.name == "loss":
        return {row.name.partition(" ")[0].rpartition(".")[0]}
    before = [_module(r) for r in rows[:first] if r.stage == row.stage]
    start = calls.index(before[-1]) + 1 if before else 0
    return set(calls[start : calls.index(_module(row)) + 1])


def _module(row: Row) -> str:
    name = row.name.partition(" ")[0].partition("[")[0]
    return "" if name == OUTPUT else name


def _joined(names: Sequence[str]) -> str:
    shown = [name or "the module" for name in names[:3]]
    more = [f"and {len(names) - 3} more"] if len(names) > 3 else []
    return ", ".join([*shown, *more])
