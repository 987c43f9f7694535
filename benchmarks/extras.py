"""What is measured beside the cases."""

import statistics
from typing import Any

from benchmarks.timing import in_turns
from benchmarks.training import Settings


def matrix(settings: Settings) -> dict[str, Any]:
    """The machine's own rate of float32 matrix products, in operations a second."""
    import jax
    import jax.numpy as jnp
    import torch

    from jaxdl.training import compiled

    size, times = (64, 1) if settings.quick else (1024, 10)
    a = jnp.ones((size, size))
    b = torch.ones(size, size, device="cuda" if settings.device == "gpu" else "cpu")
    product = compiled(lambda a: a @ a)

    def jax_run():
        for _ in range(times):
            jax.block_until_ready(product(a))

    def torch_run():
        for _ in range(times):
            (b @ b)[0, 0].item()

    runs = {"jax": lambda: jax_run, "torch": lambda: torch_run}
    for begin in runs.values():
        begin()()
    seconds = in_turns(runs, settings.turns, settings.pause)
    flops = 2 * size**3 * times
    rates = {name: flops / statistics.median(found) for name, found in seconds.items()}
    return {"size": size, "rates": rates}
