"""Devices: does it matter where, and in how many bits, a product is computed?

    python -m experiments.devices
    python -m experiments.devices --size 4096

In how many bits: of outputs up to 1, float32 is off by 3e-6 and bfloat16, made for
accelerators, by 0.02, in no less time on a CPU (1 s on two cores). The notes take
"cuda:1" unasked; `find_device("gpu:1")` says in one line that there is none.
"""

import timeit
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.devices import find_device, try_all_gpus, try_gpu
from jaxdl.run import open_run

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclass(frozen=True)
class Config(RunConfig):
    size: int = 512
    """rows and columns of the matrices"""
    calls: int = 11
    """of which the median time is taken"""


@jax.jit
def layer(params, x):
    return jnp.tanh(x @ params["kernel"] + params["bias"])


def milliseconds(calls, function, *arguments):
    """The median time of calls that wait for the device, as JAX's own do not."""
    call = lambda: jax.block_until_ready(function(*arguments))
    return 1e3 * float(np.median(timeit.repeat(call, number=1, repeat=calls)))


def draw(times, errors):
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.barh([*times], [*times.values()], color="#0072B2")
    left.set(xlabel="time of a layer (ms)", title="Speed")
    right.barh([*errors], [*errors.values()], color="#D55E00")
    right.set(xlabel="largest error (of outputs up to 1)", title="Error")
    right.set(xscale="log", xlim=(1e-8, 1))
    return figure


def main(config: Config = Config()) -> dict[str, float]:
    """Returns the error of each dtype on the first device, and how many there are."""
    print(f"try_gpu() is {try_gpu()}, try_gpu(10) is {try_gpu(10)},", end=" ")
    print(f"try_all_gpus() are {try_all_gpus()}")
    try:
        find_device("gpu:10")
    except ValueError as error:
        print(f"find_device('gpu:10'): {error}")

    rng, n, times, errors = np.random.default_rng(config.seed), config.size, {}, {}
    x = rng.normal(size=(n, n))
    params = {"kernel": rng.normal(size=(n, n)) / n**0.5, "bias": rng.normal(size=n)}
    exact = np.tanh(x @ params["kernel"] + params["bias"])  # NumPy's, in float64
    devices = dict.fromkeys([*jax.local_devices(), *jax.local_devices(backend="cpu")])
    for device in devices:
        for name, dtype in DTYPES.items():
            cast = jax.tree.map(lambda a, dtype=dtype: a.astype(dtype), (params, x))
            placed = jax.device_put(cast, device)
            output = layer(*placed)  # computed where its arguments are
            label = f"{device.platform}:{device.id} {name}"
            times[label] = milliseconds(config.calls, layer, *placed)
            errors[label] = float(abs(np.asarray(output, float) - exact).max())
            found = f"{times[label]:8.3f} ms, off by {errors[label]:.1e} at most"
            print(f"{label:16} {found}")
    with open_run("devices", config) as run:
        run.save(layer=draw(times, errors))
    first = next(iter(errors)).removesuffix("float32")
    return {name: errors[first + name] for name in DTYPES} | {"devices": len(devices)}


if __name__ == "__main__":
    run_main(main, Config)
