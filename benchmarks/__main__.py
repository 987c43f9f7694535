"""jaxdl beside PyTorch and plain Flax, on the same data, weights and batches.

    python -m benchmarks                        # all; about half an hour on two cores
    python -m benchmarks softmax lenet          # these
    python -m benchmarks --json benchmarks/results/NAME.json
    python -m benchmarks lenet --json NAME.json --add    # to what the file has
    python -m benchmarks.report --write         # what is there, into docs/

Every side is checked to reach the losses of jaxdl's; then they take turns, each after
a pause, since PyTorch's threads spin for a while after their work, and after runs for
nothing, since a machine that rested is slow at first. Times are medians of turns, each
of 0.3 s at least, compilation apart; a ratio is the median of the turns' ratios.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks import extras
from benchmarks.cases import BY_NAME, CASES
from benchmarks.settings import Settings, compute_on


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*BY_NAME, *extras.NAMES["cpu"]]
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(names))
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--json", type=Path, help="file to write what was measured to")
    parser.add_argument(
        "--add", action="store_true",
        help="keep what the file has of other cases, for a run in several commands",
    )  # fmt: skip
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--fresh-turns", type=int, default=2)
    parser.add_argument(
        "--no-torch-compile", action="store_true", help="leaves torch.compile out"
    )
    parser.add_argument(
        "--quick", action="store_true",
        help="tiny sizes: checks that the sides do the same work, and measures nothing",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.cases if name not in names]:
        parser.error(f"{', '.join(unknown)}: there are {', '.join(names)}")
    if given.turns < 1 or given.fresh_turns < 0:
        parser.error("--turns has to be 1 or more, --fresh-turns 0 or more")
    if given.add and not given.json:
        parser.error("--add needs the file of --json")
    compute_on(given.device)
    if given.device == "gpu" and (missing := no_gpu()):
        parser.error(f"--device gpu: {missing}")
    # Else torch.compile finds what an earlier run compiled.
    with (
        tempfile.TemporaryDirectory() as cache,
        patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=cache),
    ):
        return run(given)


def no_gpu() -> str:
    """What does not see a GPU here, if anything does not."""
    import jax
    import torch

    try:
        jax.devices("cuda")
    except RuntimeError as error:
        return f"JAX has none ({error})"
    return "" if torch.cuda.is_available() else "PyTorch has none"


def run(given: argparse.Namespace) -> dict[str, Any]:
    from benchmarks import training
    from benchmarks.timing import machine

    settings = Settings(
        given.device,
        2 if given.quick else given.turns,
        0 if given.quick else given.fresh_turns,
        given.quick,
        not (given.no_torch_compile or given.quick),
    )
    chosen = given.cases or [
        case.name for case in CASES if case.device in ("any", given.device)
    ] + list(extras.NAMES[given.device])
    results: dict[str, Any] = {
        "machine": machine(given.device),
        "settings": settings._asdict(),
        "cases": {},
        "extras": {},
        "failed": {},
    }
    if results["machine"]["load"] > 1 and not given.quick:
        print("the machine is not idle: PyTorch's threads wait for each other then")
    if given.add and given.json.exists():
        results = continued(given.json, results)
    start = time.perf_counter() - results.get("seconds", 0)
    for name in chosen:
        results["failed"].pop(name, None)
        try:
            if name in BY_NAME:
                record = training.measure(BY_NAME[name], settings)
                results["cases"][name] = record
                print(spell(name, record), flush=True)
            else:
                results["extras"][name] = getattr(extras, name)(settings)
                print(name, json.dumps(results["extras"][name]), flush=True)
        except Exception as error:  # the others are measured all the same
            traceback.print_exc()
            results["failed"][name] = f"{type(error).__name__}: {error}".strip()
        results["seconds"] = round(time.perf_counter() - start)
        if given.json:  # after each, so that nothing is lost
            given.json.parent.mkdir(parents=True, exist_ok=True)
            given.json.write_text(json.dumps(results, indent=1) + "\n")
    if results["failed"]:
        sys.exit(f"not measured: {', '.join(results['failed'])}")
    return results


def continued(file: Path, begun: dict[str, Any]) -> dict[str, Any]:
    """What a file has, if it was measured on this machine and in the same way."""
    found = json.loads(file.read_text())
    # A virtual machine may be given memory as it needs it.
    changing = {"date": "", "load": 0, "memory_gib": 0}
    if found["settings"] != begun["settings"]:
        sys.exit(f"{file} was measured with other settings: {found['settings']}")
    if found["machine"] | changing != begun["machine"] | changing:
        sys.exit(f"{file} was measured on another machine: {found['machine']}")
    return found


def spell(name: str, record: dict[str, Any]) -> str:
    """The case in a few lines of text."""
    lines = [f"{name}: {record['title']}, loss {record['loss']:.4f} on all sides"]
    for side, found in record["sides"].items():
        if "error" in found:
            lines.append(f"  {side:20} {found['error'][:100]}")
        elif "median" in found:
            epoch = 1000 * found["median"] / record["epochs"]
            first = f"{found['compile']:6.2f} s first"
            line = f"  {side:20} {epoch:10.2f} ms an epoch, {first}"
            if "fresh" in found:
                fresh = found["fresh"]
                line += f", fresh {fresh['wall']:.1f} s, {fresh['peak_mib']:.0f} MiB"
            lines.append(line)
    for side, ratio in record["ratios"].items():
        goal = record["goals"].get(side)
        text = (
            f", goal {goal['goal']}: {'met' if goal['met'] else 'missed'}"
            if goal
            else ""
        )
        spread = f"{ratio['low']:.2f} to {ratio['high']:.2f}"
        pair = side if " / " in side else f"{side} / jaxdl"
        lines.append(f"  {pair} {ratio['median']:.2f} ({spread}){text}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
