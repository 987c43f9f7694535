"""Pooling: what does each argument of a pool do?

    python -m experiments.pooling

The figure shows it on an image of numbers below 0 (5 s on two CPU cores). Maxima are
padded with -inf, not 0 as the notes have it: a window over a corner of -1 and three
places outside gives -1, and an average -0.25, or -1 if padding does not count.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.functional import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_unpool2d,
)
from jaxdl.plots import show_arrays
from jaxdl.run import open_run

# Of windows of 2×2, whose stride is 2 where none is given.
MAX = {
    "as it is": {},
    "stride=1": {"stride": 1},
    "padding=1": {"padding": 1},
    "dilation=2, stride=1": {"dilation": 2, "stride": 1},
    "ceil_mode": {"ceil_mode": True},
}
AVERAGE = {
    "as it is": {},
    "padding=1": {"padding": 1},
    "padding=1, not counted": {"padding": 1, "count_include_pad": False},
    "ceil_mode": {"ceil_mode": True},
    "divisor_override=1": {"divisor_override": 1},
}


@dataclass(frozen=True)
class Config(RunConfig):
    size: int = 5
    """height and width of the image, in pixels"""


def main(config: Config = Config()) -> dict[str, float]:
    """Returns a corner under three pools, and how far apart equal things are."""
    if (n := config.size) < 3:
        raise ValueError(f"size={n} is below 3, which a dilated pool needs")
    numbers = jax.random.permutation(jax.random.key(config.seed), n * n)
    image = -1.0 - numbers.reshape(n, n, 1)  # all below 0, the notes' padding

    shown = {"image": image}
    shown |= {f"max, {k}": max_pool2d(image, 2, **v) for k, v in MAX.items()}
    maxima, places = max_pool2d(image, 2, return_indices=True)
    shown["return_indices"] = places
    shown["max_unpool2d"] = max_unpool2d(maxima, places, 2, output_size=(n, n))
    shown["adaptive max, 3×3"] = adaptive_max_pool2d(image, 3)
    shown |= {f"average, {k}": avg_pool2d(image, 2, **v) for k, v in AVERAGE.items()}
    shown["adaptive average, 3×3"] = adaptive_avg_pool2d(image, 3)
    with open_run("pooling", config) as run:
        drawn = {name: array[..., 0] for name, array in shown.items()}
        run.save(pools=show_arrays(drawn, columns=5, numbers=True))
    # The first padded window sees one pixel and three places outside of the image.
    result = {"corner": float(image[0, 0, 0])}
    print(f"A window over a corner of {result['corner']:g} and three places outside:")
    for kind in [name for name in shown if "padding=1" in name]:
        result[kind] = float(shown[kind][0, 0, 0])
        print(f"    {kind:32} {result[kind]:g}")
    off = lambda a, b: float(abs(a - b).max())
    row, volume = image[0], jnp.stack([image, image])
    result["1d"] = off(max_pool1d(row, 2), max_pool2d(image[:1], (1, 2))[0])
    result["3d"] = off(avg_pool3d(volume, 2)[0], avg_pool2d(image, 2))
    both = jnp.concatenate([image, 2 * image], axis=-1)
    result["channels"] = off(max_pool2d(both, 2)[..., 1], 2 * maxima[..., 0])
    print("Pools that have to equal a two-dimensional one are off by:")
    for name in ("1d", "3d", "channels"):
        print(f"    {name:32} {result[name]:g}")
    return result


if __name__ == "__main__":
    run_main(main, Config)
