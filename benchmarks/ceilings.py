"""What parts of a step take alone, where a goal is missed: no step can be faster.

Each part is timed by itself, in a compiled loop, as jaxdl computes it.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.cases import BY_NAME, Case
from benchmarks.settings import Settings
from jaxdl.functional.recurrent_packed import loop_lanes
from jaxdl.training import compiled, take

WIDTH, GATES = 100, 300  # of the name classifier's GRU


def measure(settings: Settings) -> dict[str, dict[str, float]]:
    """Seconds a step of each part, by case."""
    cases = {name: BY_NAME[name] for name in PARTS}
    if settings.quick:
        cases = {name: case.quick() for name, case in cases.items()}
    return {name: PARTS[name](case) for name, case in cases.items()}


def linear(case: Case) -> dict[str, float]:
    """Softmax regression, of one member or of many that see the same rows."""
    images = jnp.asarray(case.draw()["image"]).reshape(case.examples, -1)
    order = np.random.default_rng(0).permutation(case.examples)
    order = jnp.asarray(order.reshape(-1, case.batch_size))
    x, outputs = images[: case.batch_size], 10 * case.members
    w, y = jnp.ones((x.shape[1], outputs)), jnp.ones((len(x), outputs))
    rows = lambda images, order, i: take(images, order[i % len(order)])
    # Turned around, as jaxdl.functional.products does it for a few outputs a member.
    of_weight = lambda x, y, i: y.T @ x
    return {
        "rows taken from the data": per_step(rows, images, order),
        "product": per_step(product, x, w),
        "product for the weight's gradient": per_step(of_weight, x, y),
    }


def dense(case: Case) -> dict[str, float]:
    """All products of a multilayer perceptron."""
    data = case.draw()["image"][:1]
    forward, of_input, of_weight = 0.0, 0.0, 0.0
    before = data.size
    for i, width in enumerate(case.options["widths"]):
        x, y, w = map(
            jnp.ones,
            ((case.batch_size, before), (case.batch_size, width), (before, width)),
        )
        forward += per_step(product, x, w)
        of_input += per_step(input_gradient, y, w) if i else 0
        of_weight += per_step(weight_gradient, x, y)
        before = width
    return {
        "products": forward,
        "products for the inputs' gradients": of_input,
        "products for the weights' gradients": of_weight,
    }


def recurrent(case: Case) -> dict[str, float]:
    """All products of a GRU of two layers and two directions, by lanes of its loops."""
    lengths = case.draw()["length"].reshape(-1, case.batch_size)
    sizes, ordered = loop_lanes(case.batch_size), np.sort(lengths)[:, ::-1]
    ends = [*(ordered[:, lanes] for lanes in sizes[1:]), ordered[:, 0]]
    steps = np.diff([0 * ends[0], *ends], axis=0).mean(axis=1)
    forward, backward = 0.0, 0.0
    for lanes, many in zip(sizes, steps, strict=True):
        for before in (WIDTH, 2 * WIDTH):  # of the first layer, and of the second
            for features in (before, WIDTH):  # x, and h
                x, y = jnp.ones((lanes, features)), jnp.ones((lanes, GATES))
                w = jnp.ones((features, GATES))
                forward += many * per_step(product, x, w)
                backward += many * per_step(input_gradient, y, w)
                backward += many * per_step(weight_gradient, x, y)
    return {
        "products": float(2 * forward),
        "products of the gradient": float(2 * backward),
    }


PARTS: dict[str, Callable[[Case], dict[str, float]]] = {
    "softmax": linear,
    "mlp": dense,
    "dropout": dense,
    "rates": linear,
    "names": recurrent,
}


def product(x, w, i):
    return x @ w


def input_gradient(y, w, i):
    return y @ w.T


def weight_gradient(x, y, i):
    return x.T @ y


def per_step(function: Callable[..., Any], *operands: Any) -> float:
    """Seconds of a call inside a compiled loop: the median of 5 loops of 100."""

    @compiled
    def loop(*operands):
        def body(total, i):
            given, total = lax.optimization_barrier((operands, total))
            output = lax.optimization_barrier(function(*given, i))
            return total + output.ravel()[0], None

        return lax.scan(body, jnp.float32(0), jnp.arange(100))[0]

    times = []
    for _ in range(6):  # the first compiles
        start = time.perf_counter()
        jax.block_until_ready(loop(*operands))
        times.append((time.perf_counter() - start) / 100)
    return statistics.median(times[1:])
