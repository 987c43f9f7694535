"""Activation functions: what do their derivatives let through?

    python -m experiments.activations

A sigmoid's derivative is 0.25 at most, so ten of them leave 3e-7 of a gradient; ReLU's
is 1, or 0 for good where no input is positive, which leaky ReLU mends (3 s).
Neurons with a threshold compute XOR in two layers, and have no gradient at all.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.functional import leaky_relu, relu, sigmoid, tanh
from jaxdl.plots import draw_lines
from jaxdl.run import open_run

ACTIVATIONS = {"sigmoid": sigmoid, "tanh": tanh, "ReLU": relu, "leaky ReLU": leaky_relu}
STYLES = "-", "-", "-", "k--"


@dataclass(frozen=True)
class Config(RunConfig):
    limit: float = 8.0
    """inputs go from -limit to limit"""
    depth: int = 10
    """layers that a derivative passes through, at most"""


def neuron(inputs, weights, threshold):
    """McCulloch and Pitts (1943): 1 where weights · inputs reaches the threshold.

    The threshold, θ in the notes' figure, is a layer's bias with its sign changed."""
    return jnp.where(inputs @ weights - threshold >= 0, 1.0, 0.0)


def xor(inputs):
    """Two layers of neurons, since no line parts XOR's ones from its zeros."""
    either = neuron(inputs, jnp.ones(2), 1)
    both = neuron(inputs, jnp.ones(2), 2)
    return neuron(jnp.stack([either, both], axis=1), jnp.array([1.0, -1.0]), 1)


def draw(x, depth):
    """Draws each function, its derivative, and that of the function in itself."""
    figure = Figure(figsize=(14, 3.8), layout="constrained")
    values, slopes, passed = {}, {}, {}
    for (name, function), style in zip(ACTIVATIONS.items(), STYLES, strict=True):
        slope = jax.vmap(jax.grad(function))
        values[name], slopes[name] = (x, function(x), style), (x, slope(x), style)
        through, value = [1.0], jnp.ones(1)
        for _ in range(depth):
            through.append(through[-1] * slope(value).item())
            value = function(value)
        passed[name] = range(depth + 1), through, style
    left, middle, right = figure.subplots(1, 3)
    draw_lines(left, values, xlabel="x", ylabel="f(x)", ylim=(-1.5, 4))
    draw_lines(middle, slopes, xlabel="x", ylabel="f'(x)")
    draw_lines(right, passed, xlabel="layers", ylabel="derivative at 1", yscale="log")
    return figure


def main(config: Config = Config()) -> dict[str, float]:
    """Returns each function's steepest slope, and how many gates neurons compute."""
    x = jnp.linspace(-config.limit, config.limit, 801)
    result = {}
    for name, function in ACTIVATIONS.items():
        slopes = jax.vmap(jax.grad(function))(x)
        result[name] = slopes.max().item()
        print(f"{name:10}  f' from {slopes.min():.4f} to {slopes.max():.4f}")

    inputs = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    either, both = (neuron(inputs, jnp.ones(2), threshold) for threshold in (1, 2))
    gates = {"AND": (both, [0, 0, 0, 1]), "OR": (either, [0, 1, 1, 1])}
    gates["XOR"] = xor(inputs), [0, 1, 1, 0]
    for name, (computed, _) in gates.items():
        print(f"{name:10}  {np.asarray(computed, int)} by neurons with a threshold")
    result["gates"] = sum(np.array_equal(*pair) for pair in gates.values())
    with open_run("activations", config) as run:
        run.save(activations=draw(x, config.depth))
    return result


if __name__ == "__main__":
    run_main(main, Config)
