"""Weak scaling of the data-parallel step: a batch of 64 on each of more devices.

    python -m benchmarks.devices

The five-layer perceptron 784-512-256-128-64-10. Where there is one device only, the CPU
acts as eight; they share its cores, so that this tells what splitting costs, not what
more hardware gains. Medians of turns, as JSON.
"""

import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jaxdl.classification import classification, init_model
from jaxdl.models.mlp import MLP
from jaxdl.sharding import shard_batch, shard_state, shard_step
from jaxdl.training import compiled, init_state, make_train_step

BATCH, STEPS, TURNS = 64, 50, 7


def main() -> None:
    devices = jax.devices()
    model, optimizer = MLP((512, 256, 128, 64, 10)), optax.sgd(0.01, 0.5)
    params, _ = init_model(model, jax.random.key(0), jnp.zeros((1, 784)))
    step = make_train_step(classification(model).loss_fn, optimizer)
    rng = np.random.default_rng(0)

    def timer(count):
        mesh = Mesh(np.array(devices[:count]), ("data",))
        program = compiled(shard_step(step, mesh))
        state = shard_state(init_state(params, optimizer), mesh)
        n = count * BATCH
        batch = {
            "image": rng.random((n, 784), np.float32),
            "label": rng.integers(10, size=n),
        }
        batch, key = shard_batch(batch, mesh), jax.random.key(1)

        def run():
            now, start = state, time.perf_counter()
            for _ in range(STEPS):
                # Each waits: virtual devices can lock up when steps queue.
                now, _ = jax.block_until_ready(program(now, batch, key))
            return (time.perf_counter() - start) / STEPS

        return run

    counts = [count for count in (1, 2, 4, 8) if count <= len(devices)]
    runs = {count: timer(count) for count in counts}
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    for turn in range(TURNS + 1):
        for count, run in runs.items():
            took = run()
            if turn:
                seconds[count].append(took)
    medians = {count: statistics.median(times) for count, times in seconds.items()}
    print(json.dumps({"batch": BATCH, "seconds": medians}))


if __name__ == "__main__":
    if jax.config.jax_platforms in (None, "cpu"):
        jax.config.update("jax_num_cpu_devices", 8)
    main()
