"""How long the residual CNN learns until it names 99 % of MNIST's test images.

MNIST is read as `load_images` does, or from the file of arrays that $MNIST_NPZ names,
where there is no tensorflow-datasets. The one is made from the other by

    train, test, _ = load_images("mnist")
    test = {f"test_{name}": array for name, array in test.items()}
    np.savez_compressed("mnist.npz", **train, **test)
"""

import os
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.settings import Settings
from jaxdl.classification import classification, init_model
from jaxdl.models.residual_cnn import ResidualCNN
from jaxdl.training import (
    compiled,
    init_state,
    make_epoch,
    make_eval_step,
    make_evaluation,
    make_train_step,
)

GOAL, BATCH, EPOCHS, SEEDS = 0.99, 256, 6, 3
SECONDS_ON_GPU = 1


def read(quick: bool) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    if quick:
        image = np.random.default_rng(0).random((4 * BATCH, 28, 28, 1), np.float32)
        data = {"image": image, "label": np.arange(4 * BATCH, dtype=np.int32) % 10}
        return data, data
    if path := os.environ.get("MNIST_NPZ"):
        with np.load(path) as file:
            train = {name: file[name] for name in ("image", "label")}
            test = {name: file[f"test_{name}"] for name in ("image", "label")}
        return train, test
    from jaxdl.data import load_images

    images = load_images("mnist")
    return images.train, images.test


def measure(settings: Settings) -> dict[str, Any]:
    """Seconds and epochs until the goal, compilation apart, for each of the seeds.

    Adam's learning rate falls from 0.003 along a cosine; the test set is measured after
    each epoch, which counts. A seed that ends below the goal shows in "accuracy".
    """
    train, test = jax.device_put(read(settings.quick))
    model, length = ResidualCNN(), -(-len(train["label"]) // BATCH)
    functions = classification(model)
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, EPOCHS * length))
    step = make_train_step(functions.loss_fn, optimizer)
    epoch = compiled(make_epoch(step, BATCH))
    evaluate = compiled(make_evaluation(make_eval_step(functions.eval_fn), 1000))

    def run(seed: int) -> tuple[float, int, float]:
        init_key, key = jax.random.split(jax.random.key(seed))
        params, _ = init_model(model, init_key, train["image"][:1])
        state = jax.block_until_ready(init_state(params, optimizer))
        start, number, accuracy = time.perf_counter(), 0, 0.0
        while accuracy < GOAL and number < EPOCHS:
            state, _ = epoch(state, train, key)
            accuracy = float(evaluate(state, test)["accuracy"])
            number += 1
        return time.perf_counter() - start, number, accuracy

    params, _ = init_model(model, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    started = init_state(params, optimizer)
    start = time.perf_counter()
    evaluate(epoch(started, train, jax.random.key(0))[0], test)["loss"].item()
    first = time.perf_counter() - start
    runs = [run(seed) for seed in range(1 if settings.quick else SEEDS)]
    return {
        "goal": GOAL,
        "goal_seconds": SECONDS_ON_GPU if settings.device == "gpu" else None,
        "first_epoch": first,
        "seconds": [took for took, _, _ in runs],
        "epochs": [number for _, number, _ in runs],
        "accuracy": [accuracy for _, _, accuracy in runs],
        "median": statistics.median(took for took, _, _ in runs),
    }
