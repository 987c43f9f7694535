"""Places for the boxes of a drawing in layers (Sugiyama, Tagawa and Toda, 1981)."""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from statistics import fmean
from typing import NamedTuple

import numpy as np

SWEEPS = 12
BESIDE, BETWEEN = 24.0, 44.0  # from box to box, and from layer to layer

Point = tuple[float, float]


class Box(NamedTuple):
    """The size of a box."""

    width: float
    height: float


class Edge(NamedTuple):
    """A line from the bottom of one box to the top of another, boxes by number.

    It arrives at `entry`, 0 being the left end of the top and 1 its right end.
    """

    source: int
    target: int
    entry: float = 0.5


class Layout(NamedTuple):
    """The top left corner of each box, the points of each edge, and the whole's size.

    Points come in pairs, but for the last. From the first of a pair to the second an
    edge goes straight down; it moves sideways after a pair, where no boxes are.
    """

    corners: list[Point]
    routes: list[list[Point]]
    size: Box


def arrange(boxes: Sequence[Box], edges: Sequence[Edge]) -> Layout:
    """Returns a layout in which every edge goes down and few cross.

    Edges lead from boxes to later boxes. An edge that passes a layer gets a place of
    its own in it, as a box without size does.
    """
    boxes, layers = list(boxes), _layers(len(boxes), edges)
    num_boxes = len(boxes)
    chains = []
    for edge in edges:
        passed = range(layers[edge.source] + 1, layers[edge.target])
        places = range(len(boxes), len(boxes) + len(passed))
        chains.append([edge.source, *places, edge.target])
        boxes += [Box(0, 0)] * len(passed)
        layers += passed
    steps = [
        Edge(above, below, edge.entry if below == edge.target else 0.5)
        for edge, chain in zip(edges, chains, strict=True)
        for above, below in pairwise(chain)
    ]
    rows = [
        [i for i, at in enumerate(layers) if at == k] for k in range(max(layers) + 1)
    ]
    rows = _uncrossed(rows, steps)
    centers = _centers(rows, steps, boxes)

    lefts = [center - box.width / 2 for center, box in zip(centers, boxes, strict=True)]
    shift = min(lefts)
    heights = [max(boxes[i].height for i in row) for row in rows]
    tops = [0.0, *accumulate(height + BETWEEN for height in heights)]

    def route(edge: Edge, chain: list[int]) -> list[Point]:
        x, y = centers[edge.source] - shift, tops[layers[edge.source]]
        points = [
            (x, y + boxes[edge.source].height),
            (x, y + heights[layers[edge.source]]),
        ]
        for i in chain[1:-1]:
            top = tops[layers[i]]
            points += [(centers[i] - shift, y) for y in (top, top + heights[layers[i]])]
        x = lefts[edge.target] - shift + edge.entry * boxes[edge.target].width
        end = (x, tops[layers[edge.target]])
        return [*points, end]

    return Layout(
        [(lefts[i] - shift, tops[layers[i]]) for i in range(num_boxes)],
        [route(edge, chain) for edge, chain in zip(edges, chains, strict=True)],
        Box(
            max(left + box.width for left, box in zip(lefts, boxes, strict=True))
            - shift,
            tops[-1] - BETWEEN,
        ),
    )


def _layers(num_boxes: int, edges: Sequence[Edge]) -> list[int]:
    """Returns each box's layer, counted from the top.

    A box is below all that it reads, and as low as can be where that makes its edges
    no longer: a parameter stands right above what reads it.
    """
    layers = [0] * num_boxes
    for edge in sorted(edges, key=lambda edge: edge.target):
        layers[edge.target] = max(layers[edge.target], layers[edge.source] + 1)
    read = Counter(edge.target for edge in edges)
    readers: dict[int, list[int]] = {}
    for edge in edges:
        readers.setdefault(edge.source, []).append(edge.target)
    for box in sorted(readers, reverse=True):
        if read[box] <= len(readers[box]):
            layers[box] = min(layers[reader] for reader in readers[box]) - 1
    return layers


def _uncrossed(rows: list[list[int]], steps: Sequence[Edge]) -> list[list[int]]:
    """Orders each row by its neighbours' mean place, down and up; keeps the best."""
    above: dict[int, list[Edge]] = {i: [] for row in rows for i in row}
    below: dict[int, list[Edge]] = {i: [] for row in rows for i in row}
    for step in steps:
        above[step.target].append(step)
        below[step.source].append(step)
    best, fewest = rows, _crossings(rows, steps)
    at = _places(rows)

    def mean_above(i):
        return fmean([at[step.source] for step in above[i]] or [at[i]])

    def mean_below(i):
        return fmean([at[s.target] + s.entry - 0.5 for s in below[i]] or [at[i]])

    for sweep in range(SWEEPS):
        if not fewest:
            break
        rows, is_down = list(rows), sweep % 2 == 0
        for k in range(len(rows)) if is_down else reversed(range(len(rows))):
            rows[k] = sorted(rows[k], key=mean_above if is_down else mean_below)
            at.update(_places([rows[k]]))
        crossings = _crossings(rows, steps)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _crossings(rows: Sequence[Sequence[int]], steps: Sequence[Edge]) -> int:
    """Counts the pairs of steps between the same two rows that cross."""
    at = _places(rows)
    layer = {i: k for k, row in enumerate(rows) for i in row}
    ends: list[list[tuple[float, float]]] = [[] for _ in rows]
    for source, target, entry in steps:
        ends[layer[target]].append((at[source], at[target] + entry - 0.5))
    total = 0
    for pairs in ends[1:]:
        above, below = np.array(pairs).T
        order = np.subtract.outer(above, above) * np.subtract.outer(below, below)
        total += int(np.sum(order < 0)) // 2
    return total


def _places(rows: Sequence[Sequence[int]]) -> dict[int, int]:
    return {i: place for row in rows for place, i in enumerate(row)}


def _centers(
    rows: Sequence[Sequence[int]], steps: Sequence[Edge], boxes: Sequence[Box]
) -> list[float]:
    """Returns each box's middle: as near to its neighbours' as the row lets it be."""
    centers = [0.0] * len(boxes)
    near: list[list[tuple[int, float]]] = [[] for _ in boxes]  # to stand how far from
    for source, target, entry in steps:
        aside = (entry - 0.5) * boxes[target].width
        near[source].append((target, aside))
        near[target].append((source, -aside))
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [
                fmean([centers[j] + aside for j, aside in near[i]] or [centers[i]])
                for i in row
            ]
            gaps = [
                (boxes[i].width + boxes[j].width) / 2 + BESIDE for i, j in pairwise(row)
            ]
            for i, center in zip(row, _spread(wanted, gaps), strict=True):
                centers[i] = center
    return centers


def _spread(wanted: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Returns the ascending numbers nearest to those wanted, with gaps between them.

    Nearest in the sum of squares: an isotonic regression, which pools those that would
    come too near to each other (Ayer et al., 1955).
    """
    offsets = [0.0, *accumulate(gaps)]
    pools: list[tuple[float, int]] = []
    for number, offset in zip(wanted, offsets, strict=True):
        mean, count = number - offset, 1
        while pools and pools[-1][0] > mean:
            before, size = pools.pop()
            mean = (before * size + mean * count) / (size + count)
            count += size
        pools.append((mean, count))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
