"""What `fit` adds to the bare epoch that it drives: logging, progress, checkpoints.

    python -m benchmarks.overhead

The five-layer network 784-512-256-128-64-10 on 60,000 drawn images, batches of 64, in
turns: the scanned epoch alone; `fit` with a progress bar and a TensorBoard log; the
same with a checkpoint an epoch. Medians over epochs, the first left out.
"""

import statistics
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxdl.config import RunConfig
from jaxdl.functional import cross_entropy
from jaxdl.layers import Linear
from jaxdl.loop import fit
from jaxdl.run import open_run
from jaxdl.training import compiled, init_state, make_epoch, make_train_step

BATCH, EPOCHS, TURNS = 64, 4, 3


def main() -> None:
    rng = np.random.default_rng(0)
    data = {
        "image": jnp.asarray(rng.random((60_000, 784), dtype=np.float32)),
        "label": jnp.asarray(rng.integers(0, 10, 60_000)),
    }
    widths = [w for width in (512, 256, 128, 64) for w in (Linear(width), nn.relu)]
    model, optimizer = nn.Sequential([*widths, Linear(10)]), optax.sgd(0.01, 0.5)
    params = model.init(jax.random.key(0), data["image"][:1])["params"]

    def loss_fn(params, model_state, batch, key):
        logits = model.apply({"params": params}, batch["image"])
        return cross_entropy(logits, batch["label"]), (model_state, {})

    step = make_train_step(loss_fn, optimizer)
    key, state = jax.random.key(1), init_state(params, optimizer)
    epoch = compiled(make_epoch(step, BATCH))

    def bare():
        now, times = state, []
        for _ in range(EPOCHS):
            start = time.perf_counter()
            now, _ = jax.block_until_ready(epoch(now, data, key))
            times.append(time.perf_counter() - start)
        return times[1:]

    def fitted(save_seconds: float | None):
        stamps = []
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
                batch_size=BATCH,
                callbacks=[run.log, lambda *_: stamps.append(time.perf_counter())],
                checkpoint_dir=run.checkpoints if save_seconds else None,
                save_seconds=save_seconds or 0,
            )
        return list(np.diff(stamps))

    times: dict[str, list[float]] = {"bare epoch": [], "fit": [], "and checkpoints": []}
    for _ in range(TURNS):
        times["bare epoch"] += bare()
        times["fit"] += fitted(None)
        times["and checkpoints"] += fitted(0.9 * statistics.median(times["bare epoch"]))
    base = statistics.median(times["bare epoch"])
    for name, values in times.items():
        median = statistics.median(values)
        print(
            f"{name:16} {median:6.3f} s an epoch, {median / base:5.2f} of the bare one"
        )


if __name__ == "__main__":
    main()
