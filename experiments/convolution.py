"""Convolution: can a kernel that finds edges be learned from data?

    python -m experiments.convolution

In 20 steps [1, -1] is learned as [0.997, -0.996]. LeNet's last maps are 4×4, and each
of their entries depends on 16×16 pixels (seed 0; 8 s on two CPU cores).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxdl import functional as F
from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.plots import show_arrays
from jaxdl.run import open_run

SETTINGS = {"valid": {"padding": "valid"}, "same": {"padding": "same"}}
SETTINGS |= {"full": {"padding": 2}, "stride 2": {"padding": 1, "stride": 2}}
SETTINGS |= {"dilation 2": {"dilation": 2}}
LENET = [F.Window(5), F.Window(2, stride=2), F.Window(5), F.Window(2, stride=2)]


@dataclass(frozen=True)
class Config(RunConfig):
    steps: int = 20
    """of gradient descent on the edge kernel, at a learning rate of 0.01"""


def by_hand(X, K):
    """Y[i, j] = Σ K ⊙ X[i : i + h, j : j + w], one window at a time."""
    rows, columns = (range(n - k + 1) for n, k in zip(X.shape, K.shape, strict=True))
    seen = lambda i, j: X[i : i + K.shape[0], j : j + K.shape[1]]
    return jnp.array([[(K * seen(i, j)).sum() for j in columns] for i in rows])


def step(params, X, Y, learning_rate):
    loss = lambda p: ((F.corr2d(X, p["weight"]) + p["bias"] - Y) ** 2).sum()
    grads = jax.grad(loss)(params)
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)


def seen_by(layers, size):
    """How often each pixel of an image reaches the middle of the layers' last map."""

    def middle(image):
        for layer in layers:
            ones = jnp.ones((layer.kernel_size, layer.kernel_size, 1, 1))
            image = F.conv2d(image, ones, stride=layer.stride)
        return image[len(image) // 2, len(image) // 2, 0]

    return jax.grad(middle)(jnp.ones((size, size, 1)))[..., 0]


def main(config: Config = Config()) -> dict[str, float]:
    """Returns how far apart things are that should be equal, by their names."""
    keys = jax.random.split(jax.random.key(config.seed), 3)
    off = lambda a, b: float(jnp.abs(a - b).max())
    X, K = jnp.ones((6, 8)).at[:, 2:6].set(0), jnp.array([[1.0, -1.0]])
    Y = F.corr2d(X, K)
    params, fields = {"weight": jax.random.normal(keys[0], (1, 2)), "bias": 0.0}, {}
    for _ in range(config.steps):
        params = step(params, X, Y, learning_rate=0.01)
    result = {"by hand": off(by_hand(X, K), Y), "kernel": off(params["weight"], K)}
    print(f"The kernel {K[0]} is learned as {params['weight'][0].round(3)}.")
    image = jax.random.normal(keys[1], (5, 5, 2))
    kernel, dense = (jax.random.normal(keys[2], (k, k, 2, 4)) for k in (3, 1))
    each = [F.corr2d(image[..., c], kernel[..., c, 0]) for c in range(2)]
    result["channels"] = off(sum(each), F.conv2d(image, kernel)[..., 0])
    result["1×1"] = off(F.linear(image, dense[0, 0]), F.conv2d(image, dense))
    for name, setting in SETTINGS.items():
        size = len(F.conv2d(image, kernel, **setting))
        result[name] = size - F.output_size(5, [F.Window(3, **setting)])
        print(f"{name}: 5×5 pixels become {size}×{size}")
    for layers in (LENET[:depth] for depth in range(1, 5)):
        size, field = F.output_size(28, layers), F.receptive_field(layers)
        fields[f"{size}×{size} maps see {field}×{field}"] = seen = seen_by(layers, 28)
        result[f"field of {field}"] = int(seen.any(axis=1).sum()) - field
    with open_run("convolution", config) as run:
        learned = (F.corr2d(X, params["weight"]) + params["bias"]).round(2) + 0.0
        edges = {"image": X, "edges": Y, "by what was learned": learned}
        fields = show_arrays(fields, title="paths from each pixel to the map's middle")
        run.save(edges=show_arrays(edges, numbers=True), receptive_fields=fields)
    return result


if __name__ == "__main__":
    run_main(main, Config)
