"""Small graphs as pictures: SVG written by hand, and DOT for Graphviz."""

import math
from collections.abc import Mapping
from xml.sax.saxutils import escape

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxdl.graph.layout import Box, Edge, Point, arrange
from jaxdl.graph.nodes import Graph, Node, owner

# In pixels. Text is given its width, so that it fits in any font.
FONT_SIZE, CHARACTER, LINE, PADDING, MARGIN = 13, 8, 17, 8, 12
COLORS = {"input": "#dbeafe", "constant": "#eeeeee", "output": "#dcfce7"}
LONGEST_ARRAY = 4

Values = Mapping[str, Array]


def to_svg(
    graph: Graph, values: Values | None = None, gradients: Values | None = None
) -> str:
    """Returns a drawing of the graph as SVG, which browsers and notebooks show.

    What is computed stands below what it is computed from, and a node's operands arrive
    from left to right. With the `values` of `node_values` and the `gradients` of
    `node_gradients` nodes show these, arrays of more than 4 numbers their type.

    Raises:
      ValueError: `values` or `gradients` has a name that the graph has not.
    """
    _check_names(graph, values=values, gradients=gradients)
    texts = [_lines(node, values, gradients) for node in graph.nodes]
    boxes = [
        Box(
            CHARACTER * max(map(len, lines)) + 2 * PADDING,
            LINE * len(lines) + 2 * PADDING,
        )
        for lines in texts
    ]
    number = {node.name: i for i, node in enumerate(graph.nodes)}
    edges = [
        Edge(number[owner(read)], i, (k + 1) / (len(node.inputs) + 1))
        for i, node in enumerate(graph.nodes)
        for k, read in enumerate(node.inputs)
    ]
    layout = arrange(boxes, edges)
    parts = [_line(route) for route in layout.routes]
    for node, lines, box, corner in zip(
        graph.nodes, texts, boxes, layout.corners, strict=True
    ):
        parts += _box(node, lines, box, corner)
    width, height = (size + 2 * MARGIN for size in layout.size)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}"'
        f' viewBox="{-MARGIN} {-MARGIN} {width:g} {height:g}"'
        f' font-family="monospace" font-size="{FONT_SIZE}">\n'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker>'
        "</defs>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def to_dot(
    graph: Graph, values: Values | None = None, gradients: Values | None = None
) -> str:
    r"""Returns the graph in Graphviz's language, with the text that `to_svg` shows.

    >>> from jaxdl.graph import trace
    >>> print(to_dot(trace(lambda x: 2 * x, 1.0)))
    digraph {
      node [shape=box, style="rounded,filled", fontname=monospace]
      "x" [label="x\nfloat32", fillcolor="#dbeafe"]
      "constant" [label="2", fillcolor="#eeeeee"]
      "mul" [label="mul\nfloat32", fillcolor="#ffffff"]
      "output" [label="output\nfloat32", fillcolor="#dcfce7"]
      "constant" -> "mul"
      "x" -> "mul"
      "mul" -> "output"
    }

    Raises:
      ValueError: as `to_svg`.
    """
    _check_names(graph, values=values, gradients=gradients)
    rows = ['node [shape=box, style="rounded,filled", fontname=monospace]']
    for node in graph.nodes:
        label = r"\n".join(_lines(node, values, gradients))
        color = COLORS.get(node.op, "#ffffff")
        rows.append(f'"{node.name}" [label="{label}", fillcolor="{color}"]')
    for node in graph.nodes:
        rows += [f'"{owner(read)}" -> "{node.name}"' for read in node.inputs]
    return "\n  ".join(["digraph {", *rows]) + "\n}"


def _lines(node: Node, values: Values | None, gradients: Values | None) -> list[str]:
    """Returns what stands in a node's box: its name, then numbers, or else types."""
    is_number = node.op == "constant" and not node.shape and _is_number(node)
    lines = [_number(node.value) if is_number else node.name]
    shown = {"value": {} if is_number else values, "gradient": gradients}
    for port, kind in zip(node.ports, node.outputs, strict=True):
        few = _is_number(kind) and math.prod(kind.shape) <= LONGEST_ARRAY
        numbers = [
            f"{what} {_number(given[port])}"
            for what, given in shown.items()
            if given and port in given and few
        ]
        shape = ",".join(map(str, kind.shape))
        text = f"{kind.dtype}[{shape}]" if shape else str(kind.dtype)
        lines += numbers or ([] if is_number else [text])
    return lines


def _is_number(kind: Node | jax.ShapeDtypeStruct) -> bool:
    return isinstance(kind.dtype, np.dtype)  # and not a random key


def _number(value: ArrayLike) -> str:
    """Returns a number with four digits, or an array of such, in one line."""
    array = np.asarray(value)
    is_real = jnp.issubdtype(array.dtype, jnp.floating)
    write = (lambda x: f"{float(x):.4g}") if is_real else str
    text = np.array2string(array, formatter={"all": write}, separator=", ")
    return " ".join(text.split())


def _box(node: Node, lines: list[str], box: Box, corner: Point) -> list[str]:
    """Returns the rectangle of a node and the lines of text in it."""
    (x, y), color = corner, COLORS.get(node.op, "#ffffff")
    parts = [
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" rx="5"'
        f' height="{box.height:.1f}" fill="{color}" stroke="#555"/>'
    ]
    for k, line in enumerate(lines):
        weight = ' font-weight="bold"' if k == 0 else ""
        baseline = y + PADDING + LINE * (k + 0.75)
        parts.append(
            f'<text x="{x + box.width / 2:.1f}" y="{baseline:.1f}" text-anchor="middle"'
            f' textLength="{CHARACTER * len(line)}" lengthAdjust="spacingAndGlyphs"'
            f"{weight}>{escape(line)}</text>"
        )
    return parts


def _line(route: list[Point]) -> str:
    """Returns an edge: straight between the points of a pair, curved between pairs."""
    (x, y), *rest = route
    path = f"M{x:.1f} {y:.1f}"
    for k, (right, down) in enumerate(rest):
        if k % 2 == 1:
            middle = (y + down) / 2
            path += f"C{x:.1f} {middle:.1f} {right:.1f} {middle:.1f} "
        else:
            path += "L"
        path += f"{right:.1f} {down:.1f}"
        x, y = right, down
    return f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#arrow)"/>'


def _check_names(graph: Graph, **given: Values | None) -> None:
    known = {port for node in graph.nodes for port in node.ports}
    for argument, values in given.items():
        for name in values or ():
            if name not in known:
                raise ValueError(
                    f"{argument} has {name!r}, which the graph has not: trace it with"
                    " the same function and arguments"
                )
