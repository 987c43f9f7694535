"""Dynamic and static graphs: what becomes of a loop that the data decide about?

    python -m experiments.control_flow

JAX has both: PyTorch's kind, built while a function runs, and TensorFlow's, which `jit`
traces once for each shape. `jit` refuses the loop in Python and takes `lax.while_loop`,
which has no gradient; a loop of fixed length has one (2 s on two CPU cores).
"""

import timeit
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.plots import line_chart
from jaxdl.run import open_run


@dataclass(frozen=True)
class Config(RunConfig):
    most: int = 20
    """halvings at most, where the loop has a fixed length"""


def dynamic(x):
    """Halves x until |x| <= 1, in Python."""
    while abs(x) > 1:
        x = x / 2
    return x


def static(x):
    """The same as one operation: the compiled program finds the number of rounds."""
    return jax.lax.while_loop(lambda x: abs(x) > 1, lambda x: x / 2, x)


def bounded(most, x):
    """The same in a fixed number of rounds: those too many leave x as it is."""
    halve = lambda _, x: jnp.where(abs(x) > 1, x / 2, x)
    return jax.lax.fori_loop(0, most, halve, x)


def attempt(function):
    """Returns f(100), or the first words of the reason why there is none."""
    try:
        return f"{function(jnp.float32(100)):g}"
    except (jax.errors.TracerBoolConversionError, ValueError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split()[:6])} ..."


def microseconds(function, x):
    """The median time of 21 calls, after one that may compile."""
    call = lambda: jax.block_until_ready(function(jnp.float32(x)))
    return 1e6 * np.median(timeit.repeat(call, call, number=1, repeat=21))


def main(config: Config = Config()) -> dict[str, float]:
    """Returns the derivative at 100, and how often jit traced in three calls."""
    fixed = partial(bounded, config.most)
    for name, f in {"Python": dynamic, "while_loop": static, "fixed": fixed}.items():
        print(f"{name}: f(100) = {attempt(f)}, compiled {attempt(jax.jit(f))}")
        print(f"    f'(100) = {attempt(jax.grad(f))}")
    traces = []

    @jax.jit
    def counted(x):
        traces.append(x.shape)  # Python runs while a function is traced, and only then
        return jax.vmap(static)(x)

    for numbers in ([1.0, 5.0], [9.0, 100.0], [3.0, 4.0, 5.0]):
        counted(jnp.array(numbers))
    print(f"jit traced {len(traces)} times in 3 calls, once for each shape: {traces}")
    halvings, lines = range(0, config.most + 1, 2), {}
    for name, loop in {"Python's loop": dynamic, "compiled": jax.jit(static)}.items():
        lines[name] = halvings, [microseconds(loop, 2.0**n) for n in halvings], "o-"
    labels = {"xlabel": "halvings", "ylabel": "time of a call (µs)", "yscale": "log"}
    with open_run("control_flow", config) as run:
        run.log_graph(static, 100.0)
        run.save(times=line_chart(lines, **labels))
    return {"slope": jax.grad(fixed)(100.0).item(), "traces": len(traces)}


if __name__ == "__main__":
    run_main(main, Config)
