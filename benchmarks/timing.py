"""Runs in turns, fresh processes, and what machine it was."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.settings import PAUSE, STEADY

ROOT = Path(__file__).parents[1]
NO_CACHE = {"JAX_COMPILATION_CACHE_DIR": ""}
PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "numpy")


def in_turns(
    begins: Mapping[str, Callable[[], Callable[[], Any]]],
    turns: int,
    *,
    quick: bool = False,
) -> dict[str, list[float]]:
    """Seconds that a run of each took in every turn; whose turn is first moves on.

    After a pause each runs for a while for nothing, and then for as long to be timed:
    a machine that rested is slow at first. If `quick`, it is one run each.
    """
    pause, steady = (0, 0) if quick else (PAUSE, STEADY)
    names = list(begins)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(turns):
        for i in range(len(names)):
            name = names[(turn + i) % len(names)]
            time.sleep(pause)
            mean_seconds(begins[name], steady)
            seconds[name].append(mean_seconds(begins[name], steady))
    return seconds


def mean_seconds(begin: Callable[[], Callable[[], Any]], least: float) -> float:
    """Seconds of a run, of as many as take `least` together; one at least."""
    total, runs = 0.0, 0
    while not runs or total < least:
        run = begin()
        start = time.perf_counter()
        run()
        total += time.perf_counter() - start
        runs += 1
    return total / runs


def ratio(others: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of the turns' ratios."""
    ratios = np.array(others) / np.array(ours)
    low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "low": low, "high": high}


def fresh(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Wall and processor time of `python arguments`, and the JSON it prints last."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    lines = done.stdout.splitlines()
    printed = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, **printed}


def cache_in(folder: str) -> dict[str, str]:
    """The environment in which JAX keeps whatever it compiles in a folder."""
    return {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def fresh_in_turns(
    commands: Mapping[str, tuple[Sequence[str], Mapping[str, str]]], turns: int
) -> dict[str, dict[str, Any]]:
    """Medians of what `fresh` tells of each; "walls" are all turns' seconds."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for _ in range(turns):
        for name, (arguments, environment) in commands.items():
            found[name].append(fresh(arguments, environment))
    return {
        name: {
            **{key: statistics.median(run[key] for run in runs) for key in runs[0]},
            "walls": [run["wall"] for run in runs],
        }
        for name, runs in found.items()
    }


def machine(device: str) -> dict[str, Any]:
    """What the numbers belong to."""
    info = Path("/proc/cpuinfo")
    models = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    found = {
        "device": device,
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        ),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[0],
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    if device == "gpu":
        import jax

        found["accelerator"] = jax.devices()[0].device_kind
    return found
