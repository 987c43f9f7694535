"""Polynomial fitting: when does a model learn too little, and when too much?

    python -m experiments.polynomial_fitting

Too little as a line, too much from 2 examples: test errors of 143 and 137, against
0.009 of a cubic from 100 (seed 0; 5 s on two cores). The notes give no constants.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.functional import mse_loss
from jaxdl.layers import Linear
from jaxdl.loop import fit
from jaxdl.plots import curves, draw_lines
from jaxdl.run import open_run
from jaxdl.training import init_state, make_eval_step, make_train_step

W, B, NOISE = np.array([1.2, -3.4, 5.6]), 5.0, 0.1  # y = 1.2x - 3.4x² + 5.6x³ + 5
FITS = ("normal", 3, 100), ("underfitting", 1, 100), ("overfitting", 3, 2)
powers = lambda x, degree: x ** jnp.arange(1, degree + 1)


@dataclass(frozen=True)
class Config(RunConfig):
    epochs: int = 100
    """passes over the 100 training examples, or 2"""
    learning_rate: float = 0.01
    """of gradient descent in batches of 10, or of 2"""


def make_cubic(key, n):
    x, noise = jax.random.normal(key, (2, n, 1))
    return x, powers(x, 3) @ W + B + NOISE * noise[:, 0]


def eval_fn(params, model_state, batch):
    prediction = Linear(1).apply({"params": params}, batch["x"]).squeeze(-1)
    return {"loss": mse_loss(prediction, batch["y"], reduction="none")}


def loss_fn(params, model_state, batch, key):
    return eval_fn(params, model_state, batch)["loss"].mean(), (model_state, {})


def draw(axes, name, params, x, y):
    every = jnp.linspace(-3, 3, 200)[:, None]
    fitted = powers(every, len(params["kernel"])) @ params["kernel"] + params["bias"]
    lines = {"the truth": (every, powers(every, 3) @ W + B, "k--")}
    lines |= {"fitted": (every, fitted), "training examples": (x, y, "o")}
    draw_lines(axes, lines, title=name, xlabel="x", ylabel="y")


def main(config: Config = Config()) -> dict[str, float]:
    """Returns the last losses of each fit, by names such as "normal test/loss"."""
    keys = jax.random.split(jax.random.key(config.seed), 4)
    (x, y), (x_test, y_test) = make_cubic(keys[0], 100), make_cubic(keys[1], 100)
    optimizer, history, trained = optax.sgd(config.learning_rate), {}, {}
    step, measure = make_train_step(loss_fn, optimizer), make_eval_step(eval_fn)
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    with open_run("polynomial_fitting", config) as run:
        for axes, (name, degree, n) in zip(figure.subplots(1, 3), FITS, strict=True):
            train = {"x": powers(x[:n], degree), "y": y[:n]}
            held_out = {"test": {"x": powers(x_test, degree), "y": y_test}}
            start = init_state(Linear(1).init(keys[2], train["x"])["params"], optimizer)
            sizes = {"epochs": config.epochs, "batch_size": min(10, n)}
            measured = {"eval_step": measure, "held_out": held_out}
            told = {"name": name, "callbacks": [run.log_as(name)]}
            state, met = fit(start, step, train, keys[3], **sizes, **measured, **told)
            trained[name] = state.params
            draw(axes, name, state.params, x[:n], y[:n])
            history |= {f"{name} {key}": values for key, values in met.items()}
        run.save(trained, fits=figure, losses=curves(history))
    result = {name: values[-1].item() for name, values in history.items()}
    print(*(f"{name:23} {value:.4g}" for name, value in result.items()), sep="\n")
    return result


if __name__ == "__main__":
    run_main(main, Config)
