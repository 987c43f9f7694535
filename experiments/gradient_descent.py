"""Gradient descent: does it matter how many examples a step looks at?

    python -m experiments.gradient_descent

After 2,000 looks at 100 examples, ten a step have the lowest loss. A saddle point, no
optimum as the notes have it, stops descent on all 100, but not on ten or one (6 s).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

from jaxdl.cli import run_main
from jaxdl.config import RunConfig
from jaxdl.data import make_linear_data
from jaxdl.plots import draw_lines
from jaxdl.run import open_run

STYLES = {1: ".-C0", 10: ".-C1", 100: ".-k"}  # by examples a step, of 100


@dataclass(frozen=True)
class Config(RunConfig):
    examples_seen: int = 2000
    """by each of three ways, on the line"""


def line_loss(theta, x, y):
    """Mean of (w x + b - y)², a bowl over θ = (w, b)."""
    return jnp.mean((theta[0] * x[:, 0] + theta[1] - y) ** 2)


def cluster_loss(theta, x):
    """Mean of 1 - exp(-½|x - θ|²): least inside a cluster, a saddle between two."""
    return jnp.mean(1 - jnp.exp(-((x - theta) ** 2).sum(axis=1) / 2))


def descend(key, loss, theta, data, size, steps, rate):
    """Returns θ before each step and after the last; each step draws its examples."""

    def step(theta, key):
        rows = jax.random.permutation(key, len(data[0]))[:size]
        return theta - rate * jax.grad(loss)(theta, *(a[rows] for a in data)), theta

    keys, theta = jax.random.split(key, steps), jnp.array(theta, float)
    return jnp.vstack(jax.jit(lambda *a: jax.lax.scan(step, *a))(theta, keys)[::-1])


def draw(loss, data, paths, x, y):
    over = jax.jit(jnp.vectorize(lambda t: loss(t, *data), signature="(2)->()"))
    a, b = jnp.meshgrid(jnp.linspace(*x[1:], 61), jnp.linspace(*y[1:], 61))
    heights = over(jnp.stack([a, b], axis=-1))  # 61: no faces from unset memory
    fig = Figure(figsize=(18, 4.2), layout="constrained")
    least = {f"at the best {y[0]}": (a[0], heights.min(axis=0))}
    draw_lines(fig.add_subplot(141), least, xlabel=x[0], ylabel="loss")
    ax = fig.add_subplot(142, projection="3d", xlabel=x[0], ylabel=y[0], title="loss")
    ax.plot_surface(a, b, heights, cmap="viridis").axes.locator_params(nbins=4)
    floor, progress = fig.add_subplot(143), fig.add_subplot(144, xscale="log")
    floor.contour(a, b, heights, 20, cmap="viridis", alpha=0.4)
    ways = {f"{n} a step": (*paths[n].T, STYLES[n]) for n in paths}
    seen = {n: n * jnp.arange(len(path)) + 1 for n, path in paths.items()}
    told = {f"{n} a step": (seen[n], over(paths[n]), STYLES[n][1:]) for n in paths}
    draw_lines(floor, ways, xlabel=x[0], ylabel=y[0])
    draw_lines(progress, told, xlabel="examples seen", ylabel="loss", yscale="log")
    return fig


def main(config: Config = Config()) -> dict[str, float]:
    """Returns, by examples a step, the losses on the line and |v| on the saddle."""
    keys, bowl, saddle = jax.random.split(jax.random.key(config.seed), 4), {}, {}
    line = [*make_linear_data(keys[0], [2.0], 0.5, 100, noise=0.5).values()]
    half = 0.5 * jax.random.normal(keys[1], (50, 2)) + jnp.array([0, 1.5])
    twins = [jnp.vstack([half, half * jnp.array([1, -1])])]  # clusters at v and -v
    seen, result = config.examples_seen, {}
    for n in STYLES:
        bowl[n] = descend(keys[2], line_loss, [-1, -2], line, n, seen // n, 0.1)
        saddle[n] = descend(keys[3], cluster_loss, [2, 0], twins, n, 200, 0.5)
        result[f"loss/{n}"] = loss = line_loss(bowl[n][-1], *line).item()
        result[f"away/{n}"] = away = abs(saddle[n][-1, 1]).item()
        print(f"{n:3} a step: loss {loss:.3f} on the line, {away:.3f} off the saddle")
    with open_run("gradient_descent", config) as run:
        run.save(line=draw(line_loss, line, bowl, ("w", -2, 5), ("b", -3, 4)))
        run.save(saddle=draw(cluster_loss, twins, saddle, ("u", -1, 2.2), ("v", -2, 2)))
    return result


if __name__ == "__main__":
    run_main(main, Config)
