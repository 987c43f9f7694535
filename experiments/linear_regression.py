"""Linear regression with a module and an optimiser: what is left to write?

    python -m experiments.linear_regression

The model and its loss: w and b are off by 0.0008, and a line is 8.0000 at x = 4 (4 s).
"""

from dataclasses import dataclass

import jax
import numpy as np
import optax
from jax.nn.initializers import normal, zeros

from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.data import make_linear_data
from jaxdl.functional import mse_loss
from jaxdl.layers import Linear
from jaxdl.loop import fit
from jaxdl.plots import curves
from jaxdl.run import open_run
from jaxdl.training import init_state, make_eval_step, make_train_step, scan_steps

W, B = np.array([-6.0, 3.2, 10.5]), 1.7
MODEL = Linear(1, kernel_init=normal(0.01), bias_init=zeros)
LINE = {"x": np.array([[1.0], [2.0], [3.0]]), "y": np.array([2.0, 4.0, 6.0])}


@dataclass(frozen=True)
class Config(RunConfig):
    num_examples: int = 1000
    """to train on; 100 more are measured each epoch"""
    epochs: int = 3
    """passes over the examples"""
    batch_size: int = 10
    """examples a step"""
    learning_rate: float = 0.03
    """of gradient descent"""


def eval_fn(params, model_state, batch):
    prediction = MODEL.apply({"params": params}, batch["x"]).squeeze(-1)
    return {"loss": mse_loss(prediction, batch["y"], reduction="none")}


def loss_fn(params, model_state, batch, key):
    return eval_fn(params, model_state, batch)["loss"].mean(), (model_state, {})


def fit_line(key):
    """Fits y = w x + b to three points: 10,000 steps are one compiled program."""
    optimizer = optax.sgd(0.01)
    state = init_state(jax.jit(Linear(1).init)(key, LINE["x"])["params"], optimizer)
    steps = jax.jit(scan_steps(make_train_step(loss_fn, optimizer)))
    return steps(state, LINE, np.tile(np.arange(3), (10_000, 1)), key)[0].params


def main(config: Config = Config()) -> dict[str, float]:
    """Returns the largest error of the parameters, and the line's prediction at 4."""
    train_key, test_key, key, run_key = jax.random.split(jax.random.key(config.seed), 4)
    train = make_linear_data(train_key, W, B, config.num_examples, noise=0.01)
    test = make_linear_data(test_key, W, B, 100, noise=0.01)
    optimizer = optax.sgd(config.learning_rate)
    params = jax.jit(MODEL.init)(key, train["x"])["params"]
    with open_run("linear_regression", config) as run:
        state, history = fit(
            init_state(params, optimizer),
            make_train_step(loss_fn, optimizer),
            train,
            run_key,
            epochs=config.epochs,
            batch_size=config.batch_size,
            eval_step=make_eval_step(eval_fn),
            held_out={"test": test},
            callbacks=[run.log],
            checkpoint_dir=run.checkpoints,
        )
        run.save(state.params, curves=curves(history))
        b, w = (np.ravel(leaf) for leaf in jax.tree.leaves(state.params))
        error = float(abs(np.append(w - W, b - B)).max())
        print(f"three variables: w = {w}, b = {b[0]:.4f}, off by {error:.4f} at most")
        w, b = (leaf.item() for leaf in jax.tree.leaves(fit_line(key))[::-1])
        print(f"one variable: w = {w:.4f}, b = {b:.4f}, at x = 4 it is {4 * w + b:.4f}")
    return {"error": error, "at_4": 4 * w + b}


if __name__ == "__main__":
    run_main(main, Config)
