"""Hyperparameter search: how many layers, how wide, how fast, how much decay?

    python -m experiments.hyperparameter_search

Of 48 points two layers of 64 units at a rate of 0.094 are best: 97.9 % of the images
held out, 93.6 % of the test images, mostly by other writers (seed 0; 17 s on two CPUs).
"""

from dataclasses import dataclass

import jax
import numpy as np
from jax import lax

from jaxdl.classification import classification, init_model
from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.data import load_images, random_split
from jaxdl.evaluation import predict
from jaxdl.models.mlp import MLP
from jaxdl.optimizers import sgd
from jaxdl.plots import sweep_figure
from jaxdl.run import open_run
from jaxdl.sweep import grid, log_uniform, random_search, refit, search
from jaxdl.training import init_state, make_epoch, make_eval_step, make_train_step


@dataclass(frozen=True)
class Config(RunConfig):
    tries: int = 8
    """learning rates and weight decays that are drawn for each shape of network"""
    widths: tuple[int, ...] = (16, 64)
    """units of a hidden layer"""
    depths: tuple[int, ...] = (1, 2, 3)
    """numbers of hidden layers"""
    epochs: int = 20
    """passes over the training images"""


def make_model(width, depth):
    return MLP((width,) * depth + (10,))


def measure(params, model_state, batch):
    model = make_model(params["1"]["bias"].size, len(params) - 1)  # whatever its shape
    return classification(model).eval_fn(params, model_state, batch)


def main(config: Config = Config()) -> dict[str, float]:
    """Returns the best settings, and the accuracies that they and the worst reach."""
    split_key, draw_key, key = jax.random.split(jax.random.key(config.seed), 3)
    images, shape = load_images("digits"), ("width", "depth")
    part, validation = random_split(split_key, images.train, (0.8, 0.2))

    def train(settings, key, data):
        model = make_model(settings["width"], settings["depth"])
        rate, decay = settings["learning_rate"], settings["weight_decay"]
        optimizer = sgd(rate, momentum=0.9, weight_decay=decay)
        step = make_train_step(classification(model).loss_fn, optimizer)
        keys = jax.random.split(key)
        params, _ = init_model(model, keys[0], data["image"][:1])
        once = lambda _, state: make_epoch(step, 32)(state, data, keys[1])[0]
        return lax.fori_loop(0, config.epochs, once, init_state(params, optimizer))

    points = grid(width=config.widths, depth=config.depths, draw=range(config.tries))
    rates, decays = log_uniform(1e-3, 0.3), log_uniform(1e-6, 0.1)
    n = len(points.pop("draw"))
    points |= random_search(draw_key, n, learning_rate=rates, weight_decay=decays)
    with open_run("hyperparameter_search", config) as run:
        sweep = search(
            train, points, part, {"validation": validation}, key,
            eval_step=make_eval_step(measure), static=shape,
        )  # fmt: skip
        print(sweep)
        best = sweep.best("validation/accuracy", "max")
        state = refit(train, best, images.train, key, static=shape)
        logits_of = classification(make_model(best["width"], best["depth"])).logits_of
        named = predict(logits_of, state.params, (), images.test["image"])
        reached = sweep.metrics["validation/accuracy"]
        result = {"best": np.nanmax(reached).item(), "worst": np.nanmin(reached).item()}
        result["test/accuracy"] = float(np.mean(named == images.test["label"]))
        shown = {name: values for name, values in points.items() if name != "width"}
        figure = sweep_figure(shown, sweep.metrics, "validation/accuracy")
        run.save(state.params, search=figure)
        print(f"{best} names {result['test/accuracy']:.1%} of the test images.")
    return best | result


if __name__ == "__main__":
    run_main(main, Config)
