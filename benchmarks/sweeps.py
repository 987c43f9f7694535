"""Times sweeps beside their members' single runs, in turns, in one process.

    python -m benchmarks.sweeps                  # the two below, with MNIST
    python -m benchmarks.sweeps rule             # at once or in turn, model by model

float32, medians of turns. A single run is one member's function, compiled on its own
and called once for each member; compiling is not counted. Results are compared before
they are timed: those in turn, bit for bit. MNIST is read from --data-dir or
TFDS_DATA_DIR; without either the data are random numbers of its shape.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxdl.data import k_folds, load_images
from jaxdl.functional import cross_entropy
from jaxdl.layers import GRU
from jaxdl.models.lenet import LeNet
from jaxdl.sweep import run_members
from jaxdl.sweep.members import choose_how
from jaxdl.training import (
    compiled,
    init_state,
    make_epoch,
    make_eval_step,
    make_evaluation,
    make_train_step,
    take,
)

SINGLE = "One by one"


class Perceptron(nn.Module):
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        for width in self.widths[:-1]:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.widths[-1])(x)


class Recurrent(nn.Module):
    hidden: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(GRU(self.hidden)(x)[0][:, -1])


class Case(NamedTuple):
    name: str
    model: nn.Module
    data: dict[str, np.ndarray]
    batch_size: int
    members: int
    own_batches: bool = False


def random_data(n, *shape, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n, *shape)).astype(np.float32)
    return {"image": images, "label": rng.integers(10, size=n).astype(np.int32)}


def trainer(model, data, batch_size):
    """Returns train(learning_rate, key, data): an epoch from weights of the key."""
    one = jnp.asarray(data["image"][:1])

    def loss_fn(params, model_state, batch, key):
        logits = model.apply({"params": params}, batch["image"])
        return cross_entropy(logits, batch["label"]), (model_state, {})

    def train(learning_rate, key, data):
        optimizer = optax.sgd(learning_rate)
        state = init_state(model.init(key, one)["params"], optimizer)
        step = make_train_step(loss_fn, optimizer)
        return make_epoch(step, batch_size)(state, data, key)

    return train


def evaluation(model):
    def eval_fn(params, model_state, batch):
        logits = model.apply({"params": params}, batch["image"])
        return {"loss": cross_entropy(logits, batch["label"], reduction="none")}

    return make_evaluation(make_eval_step(eval_fn), 256)


def medians(runs: dict[str, Callable], turns: int) -> dict[str, float]:
    """Runs all in turns, so that whatever else the machine does slows all."""
    for run in runs.values():
        jax.block_until_ready(run())
    seconds = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def programs(run, members, data, hows):
    """Returns, by name, calls of one program that does run(member, data) for all."""
    calls = {}
    for how in hows:

        def program(members, data, how=how):
            return run_members(lambda member: run(member, data), members, how=how)

        calls[how] = partial(compiled(program), members, data)
    return calls


def one_by_one(run, members, data):
    """Returns a call of run(member, data) for each member in turn."""
    count = len(jax.tree.leaves(members)[0])
    each = [jax.tree.map(itemgetter(i), members) for i in range(count)]
    single = compiled(run)
    return lambda: [single(member, data) for member in each]


def compared(run, members, data, turns):
    calls = programs(run, members, data, ("auto", "map", "vmap"))
    single = one_by_one(run, members, data)
    check(single(), calls["map"](), calls["vmap"]())
    return medians({SINGLE: single} | calls, turns)


def check(single, in_turn, at_once):
    """Refuses to time what does not compute the same."""
    single = jax.tree.map(lambda *values: jnp.stack(values), *single)
    jax.tree.map(np.testing.assert_array_equal, in_turn, single)
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)
    jax.tree.map(close, at_once, single)


def five_folds(data, turns):
    """Cross-validates the perceptron of five layers at batch 64, an epoch a fold."""
    model = Perceptron((512, 256, 128, 64, 10))
    train, evaluate = trainer(model, data, 64), evaluation(model)
    folds = k_folds(jax.random.key(0), len(data["label"]), 5)
    key = jax.random.key(1)

    def run(fold, data):
        state, _ = train(0.1, key, take(data, fold.train))
        return evaluate(state, take(data, fold.validation))

    return compared(run, folds, data, turns)


def learning_rates(data, turns):
    """Tries 16 learning rates of softmax regression on the same batches of 256."""
    model = Perceptron((10,))
    train, key = trainer(model, data, 256), jax.random.key(1)
    run = lambda learning_rate, data: train(learning_rate, key, data)[0].params
    rates = jnp.geomspace(1e-3, 1.0, 16)
    return compared(run, rates, data, turns)


def cases():
    flat, images = random_data(4096, 784), random_data(1024, 28, 28, 1)
    for own in (False, True):
        for members in (5, 16):
            for batch_size in (16, 64, 256, 1024):
                model = Perceptron((10,))
                yield Case("784-10", model, flat, batch_size, members, own)
            for widths in ((16, 10), (64, 10), (128, 10), (256, 10), (64, 64, 64, 10)):
                name = "-".join(map(str, (784, *widths)))
                yield Case(name, Perceptron(widths), flat, 64, members, own)
            table = random_data(1024, 16)
            yield Case("16-8-8-10", Perceptron((8, 8, 10)), table, 16, members, own)
            wide = Perceptron((256, 256, 10))
            yield Case("16-256-256-10", wide, table, 64, members, own)
            text = random_data(1024, 12, 32)
            yield Case("GRU 32", Recurrent(32), text, 64, members, own)
            yield Case("GRU 100", Recurrent(100), text, 256, members, own)
        yield Case("LeNet", LeNet(10), images, 64, 5, own)


def rule(turns):
    """Times members at once and in turn, and tells which of them "auto" takes."""
    print("| model | batch | members | batches | at once / in turn | auto takes |")
    print("|---|---|---|---|---|---|")
    for case in cases():
        train = trainer(case.model, case.data, case.batch_size)
        keys = jax.random.split(jax.random.key(1), case.members)
        shared = jax.random.key(1)

        def run(member, data, train=train, shared=shared, own=case.own_batches):
            rate, key = member
            return train(rate, key if own else shared, data)[0].params

        members = jnp.linspace(0.01, 0.1, case.members), keys
        seconds = medians(programs(run, members, case.data, ("map", "vmap")), turns)
        how = choose_how(lambda member, run=run, d=case.data: run(member, d), members)
        name, batches = case.name, "own" if case.own_batches else "shared"
        ratio = seconds["vmap"] / seconds["map"]
        cells = name, case.batch_size, case.members, batches, f"{ratio:.2f}", how
        print("|", " | ".join(map(str, cells)), "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("goals", "rule"), default="goals")
    parser.add_argument("--data-dir", default=os.environ.get("TFDS_DATA_DIR"))
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.what == "rule":
        rule(arguments.turns)
        return
    if arguments.data_dir:
        data = load_images("mnist", data_dir=arguments.data_dir).train
    else:
        data = random_data(60000, 28, 28, 1)
    data = jax.device_put(data)
    for benchmark, limit in ((five_folds, 1.0), (learning_rates, 0.3)):
        seconds = benchmark(data, arguments.turns)
        in_turn = seconds.pop(SINGLE)
        print(f"{benchmark.__doc__} {SINGLE}: {in_turn:.2f} s.")
        for how, time_taken in seconds.items():
            ratio = time_taken / in_turn
            print(f"  {how:5s} {time_taken:6.2f} s, {ratio:.2f} of it (goal: {limit})")


if __name__ == "__main__":
    main()
