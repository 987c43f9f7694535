"""What `fit` adds to the bare epochs that it drives: logging, progress, checkpoints."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import jaxdl_side
from benchmarks.cases import BY_NAME
from benchmarks.settings import Settings
from jaxdl.config import RunConfig
from jaxdl.loop import fit
from jaxdl.run import open_run
from jaxdl.training import compiled, init_state, make_epoch

EPOCHS, TURNS = 4, 3


def measure(settings: Settings) -> dict[str, Any]:
    """Median seconds of an epoch of the five-layer network, the first left out.

    In turns: the scanned epoch alone; `fit` with a progress bar and a TensorBoard log;
    the same with a checkpoint an epoch.
    """
    case = BY_NAME["mlp"].quick() if settings.quick else BY_NAME["mlp"]
    data = jax.device_put(case.draw())
    params, model_state = jaxdl_side.initial(case, data)
    step, optimizer = jaxdl_side.make_step(case), jaxdl_side.make_optimizer(case, 0.01)
    key, state = jax.random.key(1), init_state(params, optimizer, model_state)
    epoch = compiled(make_epoch(step, case.batch_size))

    def bare():
        now, times = state, []
        for _ in range(EPOCHS):
            start = time.perf_counter()
            now, _ = jax.block_until_ready(epoch(now, data, key))
            times.append(time.perf_counter() - start)
        return times[1:]

    def fitted(save_seconds: float | None):
        stamps: list[float] = []
        with (
            tempfile.TemporaryDirectory() as directory,
            open_run("overhead", RunConfig(run_dir=str(Path(directory, "run")))) as run,
        ):
            fit(
                state,
                step,
                data,
                key,
                epochs=EPOCHS,
                batch_size=case.batch_size,
                callbacks=[run.log, lambda *_: stamps.append(time.perf_counter())],
                checkpoint_dir=run.checkpoints if save_seconds else None,
                save_seconds=save_seconds or 0,
                show=not settings.quick,
            )
        return np.diff(stamps).tolist()

    times: dict[str, list[float]] = {"bare": [], "fit": [], "checkpoints": []}
    for _ in range(1 if settings.quick else TURNS):
        times["bare"] += bare()
        times["fit"] += fitted(None)
        times["checkpoints"] += fitted(0.9 * statistics.median(times["bare"]))
    return {name: statistics.median(values) for name, values in times.items()}
