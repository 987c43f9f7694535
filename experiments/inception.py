"""Inception: which of its four branches does a network need?

    python -m experiments.inception
    python -m experiments.inception --dataset mnist

The 1×1 most: 91.9 % of the test digits are named, and with one branch of the trained
network silenced, 82.8 % without the 1×1 and 88.6 to 91.1 % without another (seed 0;
49 s on two CPU cores). Of MNIST's, 98.7 % are named.
"""

from dataclasses import dataclass

import jax
from matplotlib.figure import Figure

from jaxdl.classification import classification, init_model
from jaxdl.cli import run_main
from jaxdl.config import MomentumConfig
from jaxdl.data import load_images, standardize_images
from jaxdl.evaluation import evaluate_run, predict
from jaxdl.loop import fit
from jaxdl.models.inception import InceptionCNN
from jaxdl.optimizers import sgd
from jaxdl.params import map_matching
from jaxdl.plots import curves, show_images
from jaxdl.run import open_run
from jaxdl.training import init_state, make_eval_step, make_train_step

# The convolution that each branch of the two blocks ends with.
BRANCHES = {"1×1": "branch1x1", "5×5": "branch5x5_2", "3×3": "branch3x3_3"}
BRANCHES["pool"] = "branch_pool"


@dataclass(frozen=True)
class Config(MomentumConfig):
    """SGD with momentum 0.5, learning rate 0.01, batches of 64: the course's loop."""


def main(config: Config = Config()) -> dict[str, float]:
    """Returns the last epoch's metrics, and the accuracy "without 1×1" and the rest."""
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    images = load_images(config.dataset, config.data_dir, config.image_size)
    train, test, names = standardize_images(images)
    model, optimizer = InceptionCNN(), sgd(config.learning_rate, config.momentum)
    params, _ = init_model(model, init_key, test["image"][:1])
    logits_of, eval_fn, loss_fn = classification(model)
    if config.evaluate:
        return evaluate_run(config.evaluate, logits_of, params, test, names)

    with open_run("inception", config) as run:
        run.log_graph(logits_of, params, (), test["image"][:1])
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
        result = {name: float(values[-1]) for name, values in history.items()}
        for branch, layer in BRANCHES.items():  # silenced, not trained anew
            silent = map_matching(lambda p: 0 * p, state.params, f"*/{layer}/*")
            guesses = predict(logits_of, silent, (), test["image"])
            result[f"without {branch}"] = float((guesses == test["label"]).mean())
        for name in ("test/accuracy", *(f"without {branch}" for branch in BRANCHES)):
            print(f"{name:13} {result[name]:.1%}")

        figure = Figure(figsize=(6, 2.8), layout="constrained")
        axes = figure.subplots()
        shares = [result[f"without {branch}"] for branch in BRANCHES]
        bars = axes.barh([*BRANCHES], shares, color="#56B4E9")
        axes.bar_label(bars, fmt="{:.1%}", label_type="center")
        axes.axvline(result["test/accuracy"], color="black", linestyle="--")
        axes.set(xlabel="test accuracy (dashed: of all four)", ylabel="silenced branch")
        guesses = predict(logits_of, state.params, (), test["image"][:32])
        grid = show_images(images.test["image"], test["label"], guesses, names)
        run.save(state.params, curves=curves(history), predictions=grid, without=figure)
    return result


if __name__ == "__main__":
    run_main(main, Config)
