"""Times operations beside PyTorch and plain Flax, in turns, in one process.

    python -m benchmarks.operations              # all, as a table
    python -m benchmarks.operations pool conv    # those with such a name
    python -m benchmarks.operations --write      # into docs/performance.md

float32, medians of 15 turns, each after a pause, since PyTorch's threads spin for a
while after their work. jaxdl is compiled by `training.compiled`, Flax by `jax.jit`.
PyTorch runs eagerly on channels-first tensors. Results are compared before they are
timed. "in a scan" is one of eight steps of a `lax.scan`, with operands of its own.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn
from jax import lax

from benchmarks.pages import write_between
from jaxdl import functional as F
from jaxdl.layers import GRU
from jaxdl.training import compiled

DOCS = Path(__file__).parents[1] / "docs"
TURNS = 15
SCANNED = 8


class Case(NamedTuple):
    name: str
    ours: Callable
    flax: Callable | None
    torch: Callable
    operands: tuple[np.ndarray, ...]
    """for ours and Flax"""
    tensors: tuple[torch.Tensor, ...]
    """the same for PyTorch, in its layout"""
    apart: bool = False
    """whether the gradient of each operand is timed apart"""


class Row(NamedTuple):
    name: str
    part: str
    seconds: dict[str, float]


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def channels_first(images):
    return torch.tensor(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


def convolution(batch, size, channels, kernel, out, stride=1, padding=0, groups=1):
    images = random(batch, size, size, channels)
    weight = random(kernel, kernel, channels // groups, out, seed=1) / kernel
    tensors = (
        channels_first(images),
        torch.tensor(np.ascontiguousarray(weight.transpose(3, 2, 0, 1))),
    )
    settings = {"stride": stride, "padding": padding, "groups": groups}
    flax = lambda x, w: lax.conv_general_dilated(
        x, w, (stride, stride), [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
    )  # fmt: skip
    kind = "depthwise" if groups == channels > 1 else "conv"
    name = f"{kind} {kernel}×{kernel}, {batch}×{size}×{size}, {channels} to {out}"
    return Case(
        name + (f", stride {stride}" if stride > 1 else ""),
        lambda x, w: F.conv2d(x, w, **settings),
        flax,
        lambda x, w: torch.nn.functional.conv2d(x, w, **settings),
        (images, weight),
        tensors,
        apart=True,
    )


def pool(kind, batch, size, channels, kernel, stride, padding=0):
    images = random(batch, size, size, channels)
    ours, flax, torchs = {
        "max": (F.max_pool2d, nn.max_pool, torch.nn.functional.max_pool2d),
        "avg": (F.avg_pool2d, nn.avg_pool, torch.nn.functional.avg_pool2d),
    }[kind]
    window = (kernel, kernel), (stride, stride), [(padding, padding)] * 2
    return Case(
        f"{kind} pool {kernel}×{kernel}, {batch}×{size}×{size}×{channels}, "
        f"stride {stride}",
        lambda x: ours(x, kernel, stride, padding),
        lambda x: flax(x, *window),
        lambda x: torchs(x, kernel, stride, padding),
        (images,),
        (channels_first(images),),
    )


def batch_norm(batch, size, channels):
    images, scale = random(batch, size, size, channels), random(channels, seed=1)
    layer = nn.BatchNorm(use_running_average=False, epsilon=1e-5)
    zeros, ones = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    stats = {"mean": zeros, "var": ones}
    norm = lambda x, w, b: F.batch_norm(x, zeros, ones, w, b, train=True)[0]
    flax = lambda x, w, b: layer.apply(
        {"params": {"scale": w, "bias": b}, "batch_stats": stats}, x,
        mutable=["batch_stats"],
    )[0]  # fmt: skip
    theirs = lambda x, w, b: torch.nn.functional.batch_norm(
        x, torch.zeros(channels), torch.ones(channels), w, b, training=True
    )
    operands = images, scale, zeros
    tensors = channels_first(images), torch.tensor(scale), torch.tensor(zeros)
    name = f"batch norm, {batch}×{size}×{size}×{channels}"
    return Case(name, norm, flax, theirs, operands, tensors)


def recurrent(lengths):
    """A bidirectional GRU of two layers, (T, N, F) = (12, 256, 100), hidden 100."""
    steps, batch, features, hidden = 12, 256, 100, 100
    x = random(steps, batch, features)
    layer = GRU(hidden, num_layers=2, bidirectional=True)
    params = layer.init(jax.random.key(0), jnp.asarray(x))
    name = f"GRU, 2 layers, bidirectional, lengths {lengths}"
    lengths = {
        "all 12": np.full(batch, steps),
        "1 to 12": np.random.default_rng(0).integers(1, steps + 1, batch),
    }[lengths]
    names, leaves = zip(*sorted(params["params"].items()), strict=True)
    module = torch.nn.GRU(features, hidden, 2, bidirectional=True)
    weights = [np.asarray(leaf) for leaf in leaves]

    def ours(x, *weights):
        variables = {"params": dict(zip(names, weights, strict=True))}
        return layer.apply(variables, x, None, jnp.asarray(lengths))[0]

    def theirs(x, *weights):
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(lengths), enforce_sorted=False
        )
        by_name = dict(zip(names, weights, strict=True))
        output, _ = torch.func.functional_call(module, by_name, (packed,))
        return torch.nn.utils.rnn.pad_packed_sequence(output, total_length=steps)[0]

    tensors = tuple(torch.tensor(np.ascontiguousarray(w.T)) for w in weights)
    return Case(name, ours, None, theirs, (x, *weights), (torch.tensor(x), *tensors))


def cases():
    return [
        pool("max", 256, 24, 16, 2, 2),
        pool("max", 256, 24, 16, 3, 2),
        pool("max", 64, 56, 64, 3, 2, 1),
        pool("max", 64, 28, 64, 3, 1, 1),
        pool("avg", 256, 24, 16, 2, 2),
        pool("avg", 64, 28, 24, 3, 1, 1),
        batch_norm(64, 32, 64),
        batch_norm(64, 16, 128),
        batch_norm(64, 4, 512),
        convolution(256, 28, 1, 5, 6),
        convolution(256, 12, 6, 5, 16),
        convolution(256, 28, 1, 5, 16),
        convolution(256, 12, 16, 5, 32),
        convolution(256, 12, 16, 3, 16, padding=1),
        convolution(64, 32, 64, 3, 64, padding=1),
        convolution(64, 16, 128, 3, 128, stride=2, padding=1),
        convolution(64, 8, 256, 3, 256, padding=1),
        convolution(64, 16, 256, 1, 64),
        convolution(64, 32, 64, 3, 64, padding=1, groups=64),
        recurrent("1 to 12"),
        recurrent("all 12"),
    ]


def parts(case):
    """What is timed: the value, and gradients of the operands with these numbers."""
    everything = tuple(range(len(case.operands)))
    if not case.apart:
        return {"forward": (), "forward and gradients": everything}
    names = ("input's gradient", "weight's gradient")
    return {"forward": ()} | {name: (i,) for i, name in enumerate(names)}


def jax_function(function, of, keep_value):
    """Returns the function of operands and cotangent that does this part."""
    if not of:
        return lambda operands, _: function(*operands)

    def gradients(operands, g):
        def value(*chosen):
            given = dict(enumerate(operands)) | dict(zip(of, chosen, strict=True))
            return function(*given.values())

        output, pullback = jax.vjp(value, *(operands[i] for i in of))
        return (output, pullback(g)) if keep_value else pullback(g)

    return gradients


def torch_run(function, tensors, of, g, keep_value):
    if not of:
        return lambda: function(*tensors)
    tensors = [t.detach().requires_grad_(i in of) for i, t in enumerate(tensors)]
    chosen = [tensors[i] for i in of]
    if keep_value:
        return lambda: torch.autograd.grad(function(*tensors), chosen, g)
    output = function(*tensors)
    return lambda: torch.autograd.grad(output, chosen, g, retain_graph=True)


def runs_of(case, of):
    """Returns what to time, by name, and the results, to compare."""
    output = case.torch(*case.tensors).detach()
    g = torch.tensor(random(*output.shape, seed=9))
    same_layout = output.ndim != 4
    ours_g = jnp.asarray(g.numpy() if same_layout else g.numpy().transpose(0, 2, 3, 1))
    operands = tuple(map(jnp.asarray, case.operands))
    function = jax_function(case.ours, of, keep_value=not case.apart)
    ready = lambda f, *a: lambda: jax.block_until_ready(f(*a))

    runs = {"jaxdl": ready(compiled(function), operands, ours_g)}
    runs["PyTorch"] = torch_run(case.torch, case.tensors, of, g, not case.apart)
    if case.flax is not None:
        flax = jax_function(case.flax, of, keep_value=not case.apart)
        runs["Flax"] = ready(jax.jit(flax), operands, ours_g)
    if of:
        runs["in a scan"] = ready(compiled(scanned(function)), operands, ours_g)
    return runs


def scanned(function):
    """Does it in a loop, each time with other operands; keeps the last result."""

    def run(operands, g):
        many = jax.tree.map(lambda a: jnp.stack([a] * SCANNED), operands)
        start = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, operands, g))
        return lax.scan(lambda _, a: (function(a, g), None), start, many)[0]

    return run


def check(case):
    """Refuses to time what does not compute the same."""
    value = np.asarray(jax.jit(case.ours)(*map(jnp.asarray, case.operands)))
    expected = case.torch(*case.tensors).detach().numpy()
    if expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-3)


def medians(runs):
    """Runs all in turns, so that whatever else the machine does slows all."""
    for run in runs.values():
        run()
    seconds = {name: [] for name in runs}
    for _ in range(TURNS):
        for name, run in runs.items():
            time.sleep(0.005)
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    typical = {name: statistics.median(times) for name, times in seconds.items()}
    if "in a scan" in typical:
        typical["in a scan"] /= SCANNED
    return typical


def measured(case):
    check(case)
    for part, of in parts(case).items():
        yield Row(case.name, part, medians(runs_of(case, of)))


def table(rows):
    lines = [
        "| operation | part | jaxdl | in a scan | PyTorch | Flax | PyTorch / jaxdl "
        "| Flax / jaxdl |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, part, seconds in rows:
        names = ("jaxdl", "in a scan", "PyTorch", "Flax")
        cells = [f"{seconds[n] * 1e3:.1f} ms" if n in seconds else "" for n in names]
        for other in ("PyTorch", "Flax"):
            ratio = seconds.get(other, 0) / seconds["jaxdl"]
            cells.append(f"{ratio:.2f}" if ratio else "")
        lines.append(" | ".join(("", name, part, *cells, "")).strip())
    return "\n".join(lines)


def figure(rows):
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(9, 0.32 * len(rows) + 1), layout="constrained")
    axes = drawing.subplots()
    places = np.arange(len(rows))[::-1]
    for other, colour, marker in (
        ("PyTorch", "#0072B2", "o"),
        ("Flax", "#D55E00", "s"),
    ):
        ratios = [r.seconds.get(other, np.nan) / r.seconds["jaxdl"] for r in rows]
        axes.plot(ratios, places, marker, color=colour, label=f"{other} / jaxdl")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(places, [f"{r.name}: {r.part}" for r in rows], fontsize=7)
    axes.set_xlabel("time of the other / time of jaxdl (right of 1: jaxdl is faster)")
    axes.set_title("Operations on two cores of a CPU, float32")
    axes.grid(axis="x", alpha=0.4)
    axes.legend(loc="upper left")
    return drawing


def write(rows):
    page = DOCS / "performance.md"
    write_between(page, "<!-- operations -->", table(rows), "<!-- end -->")
    figure(rows).savefig(DOCS / "operations.svg")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of the names of operations")
    parser.add_argument(
        "--write", action="store_true", help="update docs/performance.md"
    )
    arguments = parser.parse_args()
    if arguments.write and arguments.names:
        parser.error("--write takes all operations")
    torch.set_num_threads(2)
    rows = []
    for case in cases():
        if not arguments.names or any(name in case.name for name in arguments.names):
            for row in measured(case):
                times = {k: f"{v * 1e3:.2f} ms" for k, v in row.seconds.items()}
                print(row.name, row.part, times, sep="; ", flush=True)
                rows.append(row)
    print(table(rows))
    if arguments.write:
        write(rows)


if __name__ == "__main__":
    main()
