"""Dropout from scratch: what does losing units at random leave as it was?

    python -m experiments.dropout_scratch --dataset fashion_mnist

The mean: a million ones have a mean of 0.999 after dropout. The notes draw by `randn`
where draws have to be uniform, which makes it 1.209. 91.1 % of the test digits are
named (seed 0; 9 s on two CPU cores), and 79.5 % of Fashion-MNIST's images.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxdl.cli import run_main
from jaxdl.config import ImageConfig
from jaxdl.data import load_images
from jaxdl.evaluation import evaluate_run
from jaxdl.loop import fit
from jaxdl.plots import curves
from jaxdl.run import open_run
from jaxdl.training import TrainState, make_eval_step


@dataclass(frozen=True)
class Config(ImageConfig):
    dropout: tuple[float, float] = (0.2, 0.4)
    """probability that a unit of each hidden layer, 512 and 256, is dropped"""
    batch_size: int = 256
    """images a step"""
    learning_rate: float = 0.1
    """of gradient descent"""


def dropout(key, x, p, draw="uniform"):
    """0 with probability p, else x / (1 - p): the expectation is x, if uniform."""
    kept = getattr(jax.random, draw)(key, x.shape) < 1 - p
    return jnp.where(kept, x, 0) / (1 - p) if p < 1 else jnp.zeros_like(x)


def logits_of(params, model_state, images, p=(), key=None):
    """Drops units where there are probabilities p: in training, not when measured."""
    x = images.reshape(len(images), -1)
    for i, (w, b) in enumerate(params[:-1]):
        x = jax.nn.relu(x @ w + b)
        x = dropout(jax.random.fold_in(key, i), x, p[i]) if p else x
    return x @ params[-1][0] + params[-1][1]


def measure(params, model_state, batch, p=(), key=None):
    logits, labels = logits_of(params, (), batch["image"], p, key), batch["label"]
    loss = -jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]
    return {"loss": loss, "accuracy": logits.argmax(axis=1) == labels}


def sgd_step(state, batch, key, p, learning_rate):
    step_key = jax.random.fold_in(key, state.step)
    loss_fn = lambda params: measure(params, (), batch, p, step_key)["loss"].mean()
    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    params = jax.tree.map(lambda w, g: w - learning_rate * g, state.params, grads)
    return state._replace(step=state.step + 1, params=params), {"loss": loss}


def main(config: Config = Config()) -> dict[str, float]:
    """Returns the last epoch's metrics, and the mean of ones dropped by either draw."""
    *keys, run_key = jax.random.split(jax.random.key(config.seed), 4)
    images = load_images(config.dataset, config.data_dir, config.image_size)
    init = lambda key, n, m: (0.01 * jax.random.normal(key, (n, m)), jnp.zeros(m))
    params = list(map(init, keys, (config.image_size**2, 512, 256), (512, 256, 10)))
    if config.evaluate:
        return evaluate_run(config.evaluate, logits_of, params, *images[1:])
    with open_run("dropout_scratch", config) as run:
        state, history = fit(
            TrainState(jnp.int32(0), params, model_state=(), opt_state=()),
            lambda *given: sgd_step(*given, config.dropout, config.learning_rate),
            images.train, run_key, epochs=config.epochs, batch_size=config.batch_size,
            eval_step=make_eval_step(measure), held_out={"test": images.test},
            callbacks=[run.log], checkpoint_dir=run.checkpoints,
        )  # fmt: skip
        run.save(state.params, curves=curves(history))
        result = {name: float(values[-1]) for name, values in history.items()}
        for draw in ("uniform", "normal"):
            dropped = dropout(run_key, jnp.ones(10**6), config.dropout[1], draw)
            result[f"mean/{draw}"] = float(dropped.mean())
            print(f"The mean of ones after {draw} draws is {dropped.mean():.3f}.")
    return result


if __name__ == "__main__":
    run_main(main, Config)
