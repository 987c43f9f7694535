"""Blocks: in how many ways can layers be put together?

    python -m experiments.blocks

In four at least: one after another, by name, from a list and from a dictionary, to the
same result. FixedHiddenMLP's loop runs under jit and grad, and its constants get no
gradient (seed 0; 6 s on two CPU cores). The notes' MySequential names layers by
themselves, which drops a layer that comes twice; Sequential counts.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.functional import relu
from jaxdl.layers import Linear, Sequential
from jaxdl.models.blocks import FixedHiddenMLP, NestMLP, chimera
from jaxdl.models.containers import ModuleDict, ModuleList
from jaxdl.params import paths
from jaxdl.plots import line_chart
from jaxdl.run import open_run


@dataclass(frozen=True)
class Config(RunConfig):
    batch: int = 2
    """examples of 20 features each"""


class Kept(nn.Module):
    layers: ModuleList | ModuleDict
    order: tuple[int | str, int | str]

    def __call__(self, x):
        hidden, out = (self.layers[key] for key in self.order)
        return out(relu(hidden(x)))


def in_python(variables, x):
    """FixedHiddenMLP with the book's own loop, which `jax.jit` cannot trace."""
    linear = lambda x: Linear(20).apply({"params": variables["params"]["linear"]}, x)
    x = linear(relu(linear(x) @ variables["constants"]["rand_weight"] + 1))
    while jnp.abs(x).sum() > 1:
        x = x / 2
    return x.sum()


def main(config: Config = Config()) -> dict[str, float]:
    """Returns how far apart things are that should be equal, and a gradient."""
    key, x_key = jax.random.split(jax.random.key(config.seed))
    size = lambda array: float(abs(array).max())
    x = jax.random.normal(x_key, (config.batch, 20))
    named = {"hidden": Linear(256), "relu": relu, "out": Linear(10)}
    hidden, out = named["hidden"], named["out"]
    nets = {"sequential": Sequential([*named.values()]), "named": Sequential(named)}
    nets["listed"] = Kept(ModuleList([hidden, out]), (0, 1))
    nets["keyed"] = Kept(ModuleDict({"hidden": hidden, "out": out}), ("hidden", "out"))
    first, result = nets["sequential"].init(key, x), {}
    for way, net in nets.items():  # all with the arrays of the first
        names = net.init(key, x)
        same = jax.tree.unflatten(jax.tree.structure(names), jax.tree.leaves(first))
        result[way] = size(net.apply(same, x) - nets["sequential"].apply(first, x))
        print(f"{way:10}", *paths(names["params"]))
    for name, net in {"NestMLP": NestMLP(), "chimera": chimera()}.items():
        output, variables = net.init_with_output(key, x)
        print(f"{name} gives {output.shape} by", *paths(variables["params"]))
    net = FixedHiddenMLP()
    variables = net.init(key, x)
    y, grads = jax.jit(jax.value_and_grad(net.apply))(variables, x)
    by_loop, wanted = jax.value_and_grad(in_python)(variables, x)
    result["constants"] = size(grads["constants"]["rand_weight"])
    result["gradient"] = size(grads["params"]["linear"]["kernel"])
    pairs = (y, grads["params"]), (by_loop, wanted["params"])
    result["jit"] = max(jax.tree.leaves(jax.tree.map(lambda a, b: size(a - b), *pairs)))
    print(", ".join(f"{name} {value:.2g}" for name, value in result.items()))
    along = jax.vmap(jax.value_and_grad(lambda t: net.apply(variables, t * x)))
    y, slope = along(t := jnp.linspace(0, 3, 301))
    labels = {"xlabel": "t", "title": "FixedHiddenMLP of t · x"}
    with open_run("blocks", config) as run:
        run.log_graph(chimera().apply, chimera().init(key, x), x)
        run.save(halvings=line_chart({"y": (t, y), "dy/dt": (t, slope)}, **labels))
    return result


if __name__ == "__main__":
    run_main(main, Config)
