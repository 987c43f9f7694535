"""Trains one network over one or many devices; tests start it as several processes.

    python -m tests.sharding_program FILE [--modes MODE ...]
        [--hosts [COORDINATOR COUNT INDEX]] [--checkpoints DIRECTORY]

What each mode ends with goes to FILE, an .npz, by names such as "data:losses".
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec as P

from jaxdl import checkpoint
from jaxdl.data.streaming import Stream
from jaxdl.functional import cross_entropy, dropout
from jaxdl.layers import BatchNorm
from jaxdl.loop import fit
from jaxdl.optimizers import param_groups
from jaxdl.params import paths
from jaxdl.sharding import (
    gather,
    make_mesh,
    place,
    run_on,
    shard_batch,
    shard_state,
    shard_step,
    start_hosts,
)
from jaxdl.training import (
    TrainState,
    compiled,
    init_state,
    make_eval_step,
    make_train_step,
)

EPOCHS, BATCH = 2, 24
KEY_SEED = 7
SPECS = {
    "*front/kernel": P(None, "model"),
    "*front/bias": P("model"),
    "*back/kernel": P("model", None),
}
OPTIMIZER = optax.adam(0.02)


class Examples:
    """Rows that are read by number: 5 batches and 10 more."""

    def __init__(self, count: int = 130):
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(count, 5))
        self.y = (self.x[:, :3] ** 2).argmax(axis=1)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index], "y": self.y[index]}


def front(params, stats, x):
    """Dense, ReLU, batch norm over the whole batch."""
    hidden = jax.nn.relu(x @ params["kernel"] + params["bias"])
    variables = {"params": params["norm"], "batch_stats": stats}
    hidden, new = BatchNorm().apply(
        variables, hidden, train=True, mutable=["batch_stats"]
    )
    return hidden, new["batch_stats"]


def back(params, hidden, labels, key):
    """Dropout, dense, loss."""
    hidden = dropout(hidden, 0.3, train=True, key=key)
    return cross_entropy(hidden @ params["kernel"], labels)


def make_loss(front, back):
    def loss_fn(params, model_state, batch, key):
        hidden, stats = front(params["front"], model_state, batch["x"])
        return back(params["back"], hidden, batch["y"], key), (stats, {})

    return loss_fn


def eval_fn(params, model_state, batch):
    variables = {"params": params["front"]["norm"], "batch_stats": model_state}
    hidden = jax.nn.relu(
        batch["x"] @ params["front"]["kernel"] + params["front"]["bias"]
    )
    logits = (
        BatchNorm().apply(variables, hidden, train=False) @ params["back"]["kernel"]
    )
    return {"loss": cross_entropy(logits, batch["y"], reduction="none")}


def initial(optimizer=OPTIMIZER, devices=None) -> TrainState:
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape) / 2)
    norm = {"scale": 1 + draw(8), "bias": draw(8)}
    params = {
        "front": {"kernel": draw(5, 8), "bias": draw(8), "norm": norm},
        "back": {"kernel": draw(8, 3)},
    }
    stats = {
        "mean": jnp.zeros(8),
        "var": jnp.ones(8),
        "num_batches_tracked": jnp.int32(0),
    }
    if devices:
        params = place(params, devices)
    return init_state(params, optimizer, stats)


def batches(start: int = 0, shard: tuple[int, int] = (0, 1)) -> Iterator:
    stream = Stream(
        Examples(), BATCH, remainder="drop", key=jax.random.key(3), shard=shard
    )
    for batch, _ in stream.read(epochs=EPOCHS, start=start):
        yield batch


def train(state, step, feed, after=lambda state: None) -> dict[str, np.ndarray]:
    losses = []
    for batch in feed:
        state, metrics = step(state, batch, jax.random.key(KEY_SEED))
        losses.append(float(metrics["loss"]))
        after(state)
    return result(state, losses)


def result(state, losses) -> dict[str, np.ndarray]:
    """Losses, the whole state by path, and how many devices hold which part of it."""
    kernel = state.params["front"]["kernel"]
    spread = {
        "devices": len({d for a in jax.tree.leaves(state.params) for d in a.devices()}),
        "shard": np.array(kernel.sharding.shard_shape(kernel.shape)),
    }
    return {"losses": np.array(losses)} | gather(paths(state)) | spread


def one_device():
    step = compiled(make_train_step(make_loss(front, back), OPTIMIZER))
    return train(initial(), step, batches())


def over_mesh(axes=None, specs=None, shard=(0, 1), directory=None):
    """Goes on from the last checkpoint in `directory`, if one is given."""
    mesh = make_mesh(axes)
    step = make_train_step(make_loss(front, back), OPTIMIZER)
    state = initial()
    saves = checkpoint.Checkpoints(directory) if directory else None
    if saves and saves.steps:
        state = checkpoint.load(saves.directory / str(saves.steps[-1]), state)
    print("from step", int(state.step), flush=True)

    def save(state):
        if saves and int(state.step) % 3 == 0:
            checkpoint.save(saves.directory / str(state.step), gather(state))
            print("saved step", int(state.step), flush=True)

    feed = batches(int(state.step), shard)
    return train(
        shard_state(state, mesh, specs),
        compiled(shard_step(step, mesh, specs)),
        (shard_batch(batch, mesh) for batch in feed),
        save,
    )


def over_devices():
    first, second = jax.devices()[:2]
    optimizer = param_groups({"front/*": OPTIMIZER, "back/*": OPTIMIZER})
    state = initial(optimizer, {"front/*": first, "back/*": second})
    loss_fn = make_loss(run_on(first, front), run_on(second, back))
    found = train(state, make_train_step(loss_fn, optimizer), batches())
    return {name: a for name, a in found.items() if not name.startswith("opt_state")}


def fitted(split: bool):
    step = make_train_step(make_loss(front, back), OPTIMIZER)
    eval_step = make_eval_step(eval_fn)
    if split:
        mesh = make_mesh({"data": 4, "model": 2})
        step = shard_step(step, mesh, SPECS)
        eval_step = shard_step(eval_step, mesh, SPECS)
    data = jax.tree.map(jnp.asarray, vars(Examples(43)))  # 43 = 24 + 19
    state, history = fit(
        initial(),
        step,
        data,
        jax.random.key(KEY_SEED),
        epochs=3,
        batch_size=BATCH,
        eval_step=eval_step,
        held_out={"test": data},
        show=False,
    )
    return result(state, history["train/loss"]) | {"test": history["test/loss"]}


def unplaced():
    """How a step divides arrays that no one has put anywhere."""
    mesh = make_mesh({"data": 4, "model": 2})

    def step(state, batch, key):
        # XLA would leave this whole: nothing of it comes from what is split by columns.
        fresh = {"w": jnp.full((2, 6), batch["x"].sum())}
        return fresh, {"rows": batch["x"]}

    def eval_step(state, batch, mask):
        masked = jnp.where(mask[:, None], batch["x"], 0)
        return {"measured": masked, "columns": state["w"] + 0}

    state, batch = {"w": jnp.ones((2, 6))}, {"x": jnp.ones((8, 2))}
    specs = {"w": P(None, "model")}
    mask = jnp.ones(8, bool)
    measured = jax.jit(shard_step(eval_step, mesh, specs))(state, batch, mask)
    state, metrics = jax.jit(shard_step(step, mesh, specs))(state, batch, 0)
    arrays = {"state": state["w"], **metrics, **measured}
    return {name: a.sharding.shard_shape(a.shape) for name, a in arrays.items()}


def mistakes():
    """What is said of each."""
    mesh = make_mesh({"data": 4, "model": 2})
    model = jax.sharding.Mesh(np.array(jax.devices()), ["model"])
    w = {"fc/kernel": jnp.ones((6, 3))}
    calls = {
        "mesh": lambda: make_mesh({"data": 3}),
        "negative": lambda: make_mesh({"data": -2, "model": -4}),
        "rows": lambda: shard_batch({"x": np.ones((6, 2))}, mesh),
        "scalar": lambda: shard_batch(np.ones(()), mesh),
        "data": lambda: shard_batch(np.ones(8), model),
        "step": lambda: shard_step(print, model),
        "pattern": lambda: shard_state(w, mesh, {"*bias": P("model")}),
        "axis": lambda: shard_state(w, mesh, {"*": P("modell")}),
        "axes": lambda: shard_state(w, mesh, {"*": P(None, None, "model")}),
        "columns": lambda: shard_state(w, mesh, {"*": P(None, "model")}),
        "both": lambda: shard_state(w, mesh, {"*": P(("data", "model"))}),
        "place": lambda: place(w, {"*bias": jax.devices()[0]}),
    }
    return {name: np.array(message_of(call)) for name, call in calls.items()}


def message_of(call) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


MODES = {
    "one": one_device,
    "data": over_mesh,
    "layer": partial(over_mesh, {"data": 4, "model": 2}, SPECS),
    "devices": over_devices,
    "unplaced": unplaced,
    "mistakes": mistakes,
    "fit_one": partial(fitted, False),
    "fit_split": partial(fitted, True),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--hosts", nargs="*")
    parser.add_argument("--timeout", type=int, default=60)
    parser.add_argument("--checkpoints", type=Path)
    arguments = parser.parse_args()
    extra = {}
    if arguments.hosts is not None:
        coordinator, *numbers = arguments.hosts or [None]
        extra["shard"] = start_hosts(
            coordinator, *map(int, numbers), timeout=arguments.timeout
        )
    if arguments.checkpoints:
        extra["directory"] = arguments.checkpoints
    found = {
        f"{mode}:{name}": array
        for mode in arguments.modes
        for name, array in MODES[mode](**extra).items()
    }
    if jax.process_index() == 0:
        np.savez(arguments.file, **found)


if __name__ == "__main__":
    main()
