"""The residual CNN: what do shortcuts do for the gradient?

    python -m experiments.residual_cnn
    python -m experiments.residual_cnn --dataset mnist

They keep it: in front of 16 fresh blocks it is as large as in front of one, 47 and 33,
and without shortcuts 1e-11. 93.1 % of the test digits are named, and 99.0 % of MNIST's
(seed 0; 19 s for the digits on two CPU cores): the simple CNN names 91.4 % and 98.7 %.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxdl.classification import classification, init_model
from jaxdl.cli import run_main
from jaxdl.config import MomentumConfig
from jaxdl.data import load_images, standardize_images
from jaxdl.evaluation import evaluate_run
from jaxdl.layers import Sequential
from jaxdl.loop import fit
from jaxdl.models.residual_cnn import ResidualBlock, ResidualCNN
from jaxdl.optimizers import sgd
from jaxdl.plots import curves, line_chart
from jaxdl.run import open_run
from jaxdl.training import init_state, make_eval_step, make_train_step

DEPTHS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Config(MomentumConfig):
    """SGD with momentum 0.5, learning rate 0.01, batches of 64: the course's loop."""


def gradients(key, shortcut):
    """Norms of ∂Σy/∂x in front of fresh chains of blocks, by their depth."""
    x, norms = jax.random.normal(key, (1, 12, 12, 16)), {}
    for depth in DEPTHS:
        chain = Sequential([ResidualBlock(shortcut) for _ in range(depth)])
        total = lambda x, chain=chain: chain.init_with_output(key, x)[0].sum()
        norms[depth] = float(jnp.linalg.norm(jax.grad(total)(x)))
    return norms


def main(config: Config = Config()) -> dict[str, float]:
    """Returns the last epoch's metrics, and gradients by "without/16" and the like."""
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    images = load_images(config.dataset, config.data_dir, config.image_size)
    train, test, names = standardize_images(images)
    model, optimizer = ResidualCNN(), sgd(config.learning_rate, config.momentum)
    params, _ = init_model(model, init_key, test["image"][:1])
    logits_of, eval_fn, loss_fn = classification(model)
    if config.evaluate:
        return evaluate_run(config.evaluate, logits_of, params, test, names)

    with open_run("residual_cnn", config) as run:
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
        print(f"{result['test/accuracy']:.1%} of the test images are named.")
        lines = {}
        for kind, shortcut in {"with shortcuts": True, "without": False}.items():
            norms = gradients(init_key, shortcut)
            result |= {f"{kind}/{depth}": norm for depth, norm in norms.items()}
            lines[kind] = DEPTHS, [*norms.values()], "o-"
            print(f"The gradient in front of 16 blocks {kind}: {norms[16]:.1e}")
        labels = {"xlabel": "blocks", "ylabel": "norm of the gradient of Σy by x"}
        figure = line_chart(lines, yscale="log", **labels)
        run.save(state.params, curves=curves(history), gradients=figure)
    return result


if __name__ == "__main__":
    run_main(main, Config)
