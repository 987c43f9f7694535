"""Times members of sweeps at once and in turn, model by model: the rule of "auto".

    python -m benchmarks.sweeps

float32, random data, medians of turns, compiling not counted. The sweeps that users
run are cases of `python -m benchmarks`: rates, folds, ensemble.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxdl.functional import cross_entropy
from jaxdl.layers import GRU
from jaxdl.models.lenet import LeNet
from jaxdl.sweep import run_members
from jaxdl.sweep.members import choose_how
from jaxdl.training import (
    compiled,
    init_state,
    make_epoch,
    make_train_step,
)


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
    parser.add_argument("--turns", type=int, default=7)
    rule(parser.parse_args().turns)


if __name__ == "__main__":
    main()
