"""Computational graphs: where does the gradient of y = (x + w)(w + 1) come from?

    python -m experiments.computational_graph

From two paths: at x = 2, w = 1 they add 2 and 3 to dy/dw = 5. graph.svg shows it, and
network.svg a small network with the gradients that backpropagation finds (3 s).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.graph import gradient_paths, node_gradients, node_values, to_svg, trace
from jaxdl.plots import line_chart
from jaxdl.run import open_run


@dataclass(frozen=True)
class Config(RunConfig):
    x: float = 2.0
    """the input of y = (x + w)(w + 1)"""
    w: float = 1.0
    """the parameter that y is differentiated by"""


def y(w, x):
    return (x + w) * (w + 1)


def loss(W, v, x, target):
    """A network's loss, ½(v · tanh(Wx) - target)²."""
    return (v @ jnp.tanh(W @ x) - target) ** 2 / 2


def backpropagate(W, v, x, target):
    """Its derivatives by W and v: values forward, then what depends on each, back."""
    hidden = jnp.tanh(W @ x)
    d_output = v @ hidden - target
    d_sums = d_output * v * (1 - hidden**2)  # tanh' = 1 - tanh²
    return jnp.outer(d_sums, x), d_output * hidden


def draw(run, name, function, *arguments):
    """Writes the graph as an SVG, with values and gradients; returns all three."""
    graph = trace(function, *arguments, expand=False)
    values, gradients = (of(graph, *arguments) for of in (node_values, node_gradients))
    (run.directory / f"{name}.svg").write_text(to_svg(graph, values, gradients))
    return graph, values, gradients


def main(config: Config = Config()) -> dict[str, float]:
    """Returns y, dy/dw, the sum over paths, and the error of backpropagation."""
    w, x = config.w, config.x
    keys = jax.random.split(jax.random.key(config.seed), 3)
    shapes = (2, 3), (2,), (3,)
    network = [jax.random.normal(*pair) for pair in zip(keys, shapes, strict=True)]
    with open_run("computational_graph", config) as run:
        graph, values, gradients = draw(run, "graph", y, w, x)
        run.log_graph(y, w, x)
        paths = gradient_paths(graph, "w", w, x)
        result = {"y": float(values["output"]), "gradient": float(gradients["w"])}
        result["paths"] = sum(float(path.product) for path in paths)
        print("y = {y:g}, dy/dw = {gradient:g}, over the paths:".format(**result))
        print(*paths, sep="\n")

        _, _, found = draw(run, "network", loss, *network, 1.0)
        pairs = zip(backpropagate(*network, 1.0), "Wv", strict=True)
        result["error"] = max(float(abs(g - found[name]).max()) for g, name in pairs)
        print("A network's gradients by hand are off by {error:.1g}".format(**result))
        around = np.linspace(w - 3, w + 3)
        tangent = result["y"] + result["gradient"] * (around - w)
        lines = {"y": (around, y(around, x)), "tangent": (around, tangent, "--")}
        lines["here"] = [w], [result["y"]], "ko"
        run.save(tangent=line_chart(lines, xlabel="w", ylabel="y"))
    return result


if __name__ == "__main__":
    run_main(main, Config)
