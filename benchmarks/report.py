"""Writes what was measured into the documents, between the marks that name it.

    python -m benchmarks.report            # shows each table
    python -m benchmarks.report --write    # writes tables and figures into docs/

A mark is `<!-- benchmark: cpu training -->`: the file of benchmarks/results, and one of
`SECTIONS`. What stands from there to `<!-- end -->` is replaced.
"""

import argparse
import json
import re
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS, RESULTS = ROOT / "docs", Path(__file__).parent / "results"
MARK = re.compile(r"(<!-- benchmark: (\w+) (\w+) -->\n).*?(<!-- end -->)", re.S)
COLOURS = {"jaxdl": "#0072B2", "PyTorch": "#D55E00", "Flax": "#009E73"}
FASTER = "PyTorch"
UNMEASURED = "*Not measured yet.*"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return UNMEASURED
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def seconds(value: float) -> str:
    """Three digits, in the unit that fits."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1 or unit == "µs":
            return f"{value * factor:.3g} {unit}"
    raise AssertionError("unreachable")


def spread(ratio: dict[str, float] | None) -> str:
    if ratio is None:
        return "—"
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})"


def of_kind(results: dict[str, Any], *kinds: str) -> list[dict[str, Any]]:
    return [record for record in results["cases"].values() if record["kind"] in kinds]


def machine(results: dict[str, Any]) -> str:
    found, settings = results["machine"], results["settings"]
    versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items())
    accelerator = found.get("accelerator")
    where = f"one {accelerator}; " if accelerator else ""
    return (
        f"Measured on {found['date']}: {where}{found['cores']} cores of"
        f" {found['processor']}, {found['memory_gib']} GiB; Python {found['python']},"
        f" {versions}. Medians of {settings['turns']} turns, and quartiles of the"
        f" turns' ratios; float32 where nothing else is said. The machine's load was"
        f" {found['load']:.1f} at the start, and the whole took"
        f" {results['seconds'] / 60:.0f} minutes."
    )


def ratios(record: dict[str, Any]) -> list[str]:
    found = record["ratios"]
    cells = [spread(found.get(name)) for name in (FASTER, "torch.compile", "Flax")]
    met = [
        f"{name} {verdict(goal['goal'], goal['met'])}"
        for name, goal in record["goals"].items()
    ]
    return [*cells, ", ".join(met) or "—"]


def verdict(goal: float, met: bool, unit: str = "") -> str:
    return f"{goal:g}{unit}: {'met' if met else '**missed**'}"


RATIO_HEAD = ("PyTorch / jaxdl", "torch.compile / jaxdl", "Flax / jaxdl", "goals")


def cell(record: dict[str, Any], side: str) -> str:
    found = record["sides"].get(side, {})
    if "median" in found:
        return seconds(found["median"] / record["epochs"])
    return "fails" if "error" in found else "—"


def training(results: dict[str, Any]) -> str:
    """Time of an epoch: each side, and what the others take of jaxdl's."""
    rows = []
    for record in of_kind(results, "train"):
        work = f"{record['steps']} × {record['batch_size']}"
        sides = ("jaxdl", "PyTorch", "PyTorch, DataLoader", "torch.compile", "Flax")
        cells = [cell(record, side) for side in sides]
        rows.append([record["title"], work, *cells, *ratios(record)])
    head = ("case", "steps × batch", "jaxdl", "PyTorch, indexed", "PyTorch, DataLoader",
            "torch.compile", "Flax", *RATIO_HEAD)  # fmt: skip
    return table(head, rows)


def whole(results: dict[str, Any]) -> str:
    """Small runs by `fit` and as one program."""
    name, rows = "jaxdl, make_run", []
    for record in of_kind(results, "train"):
        if name in record["sides"]:
            ratio = record["ratios"][f"PyTorch / {name}"]
            fit, whole = cell(record, "jaxdl"), cell(record, name)
            goal = record["goals"][FASTER]["goal"]
            met = verdict(goal, ratio["median"] >= goal)
            cells = (record["epochs"], fit, whole, spread(ratio), met)
            rows.append([record["title"], *cells])
    head = ("case", "epochs", "`fit`", "`make_run`", "PyTorch / jaxdl's `make_run`",
            "goal")  # fmt: skip
    return table(head, rows)


def members(results: dict[str, Any]) -> str:
    """Sweeps, folds and ensembles: one program beside runs one after another."""
    rows = []
    for record in of_kind(results, "rates", "folds", "ensemble"):
        sides = ("jaxdl", record["faster"], "Flax")
        cells = [cell(record, side) for side in sides]
        gain = spread(record["ratios"].get("one by one"))
        rows.append([record["title"], *cells, *ratios(record), gain])
    head = ("case", "jaxdl", "PyTorch", "Flax", *RATIO_HEAD, "jaxdl's one by one / all")
    return table(head, rows)


