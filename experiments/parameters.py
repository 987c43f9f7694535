"""Parameters: how are they named, read, changed, drawn, shared and frozen?

    python -m experiments.parameters

By their paths, such as "0/block 1/0/bias" (5 s on two CPU cores). The gradient of a
layer used twice is the sum of those of two layers with its weights. The range that
PyTorch draws from follows a layer's inputs only, not its outputs as the notes say.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.functional import relu
from jaxdl.initializers import constant, normal, uniform, xavier_uniform, zeros
from jaxdl.layers import Linear, Sequential
from jaxdl.models.blocks import rgnet, tied_mlp
from jaxdl.optimizers import frozen, param_groups, sgd
from jaxdl.params import get, initialize, map_matching, paths, put, select
from jaxdl.run import open_run
from jaxdl.summary import summarize


@dataclass(frozen=True)
class Config(RunConfig):
    units: int = 64
    """of each layer that is drawn in its own way"""


def far_or_zero(key, shape, dtype):
    """U(5, 10) with probability ¼, U(-10, -5) with ¼, and 0 otherwise."""
    weights = uniform(-10, 10)(key, shape, dtype)
    return weights * (abs(weights) >= 5)


DRAWS = {"normal 0.01": normal(std=0.01), "constant 1": constant(1)}
DRAWS |= {"constant 42": constant(42), "Xavier": xavier_uniform(), "own": far_or_zero}


def draw(params):
    figure = Figure(figsize=(13, 2.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(DRAWS)), DRAWS, strict=True):
        axes.hist(params[name]["kernel"].ravel(), bins=40, color="#0072B2")
        axes.set(title=name, xlabel="weight", ylabel="how many")
    return figure


def main(config: Config = Config()) -> dict[str, float]:
    """Returns a number for each thing that is done with parameters."""
    keys = jax.random.split(jax.random.key(config.seed), 4)
    x, net = jax.random.normal(keys[0], (2, 4)), rgnet()
    size = lambda array: float(abs(array).max())
    params = net.init(keys[1], x)["params"]
    print(summarize(net, x), *paths(params), sep="\n")
    bias = get(params, "0/block 1/0/bias").at[0].set(100)
    params = put(params, "0/block 1/0/bias", bias)
    params = map_matching(jnp.zeros_like, params, "1/*")
    result = {"arrays": len(select(params, "0/block 1/*"))}
    result["put"] = size(params["0"]["block 1"]["0"]["bias"])
    result["zeroed"] = size(net.apply({"params": params}, x))
    net = Sequential({name: Linear(config.units) for name in DRAWS})
    params = net.init(keys[2], jnp.ones((1, config.units)))["params"]
    kernels = {f"{name}/kernel": draw for name, draw in DRAWS.items()}
    params = initialize(keys[2], params, kernels | {"*/bias": zeros})
    result["normal"] = float(params["normal 0.01"]["kernel"].std())
    result["Xavier"] = size(params["Xavier"]["kernel"])
    result["own, zeros"] = float((params["own"]["kernel"] == 0).mean())
    with open_run("parameters", config) as run:
        run.save(draws=draw(params))
    tied, first = tied_mlp(), tied_mlp().init(keys[3], x)["params"]
    layers = [Linear(8), relu, Linear(8), relu, Linear(8), relu, Linear(1)]
    untied, twice = Sequential(layers), first | {"4": first["2"]}
    loss = lambda params, net: (net.apply({"params": params}, x) ** 2).sum()
    grads, apart = jax.grad(loss)(first, tied), jax.grad(loss)(twice, untied)
    both = apart["2"]["kernel"] + apart["4"]["kernel"]
    result["tied"] = size(grads["2"]["kernel"] - both) / size(both)
    optimizer = param_groups({"2/*": frozen(), "*": sgd(0.1)})
    updates, _ = optimizer.update(grads, optimizer.init(first), first)
    result["frozen"], result["trained"] = (size(updates[n]["kernel"]) for n in "20")
    for name, value in result.items():
        print(f"{name:10} {value:.4g}")
    return result


if __name__ == "__main__":
    run_main(main, Config)
