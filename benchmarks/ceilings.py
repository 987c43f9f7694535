"""What parts of a step take alone, where a goal is missed: what is left to be saved.

Each part is timed by itself, in a compiled loop, as jaxdl computes it, and in turns
with jaxdl's steps and PyTorch's: a shared machine is not as fast half an hour later.
Their share of a step is above 1 where parts that take one core each run at once in it.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import jaxdl_side, torch_side
from benchmarks.cases import BY_NAME, Case
from benchmarks.settings import PAUSE, Settings
from benchmarks.timing import mean_seconds, ratio
from jaxdl.functional import dropout
from jaxdl.functional.recurrent_cells import gru_update
from jaxdl.functional.recurrent_packed import loop_lanes
from jaxdl.training import compiled, take

WIDTH, GATES = 100, 300  # of the name classifier's GRU

# How often a step has a part, and what times one.
Loops = Sequence[tuple[float, Callable[[], float]]]
Parts = dict[str, Loops]


def measure(settings: Settings) -> dict[str, dict[str, Any]]:
    """Seconds a step of each part, of jaxdl and of PyTorch, and ratios, by case."""
    cases = {name: BY_NAME[name] for name in PARTS}
    if settings.quick:
        cases = {name: case.quick() for name, case in cases.items()}
    return {
        name: beside_steps(case, PARTS[name](case), settings.turns)
        for name, case in cases.items()
    }


def beside_steps(case: Case, parts: Parts, turns: int) -> dict[str, Any]:
    data = case.draw()
    weights, order = torch_side.draw_weights(case, data), jaxdl_side.order(case)
    sides = {
        "jaxdl": jaxdl_side.build(case, data, weights),
        "torch": torch_side.build(case, data, weights, order),
    }
    for begin in sides.values():
        begin()()  # compiles
    alone: dict[str, list[float]] = {name: [] for name in parts}
    steps: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(turns):
        for name, loops in parts.items():
            alone[name].append(sum(many * seconds() for many, seconds in loops))
        for side, begin in sides.items():
            steps[side].append(mean_seconds(begin, 0) / case.steps / case.epochs)
        time.sleep(PAUSE)  # PyTorch was last
    together = [sum(turn) for turn in zip(*alone.values(), strict=True)]
    return {
        "parts": {name: statistics.median(found) for name, found in alone.items()},
        "step": statistics.median(steps["jaxdl"]),
        "share": ratio(together, steps["jaxdl"]),
        "now": ratio(steps["torch"], steps["jaxdl"]),
        "at best": ratio(steps["torch"], together),
    }


def linear(case: Case) -> Parts:
    """Softmax regression, of one member or of many that see the same rows."""
    images, outputs = case.draw()["image"], 10 * case.members
    pixels = images[0].size
    x = jnp.ones((case.batch_size, pixels))
    w, y = jnp.ones((pixels, outputs)), jnp.ones((case.batch_size, outputs))
    # Turned around, as jaxdl.functional.products does it for a few outputs a member.
    of_weight = lambda x, y, i: y.T @ x
    return {
        "rows taken from the data": rows_taken(case, images),
        "product": [(1, per_step(product, x, w))],
        "product for the weight's gradient": [(1, per_step(of_weight, x, y))],
    }


def dense(case: Case) -> Parts:
    """All products of a multilayer perceptron, and what it drops out."""
    forward, of_input, of_weight = [], [], []
    images = case.draw()["image"]
    before = images[0].size
    widths, rates = case.options["widths"], case.options.get("dropout", ())
    for i, width in enumerate(widths):
        x, y, w = map(
            jnp.ones,
            ((case.batch_size, before), (case.batch_size, width), (before, width)),
        )
        forward += [(1, per_step(product, x, w))]
        of_input += [(1, per_step(input_gradient, y, w))] if i else []
        of_weight += [(1, per_step(weight_gradient, x, y))]
        before = width
    parts = {
        "rows taken from the data": rows_taken(case, images),
        "products": forward,
        "products for the inputs' gradients": of_input,
        "products for the weights' gradients": of_weight,
    }
    if rates:
        parts["dropout"] = [
            (1, per_step(partial(dropped, p), jnp.ones((case.batch_size, width))))
            for width, p in zip(widths, rates, strict=False)
        ]
    return parts


def rows_taken(case: Case, images: np.ndarray) -> Loops:
    flat = jnp.asarray(images).reshape(case.examples, -1)
    order = np.random.default_rng(0).permutation(case.examples)
    order = jnp.asarray(order.reshape(-1, case.batch_size))
    rows = lambda images, order, i: take(images, order[i % len(order)])
    return [(1, per_step(rows, flat, order))]


def recurrent(case: Case) -> Parts:
    """Products and gates of a GRU of two layers and two directions.

    Its loops compute fewer and fewer lanes, as sequences end.
    """
    lengths = case.draw()["length"].reshape(-1, case.batch_size)
    sizes, ordered = loop_lanes(case.batch_size), np.sort(lengths)[:, ::-1]
    ends = [*(ordered[:, lanes] for lanes in sizes[1:]), ordered[:, 0]]
    steps = np.diff([0 * ends[0], *ends], axis=0).mean(axis=1)
    forward, backward, values, derivatives = [], [], [], []
    for lanes, many in zip(sizes, steps, strict=True):
        state = jnp.ones((lanes, WIDTH))
        of_gates = ((state,) * 3, (state,) * 3, state)
        every = float(4 * many)  # layers and directions
        values += [(every, per_step(update, *of_gates))]
        derivatives += [(every, per_step(update_gradient, *of_gates))]
        for before in (WIDTH, 2 * WIDTH):  # of the first layer, and of the second
            for features in (before, WIDTH):  # x, and h
                x, y = jnp.ones((lanes, features)), jnp.ones((lanes, GATES))
                w = jnp.ones((features, GATES))
                both = float(2 * many)  # directions
                forward += [(both, per_step(product, x, w))]
                backward += [(both, per_step(input_gradient, y, w))]
                backward += [(both, per_step(weight_gradient, x, y))]
    return {
        "products": forward,
        "products of the gradient": backward,
        "gates": values,
        "gates of the gradient": derivatives,
    }


PARTS: dict[str, Callable[[Case], Parts]] = {
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


def dropped(p, x, i):
    key = jax.random.fold_in(jax.random.key(0), i)
    return dropout(x, p, train=True, key=key)


def update(inputs, products, state, i):
    return gru_update(inputs, products, (state,))[0]


def update_gradient(*operands):
    *operands, i = operands
    value, of_update = jax.vjp(lambda *operands: update(*operands, i), *operands)
    return of_update(value)


def per_step(function: Callable[..., Any], *operands: Any) -> Callable[[], float]:
    """Returns what runs a compiled loop of 100 calls, and gives the seconds of one."""

    @compiled
    def loop(*operands):
        def body(total, i):
            given, total = lax.optimization_barrier((operands, total))
            output = lax.optimization_barrier(function(*given, i))
            return total + jax.tree.leaves(output)[0].ravel()[0], None

        return lax.scan(body, jnp.float32(0), jnp.arange(100))[0]

    def seconds():
        start = time.perf_counter()
        jax.block_until_ready(loop(*operands))
        return (time.perf_counter() - start) / 100

    seconds()  # compiles
    return seconds