def evaluation(results: dict[str, Any]) -> str:
    rows = []
    for record in of_kind(results, "evaluate"):
        title = f"{record['title']}, {record['examples']:,} images"
        cells = [cell(record, side) for side in ("jaxdl", "PyTorch", "Flax")]
        rows.append([title, *cells, *ratios(record)])
    return table(("case", "jaxdl", "PyTorch", "Flax", *RATIO_HEAD), rows)


def waiting(results: dict[str, Any]) -> str:
    """Compilation, a process from start to end, and its peak memory."""
    rows = []
    for record in of_kind(results, "train"):
        sides, eager = record["sides"], record["faster"]
        first = [
            sides.get(side, {}).get("compile")
            for side in ("jaxdl", "torch.compile", "Flax")
        ]
        compiles = [f"{took:.1f} s" if took is not None else "—" for took in first]
        order = ("jaxdl", "jaxdl, cache", eager, "Flax")
        runs = [sides.get(side, {}).get("fresh") for side in order]
        walls = [f"{run['wall']:.1f} s" if run else "—" for run in runs]
        peaks = [f"{run['peak_mib']:.0f}" if run else "—" for run in runs]
        rows.append([record["title"], *compiles, *walls, peaks[0], *peaks[2:]])
    head = (
        "case", "jaxdl compiles", "torch.compile", "Flax", "process: jaxdl",
        "jaxdl, cache", "PyTorch", "Flax", "MiB: jaxdl", "PyTorch", "Flax",
    )  # fmt: skip
    return table(head, rows)


def dense(results: dict[str, Any]) -> str:
    """The share of the machine's own rate of matrix products that training reaches."""
    rates = results["extras"]["matrix"]["rates"]
    own, size = max(rates.values()), results["extras"]["matrix"]["size"]
    rows = []
    for record in of_kind(results, "train"):
        if record["flops"]:
            work = record["flops"] * record["steps"] * record["epochs"]
            reached = [
                work / record["sides"][side]["median"]
                for side in ("jaxdl", record["faster"])
            ]
            shares = [f"{rate / 1e9:.0f} GFLOP/s, {rate / own:.0%}" for rate in reached]
            rows.append([record["title"], f"{record['flops'] / 1e6:.0f}", *shares])
    text = ", ".join(f"{rate / 1e9:.0f} by {name}" for name, rate in rates.items())
    return (
        f"Products of {size}×{size} matrices run at {text} GFLOP/s in this run.\n\n"
        + table(("case", "MFLOP a step", "jaxdl", "PyTorch"), rows)
    )


def ceilings(results: dict[str, Any]) -> str:
    """What parts of a step take alone, and how many times faster they could make it."""
    rows = []
    for name, found in results["extras"]["ceilings"].items():
        alone = "; ".join(f"{part} {seconds(t)}" for part, t in found["parts"].items())
        share, now, best = (found[key]["median"] for key in ("share", "now", "at best"))
        cells = (alone, seconds(found["step"]), f"{share:.0%}", f"{now:.2f}")
        rows.append([results["cases"][name]["title"], *cells, f"{best:.2f}"])
    head = (
        "case", "parts of a step, alone", "jaxdl's step", "their share of it",
        "PyTorch / jaxdl", "without all else",
    )  # fmt: skip
    return table(head, rows)


def imports(results: dict[str, Any]) -> str:
    rows = [
        [f"`{name}`" if name.isidentifier() else name, f"{wall:.2f} s"]
        for name, wall in results["extras"]["imports"].items()
    ]
    return table(("a process that imports", "takes"), rows)


def lessons(results: dict[str, Any]) -> str:
    sides = ("jaxdl", "jaxdl, cache", "PyTorch")
    rows = [
        [f"`{lesson}`", *(f"{statistics.median(walls[side]):.1f} s" for side in sides)]
        for lesson, walls in results["extras"]["lessons"].items()
    ]
    head = ("lesson, start to end", "jaxdl", "with a cache", "PyTorch's script")
    return table(head, rows)


def overhead(results: dict[str, Any]) -> str:
    found = results["extras"]["overhead"]
    names = {
        "bare": "the scanned epoch alone",
        "fit": "`fit`, with progress and a TensorBoard log",
        "checkpoints": "the same, with a checkpoint an epoch",
    }
    rows = [
        [text, seconds(found[name]), f"{found[name] / found['bare']:.2f}"]
        for name, text in names.items()
    ]
    return table(("an epoch of the five-layer MLP", "takes", "of the first"), rows)


def compiling(results: dict[str, Any]) -> str:
    rows = []
    for name, sides in results["extras"]["compiling"].items():
        parts = next(iter(sides.values()))
        for part in parts:
            took = [f"{sides[side][part][0]:.2f} s" for side in ("jaxdl", "plain Flax")]
            rows.append([name, part, *took])
    return table(("network", "part", "jaxdl", "plain Flax"), rows)


