"""A training that tests kill: python -m tests.resume_program DIRECTORY DRIVER."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxdl import checkpoint, feeds
from jaxdl.config import RunConfig
from jaxdl.data.streaming import Stream
from jaxdl.functional import cross_entropy
from jaxdl.loop import Watch, fit
from jaxdl.run import open_run
from jaxdl.training import init_state, make_eval_step, make_train_step

EPOCHS = 8


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Dense(16)(x))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(3)(nn.Dropout(0.3, deterministic=not train)(x))


class Examples:
    """Arrays as a source of examples."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data["x"])

    def __getitem__(self, index):
        return jax.tree.map(lambda a: a[index], self.data)


def main(directory: str, driver: str) -> None:
    feeds.STEPS_A_REPORT = 5  # so that a short epoch is saved in its middle too
    rng = np.random.default_rng(0)
    x = rng.normal(size=(83, 5)).astype(np.float32)
    data = {"x": x, "y": (x[:, :3] ** 2).argmax(axis=1)}
    model, optimizer = Network(), optax.adam(0.01)
    init_key, run_key = jax.random.split(jax.random.key(1))
    variables = model.init(init_key, x[:1], train=False)

    def loss_fn(params, model_state, batch, key):
        logits, model_state = model.apply(
            {"params": params, **model_state},
            batch["x"],
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return cross_entropy(logits, batch["y"]), (model_state, {})

    def eval_fn(params, model_state, batch):
        logits = model.apply({"params": params, **model_state}, batch["x"], train=False)
        return {"loss": cross_entropy(logits, batch["y"], reduction="none")}

    streamed = driver == "stream"
    stats = {"batch_stats": variables["batch_stats"]}
    with open_run("resumed", RunConfig(run_dir=directory)) as run:
        state, history = fit(
            init_state(variables["params"], optimizer, stats),
            make_train_step(loss_fn, optimizer),
            Stream(Examples(data), 4, remainder="drop", key=run_key)
            if streamed
            else data,
            run_key,
            epochs=EPOCHS,
            batch_size=4,
            eval_step=make_eval_step(eval_fn),
            held_out={"test": jax.tree.map(lambda a: jnp.asarray(a[:11]), data)},
            driver="auto" if streamed else driver,
            callbacks=[run.log],
            watch=Watch("test/loss"),
            checkpoint_dir=run.checkpoints,
            save_seconds=0,
        )
        checkpoint.replace(Path(directory, "final"), {"state": state, "all": history})


if __name__ == "__main__":
    main(*sys.argv[1:])
