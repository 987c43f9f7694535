"""Initialization: what do twenty layers make of the size of their first weights?

    python -m experiments.initialization

With N(0, 0.01²) outputs and gradients vanish (by 1e-20), with N(0, 1) they explode (by
1e16), and with Xavier's or PyTorch's weights they still fade. Kaiming's alone train, to
a loss of 0.3 (seed 0; 9 s on two CPU cores). Equal units stay equal.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

from jaxdl import initializers as init
from jaxdl.classification import init_model
from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.data import load_images
from jaxdl.functional import cross_entropy, relu
from jaxdl.models.mlp import MLP
from jaxdl.params import initialize
from jaxdl.run import open_run
from jaxdl.training import take

METHODS = {
    "normal, std 0.01": (init.normal(std=0.01), "#0072B2"),
    "normal, std 1": (init.normal(std=1.0), "#D55E00"),
    "constant 0.01": (init.constant(0.01), "#CC79A7"),
    "Xavier uniform": (init.xavier_uniform(), "#009E73"),
    "Xavier normal": (init.xavier_normal(), "#56B4E9"),
    "Kaiming normal": (init.kaiming_normal(), "#E69F00"),
    "PyTorch's default": (None, "black"),  # draws biases too; the others' are 0
}


@dataclass(frozen=True)
class Config(RunConfig):
    steps: int = 300
    """of gradient descent at a rate of 0.02, each on 64 digits"""


def loss_fn(params, batch):
    x, outputs = batch["image"].reshape(-1, 64), []
    for layer in params.values():
        outputs.append(x @ layer["kernel"] + layer["bias"])
        x = relu(outputs[-1])
    return cross_entropy(outputs[-1], batch["label"]), outputs


def step(params, batch):
    (loss, outputs), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, batch)
    sizes = lambda arrays: jnp.stack([jnp.abs(array).mean() for array in arrays])
    after = jax.tree.map(lambda p, g: p - 0.02 * g, params, grads)
    return after, (sizes(outputs), sizes(g["bias"] for g in grads.values()), loss)


def main(config: Config = Config()) -> dict[str, float]:
    """Returns changes of outputs and gradients, losses, and how units differ."""
    keys, data = jax.random.split(jax.random.key(config.seed), 3), load_images("digits")
    rows = jax.random.randint(keys[0], (config.steps, 64), 0, len(data.train["label"]))
    batches = take(data.train, rows)
    model = MLP(19 * (128,) + (10,), names=[f"layer{i:02}" for i in range(1, 21)])
    default, _ = init_model(model, keys[1], batches["image"][0])
    charts, result = Figure(figsize=(12, 4.4), layout="constrained").subplots(1, 3), {}
    charts[0].set(xlabel="layer", ylabel="mean |output|", yscale="log")
    charts[1].set(xlabel="layer", ylabel="mean |gradient by biases|", yscale="log")
    charts[2].set(xlabel="step", ylabel="training loss", ylim=(0, 4))
    with open_run("initialization", config) as run:
        for method, (draw, colour) in METHODS.items():
            drawn = {"*/kernel": draw, "*/bias": init.zeros} if draw else {}
            params = initialize(keys[2], default, drawn)
            after, (outputs, grads, loss) = jax.lax.scan(step, params, batches)
            for i, value in enumerate(loss.tolist(), 1):
                run.log_as(method)(i, None, {"train/loss": value})
            for axes, line in zip(charts, (outputs[0], grads[0], loss), strict=True):
                axes.plot(1 + jnp.arange(len(line)), line, color=colour, label=method)
            result[f"{method}: outputs"] = float(outputs[0, -2] / outputs[0, 0])
            result[f"{method}: gradients"] = float(grads[0, 0] / grads[0, -2])
            result[f"{method}: loss"] = float(loss[-1])
            result[f"{method}: spread"] = float(after["layer01"]["kernel"].std(1).max())
            print(*(f"{name} {result[name]:.3g}" for name in [*result][-4:]), sep="\n")
        axes.figure.legend(handles=[*axes.lines], loc="outside lower left", ncols=7)
        run.save(initialization=axes.figure)
    return result


if __name__ == "__main__":
    run_main(main, Config)