def loading(results: dict[str, Any]) -> str:
    found = results["extras"]["loading"]
    rows = [
        [side, seconds(found[side]["first"]),
         *(f"{found[side][name]:,.0f}" for name in ("whole", "steady"))]
        for side in ("jaxdl", "PyTorch")
    ]  # fmt: skip
    stream = found["stream"]
    text = (
        f"\n\nA stream of {stream['images']:,} images kept all processes below"
        f" {max(stream['peaks_mib']):.0f} MiB together, at {stream['rate']:,.0f} images"
        " a second."
    )
    if "mnist_seconds" in found:
        text += f" 70,000 MNIST images become arrays in {found['mnist_seconds']:.1f} s."
    head = ("JPEGs from a folder", "first batch", "images a second", "once it runs")
    return table(head, rows) + text


def devices(results: dict[str, Any]) -> str:
    found = results["extras"]["devices"]
    times = {int(count): value for count, value in found["seconds"].items()}
    rows = [
        [count, count * found["batch"], seconds(value),
         f"{count * found['batch'] / value:,.0f}", f"{count * times[1] / value:.2f}"]
        for count, value in times.items()
    ]  # fmt: skip
    head = ("devices", "batch", "a step", "images a second", "of one device's")
    return table(head, rows)


def curves(results: dict[str, Any]) -> str:
    rows = []
    for axis, found in results["extras"]["curves"].items():
        for i, value in enumerate(found["values"]):
            times = {side: of_side[i] for side, of_side in found["seconds"].items()}
            ratio = f"{times['PyTorch'] / times['jaxdl']:.2f}"
            rows.append([axis, value, *map(seconds, times.values()), ratio])
    head = ("axis", "value", "jaxdl", "PyTorch", "Flax", "PyTorch / jaxdl")
    device = results["machine"]["device"]
    figures = [
        f"![{axis}]({device}_{axis}.svg)" for axis in results["extras"]["curves"]
    ]
    return table(head, rows) + "\n\n" + "\n".join(figures)


def reach(results: dict[str, Any]) -> str:
    found = results["extras"]["reach"]
    reached = sum(accuracy >= found["goal"] for accuracy in found["accuracy"])
    text = (
        f"The residual CNN names {found['goal']:.0%} of MNIST's test images after"
        f" {seconds(found['median'])}, in {statistics.median(found['epochs']):.0f}"
        f" epochs, compilation apart: medians of {len(found['seconds'])} seeds, of"
        f" which {reached} got there."
    )
    if limit := found.get("goal_seconds"):
        met = found["median"] <= limit and reached == len(found["accuracy"])
        text += f" The goal of {verdict(limit, met, ' s')}."
    return text


SECTIONS = {
    function.__name__: function
    for function in (
        machine, training, whole, members, evaluation, waiting, dense, ceilings,
        imports, lessons, overhead, compiling, loading, devices, curves, reach,
    )
}  # fmt: skip


def section(name: str, file: str) -> str:
    """Returns a section of a file of results, which says so where it is missing."""
    path = RESULTS / f"{file}.json"
    if not path.exists():
        return UNMEASURED
    try:
        return SECTIONS[name](json.loads(path.read_text()))
    except KeyError:  # a run of some of the cases
        return UNMEASURED


def render(text: str, where: str = "") -> str:
    """Returns a document with what stands between its marks written anew.

    Raises ValueError for a mark that names what is not there.
    """

    def written(match: re.Match) -> str:
        start, name, wanted, end = match.groups()
        if wanted not in SECTIONS:
            raise ValueError(f"{where}: no section {wanted!r}: {', '.join(SECTIONS)}")
        return f"{start}\n{section(wanted, name)}\n\n{end}"

    return MARK.sub(written, text)


def pages() -> Iterator[Path]:
    """The documents that have marks."""
    for page in sorted(DOCS.glob("*.md")):
        if MARK.search(page.read_text()):
            yield page


def draw(results: dict[str, Any], device: str) -> None:
    """Draws time against batch, width, depth and members: docs/DEVICE_AXIS.svg."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "jaxdl"  # the same file each time
    for axis, found in results["extras"].get("curves", {}).items():
        figure = Figure(figsize=(5, 3.5), layout="constrained")
        axes = figure.subplots()
        for side, times in found["seconds"].items():
            ms, colour = [1000 * value for value in times], COLOURS[side]
            axes.plot(found["values"], ms, "o-", color=colour, label=side)
        axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="milliseconds a step")
        axes.set_title(found["what"], fontsize=9)
        axes.grid(alpha=0.4)
        axes.legend()
        figure.savefig(DOCS / f"{device}_{axis}.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="update docs/")
    write = parser.parse_args().write
    for page in pages():
        text = render(page.read_text(), page.name)
        if write:
            page.write_text(text)
        else:
            print(*(match.group() for match in MARK.finditer(text)), sep="\n\n")
    if write:
        for file in sorted(RESULTS.glob("*.json")):
            results = json.loads(file.read_text())
            if "extras" in results:
                draw(results, results["machine"]["device"])


if __name__ == "__main__":
    main()
