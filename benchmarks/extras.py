"""What is measured beside the cases."""

import os
import statistics
import tempfile
from typing import Any

from benchmarks.settings import Settings
from benchmarks.timing import NO_CACHE, cache_in, fresh, fresh_in_turns, in_turns

LESSONS = ("linear_regression", "softmax_regression")
IMPORTS = {
    "jax": "import jax",
    "jaxdl": "import jaxdl",
    "jaxdl.loop": "from jaxdl.loop import fit",
    "flax and optax": "import flax.linen, optax",
    "jaxdl's layers and loop": "from jaxdl.layers import Linear; import jaxdl.loop",
    "torch": "import torch",
}


def matrix(settings: Settings) -> dict[str, Any]:
    """The machine's own rate of float32 matrix products, in operations a second."""
    import jax.numpy as jnp
    import torch

    from jaxdl.training import compiled

    size, times = (64, 1) if settings.quick else (1024, 20)
    a = jnp.ones((size, size))
    b = torch.ones(size, size, device="cuda" if settings.device == "gpu" else "cpu")
    product = compiled(lambda a: a @ a)

    def jax_run():
        for _ in range(times):
            result = product(a)
        result.block_until_ready()

    def torch_run():
        for _ in range(times):
            result = b @ b
        result[0, 0].item()

    runs = {"jax": lambda: jax_run, "torch": lambda: torch_run}
    for begin in runs.values():
        begin()()
    seconds = in_turns(runs, settings.turns, quick=settings.quick)
    flops = 2 * size**3 * times
    rates = {name: flops / statistics.median(found) for name, found in seconds.items()}
    return {"size": size, "rates": rates}


def imports(settings: Settings) -> dict[str, Any]:
    """Seconds of fresh processes that import, and do nothing else."""
    commands: Any = {name: (["-c", code], {}) for name, code in IMPORTS.items()}
    found = fresh_in_turns(commands, 1 if settings.quick else 5)
    return {name: statistics.median(run["walls"]) for name, run in found.items()}


def lessons(settings: Settings) -> dict[str, Any]:
    """Fresh processes of lessons and of PyTorch scripts, from start to results.

    "jaxdl, cache" finds what it compiled in an earlier run.
    """
    found = {}
    for lesson in LESSONS[: 1 if settings.quick else None]:
        with tempfile.TemporaryDirectory() as folder:

            def ours(number, folder=folder, lesson=lesson):
                run_dir = ["--run-dir", os.path.join(folder, f"run{number}")]
                return ["-m", f"experiments.{lesson}", *run_dir]

            cached = cache_in(os.path.join(folder, "cache"))
            theirs = ["-m", "benchmarks.torch_lessons", lesson, folder]
            fresh(ours("first"), cached)  # fills the cache
            walls: dict[str, list[float]] = {}
            for turn in range(1 if settings.quick else 3):
                for side, arguments, environment in (
                    ("jaxdl", ours(f"{turn}a"), NO_CACHE),
                    ("jaxdl, cache", ours(f"{turn}b"), cached),
                    ("PyTorch", theirs, {}),
                ):
                    wall = fresh(arguments, environment)["wall"]
                    walls.setdefault(side, []).append(wall)
            found[lesson] = walls
    return found


def overhead(settings: Settings) -> dict[str, Any]:
    from benchmarks.overhead import measure

    return measure(settings)


def ceilings(settings: Settings) -> dict[str, Any]:
    from benchmarks.ceilings import measure

    return measure(settings)


def curves(settings: Settings) -> dict[str, Any]:
    from benchmarks.curves import measure

    return measure(settings)


def compiling(settings: Settings) -> dict[str, Any]:
    from benchmarks.first_step import measure_all

    return measure_all(settings)


def loading(settings: Settings) -> dict[str, Any]:
    from benchmarks.loading import measure

    return measure(settings)


def devices(settings: Settings) -> dict[str, Any]:
    found = fresh(["-m", "benchmarks.devices"])
    return {name: found[name] for name in ("batch", "seconds")}


def reach(settings: Settings) -> dict[str, Any]:
    from benchmarks.reach import measure

    return measure(settings)


# What does not run without packages that a GPU machine may lack comes last.
NAMES = {
    "cpu": ("matrix", "ceilings", "imports", "curves", "overhead", "compiling",
            "devices", "lessons", "loading", "reach"),
    "gpu": ("matrix", "imports", "curves", "compiling", "reach"),
}  # fmt: skip
