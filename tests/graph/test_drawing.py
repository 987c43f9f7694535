import itertools
import re
import shutil
import subprocess
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxdl.graph import node_gradients, node_values, to_dot, to_svg, trace
from jaxdl.graph.layout import (
    BESIDE,
    Box,
    Edge,
    _crossings,
    _spread,
    _uncrossed,
    arrange,
)

SVG = "{http://www.w3.org/2000/svg}"


def course(w, x):
    return (x + w) * (w + 1)


def drawn(function, *args):
    """The boxes of a drawing, each with its lines of text, and its edges' points."""
    graph = trace(function, *args, expand=False)
    values = node_values(graph, *args)
    gradients = node_gradients(graph, *args)
    return parsed(to_svg(graph, values, gradients))


def parsed(svg):
    root = ElementTree.fromstring(svg)
    boxes, lines = [], []
    for element in root:
        if element.tag == f"{SVG}rect":
            corner = [float(element.get(name)) for name in ("x", "y")]
            size = [float(element.get(name)) for name in ("width", "height")]
            boxes.append((*corner, corner[0] + size[0], corner[1] + size[1]))
            lines.append([])
        elif element.tag == f"{SVG}text":
            lines[-1].append(element)
    edges = [
        sampled(element.get("d")) for element in root if element.tag == f"{SVG}path"
    ]
    return boxes, lines, edges, [float(x) for x in root.get("viewBox").split()]


def sampled(path):
    """Points along an SVG path of straight lines and cubic curves."""
    numbers = lambda text: [float(x) for x in text.split()]
    points = []
    for kind, text in re.findall("([MLC])([^MLC]*)", path):
        ends = np.array(numbers(text)).reshape(-1, 2)
        if kind == "M":
            points.append(ends[0])
        start, t = points[-1], np.linspace(0, 1, 40)[:, None]
        if kind == "L":
            points += list(start + t * (ends[0] - start))
        elif kind == "C":
            a, b, c = ends
            points += list(
                (1 - t) ** 3 * start
                + 3 * (1 - t) ** 2 * t * a
                + 3 * (1 - t) * t**2 * b
                + t**3 * c
            )
    return np.array(points)


def texts(lines):
    return [[line.text for line in box] for box in lines]


def check_drawing(boxes, lines, edges, view):
    """No boxes meet, text lies in its box, and edges only touch boxes' ends."""
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(boxes, 2):
        assert c <= e or g <= a or d <= f or h <= b
    for (left, top, right, bottom), box in zip(boxes, lines, strict=True):
        assert view[0] <= left
        assert view[1] <= top
        assert right <= view[0] + view[2]
        assert bottom <= view[1] + view[3]
        baselines = [float(line.get("y")) for line in box]
        assert all(b - a >= 13 for a, b in itertools.pairwise(baselines))
        assert top + 13 <= baselines[0]
        assert baselines[-1] <= bottom - 4
        for line in box:
            half = float(line.get("textLength")) / 2
            assert left <= float(line.get("x")) - half
            assert float(line.get("x")) + half <= right
            assert float(line.get("textLength")) >= 0.6 * 13 * len(line.text)
    for points in edges:
        for aside, down in (points[1] - points[0], points[-1] - points[-2]):
            assert abs(aside) <= 0.5 * down  # leaves and arrives from above
        for left, top, right, bottom in boxes:
            x, y = points.T
            inside = (left < x) & (x < right) & (top + 0.1 < y) & (y < bottom - 0.1)
            assert not inside.any()


def crossings(edges):
    """Counts pairs of edges that cross, by the order of their points at each height."""
    count = 0
    for one, other in itertools.combinations(edges, 2):
        top = max(one[:, 1].min(), other[:, 1].min())
        bottom = min(one[:, 1].max(), other[:, 1].max())
        heights = np.linspace(top, bottom, 60)[1:-1]
        apart = np.interp(heights, one[:, 1], one[:, 0]) - np.interp(
            heights, other[:, 1], other[:, 0]
        )
        count += bottom > top and apart.min() < -0.5 and apart.max() > 0.5
    return count


def test_the_course_example_is_drawn():
    boxes, lines, edges, view = drawn(course, 1.0, 2.0)
    check_drawing(boxes, lines, edges, view)
    assert texts(lines) == [
        ["w", "value 1", "gradient 5"],
        ["x", "value 2", "gradient 2"],
        ["add", "value 3", "gradient 2"],
        ["1", "gradient 3"],
        ["add_b", "value 2", "gradient 3"],
        ["mul", "value 6", "gradient 1"],
        ["output", "value 6", "gradient 1"],
    ]
    assert len(edges) == 7
    assert crossings(edges) == 0
    # What is read stands above what reads it.
    names = [box[0] for box in texts(lines)]
    tops = {name: box[1] for name, box in zip(names, boxes, strict=True)}
    assert tops["w"] == tops["x"] == tops["1"] < tops["add"] == tops["add_b"]
    assert tops["add_b"] < tops["mul"] < tops["output"]


def test_edges_arrive_in_the_order_of_the_operands():
    for function in (lambda a, b: a - b, lambda a, b: b - a):
        boxes, lines, edges, _ = drawn(function, 1.0, 2.0)
        middle = [(left + right) / 2 for left, _, right, _ in boxes]
        ends = [edge[-1] for edge in edges if edge[-1][1] == boxes[2][1]]
        starts = [edge[0][0] for edge in edges if edge[-1][1] == boxes[2][1]]
        assert ends[0][0] < middle[2] < ends[1][0]  # first operand left
        assert starts[0] < starts[1]  # and so nothing crosses
        assert texts(lines)[2][1] in ("value -1", "value 1")


def test_a_larger_graph_is_drawn():
    def function(a, b, c):
        d = jnp.sin(a * b)
        e, f = jnp.split(jnp.stack([d, c]), 2)
        return (d / c + a * a - jax.nn.relu(b) * (e[0] - f[0]) + c**2) / (d + 1.5)

    boxes, lines, edges, view = drawn(function, 1.0, 2.0, 3.0)
    check_drawing(boxes, lines, edges, view)
    # A node of two outputs has two values.
    (split,) = (box for box in texts(lines) if box[0] == "split")
    assert [line.split()[0] for line in split[1:]] == ["value", "gradient"] * 2


def test_without_values_nodes_show_types():
    function = lambda x, n: x[0] * n
    graph = trace(function, jax.ShapeDtypeStruct((2, 3), jnp.bfloat16), 4)
    shown = texts(parsed(to_svg(graph))[1])
    assert shown[:2] == [["x", "bfloat16[2,3]"], ["n", "int32"]]
    assert shown[-1] == ["output", "bfloat16[3]"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "value 1"),
        (-2 / 3, "value -0.6667"),
        (1e-9, "value 1e-09"),
        (True, "value True"),
        (12345678, "value 12345678"),
        (np.float32([1, 2.5]), "value [1, 2.5]"),
        (np.int32([[1, 2], [3, 4]]), "value [[1, 2], [3, 4]]"),
        (jnp.bfloat16(1.5), "value 1.5"),
        (1 + 2j, "value (1+2j)"),
        (np.float32([np.nan, -np.inf]), "value [nan, -inf]"),
        (np.ones(5, np.float32), "float32[5]"),
        (np.ones((0, 2), np.float32), "value []"),
    ],
)
def test_values_of_every_kind(value, text):
    graph = trace(lambda x: x, value, expand=False)
    svg = to_svg(graph, node_values(graph, value))
    assert texts(parsed(svg)[1]) == [["x", text], ["output", text]]


def test_random_keys_show_their_type():
    function = lambda key, x: x * jax.random.normal(key)
    _, lines, _, _ = drawn(function, jax.random.key(0), 2.0)
    assert texts(lines)[0] == ["key", "key<fry>"]  # < is escaped


def test_arrays_from_outside_show_their_names():
    table = jnp.arange(9.0)
    graph = trace(lambda x: table * x, 1.0, expand=False)
    (constant,) = (
        box
        for box in texts(parsed(to_svg(graph))[1])
        if box[0] != "x" and box[0].startswith("const")
    )
    assert constant == ["constant", "float32[9]"]


@st.composite
def layouts(draw):
    """Boxes of any size, each reading any boxes before it."""
    sizes = st.tuples(st.integers(10, 300), st.integers(20, 90))
    boxes = [Box(*size) for size in draw(st.lists(sizes, min_size=1, max_size=14))]
    edges = []
    for i in range(1, len(boxes)):
        read = draw(st.lists(st.integers(0, i - 1), max_size=3))
        edges += [Edge(j, i, (k + 1) / (len(read) + 1)) for k, j in enumerate(read)]
    return boxes, edges


@given(layouts())
def test_any_layout_is_free_of_overlaps(drawing):
    boxes, edges = drawing
    corners, routes, size = arrange(boxes, edges)
    places = [
        (x, y, x + b.width, y + b.height)
        for (x, y), b in zip(corners, boxes, strict=True)
    ]
    for (a, b, c, d), (e, f, g, h) in itertools.combinations(places, 2):
        assert c + BESIDE - 1e-6 <= e or g + BESIDE - 1e-6 <= a or d < f or h < b
    assert min(left for left, *_ in places) >= -1e-6
    assert max(right for _, _, right, _ in places) <= size.width + 1e-6
    assert max(bottom for *_, bottom in places) == pytest.approx(size.height)
    for edge, route in zip(edges, routes, strict=True):
        left, _, right, bottom = places[edge.source]
        assert route[0] == pytest.approx(((left + right) / 2, bottom))
        left, top, right, _ = places[edge.target]
        assert route[-1] == pytest.approx((left + edge.entry * (right - left), top))
        heights = [y for _, y in route]
        assert heights == sorted(heights)
        for k, ((x, y), (end_x, end_y)) in enumerate(itertools.pairwise(route)):
            if k % 2 == 0:
                assert x == end_x  # straight down, beside all boxes
                band = (y, end_y)
                inside = [p for p in places if p[1] < band[1] and band[0] < p[3]]
                assert all(not p[0] < x < p[2] for p in inside)
            else:
                assert all(p[3] <= y + 1e-6 or end_y <= p[1] for p in places)


def test_a_tree_is_drawn_without_crossings():
    # The leaves come in an order in which they cross: 0 and 2 make 4, 1 and 3 make 5.
    boxes = [Box(50, 20)] * 7
    ends = [(0, 4), (2, 4), (1, 5), (3, 5), (4, 6), (5, 6)]
    edges = [Edge(a, b, (1 + k % 2) / 3) for k, (a, b) in enumerate(ends)]
    layout = arrange(boxes, edges)
    order = sorted(range(4), key=lambda i: layout.corners[i])
    assert order == [0, 2, 1, 3]
    middles = [x + 25 for x, _ in layout.corners]
    assert middles[0] < middles[4] < middles[2]


def test_the_best_order_found_is_kept():
    """Here the sweeps come by an order with 2 crossings, and end at one with 3."""
    upper = [(3, 6), (2, 4), (3, 5), (0, 5), (0, 5), (3, 5), (0, 4)]
    lower = [(4, 10), (4, 11), (4, 9), (6, 9), (6, 11), (6, 11), (5, 11)]
    edges = [Edge(*ends) for ends in [*upper, *lower]]
    rows = [list(range(4)), list(range(4, 8)), list(range(8, 12))]
    assert _crossings(rows, edges) == 5
    assert _crossings(_uncrossed(rows, edges), edges) == 2


def test_boxes_stand_right_above_their_readers():
    # 0 -> 2 -> 3 -> 4, which reads 1 too.
    edges = [Edge(0, 2), Edge(2, 3), Edge(3, 4, 0.3), Edge(1, 4, 0.7)]
    tops = [y for _, y in arrange([Box(50, 20)] * 5, edges).corners]
    assert tops[0] < tops[2] < tops[1] == tops[3] < tops[4]


def test_boxes_that_read_much_stand_right_below_it():
    # 3 reads 0 and 1 and is read far below, at the end of 2 -> 4 -> 5 -> 6.
    edges = [Edge(0, 3, 0.3), Edge(1, 3, 0.7), Edge(2, 4), Edge(4, 5), Edge(5, 6, 0.3)]
    layout = arrange([Box(50, 20)] * 7, [*edges, Edge(3, 6, 0.7)])
    tops = [y for _, y in layout.corners]
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4]


def test_an_edge_is_straight_where_it_can_be():
    _, (route,), _ = arrange([Box(50, 20), Box(90, 20)], [Edge(0, 1, 0.25)])
    assert [x for x, _ in route] == pytest.approx([25] * len(route))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(5, 9)), min_size=1, max_size=9),
    st.lists(st.tuples(st.integers(5, 9), st.integers(10, 14)), max_size=9),
)
def test_the_order_has_never_more_crossings_than_before(upper, lower):
    rows = [list(range(5)), list(range(5, 10)), list(range(10, 15))]
    edges = [Edge(*ends) for ends in [*upper, *lower, (0, 5), (5, 10)]]
    ordered = _uncrossed(rows, edges)
    assert [sorted(row) for row in ordered] == rows
    assert _crossings(ordered, edges) <= _crossings(rows, edges)


def test_crossings_are_counted():
    rows = [[0, 1], [2, 3]]
    assert _crossings(rows, [Edge(0, 2), Edge(1, 3)]) == 0
    assert _crossings(rows, [Edge(0, 3), Edge(1, 2)]) == 1
    assert _crossings(rows, [Edge(0, 3), Edge(0, 2), Edge(1, 2), Edge(1, 3)]) == 1
    # Into one box, by the places where they arrive.
    assert _crossings(rows, [Edge(0, 2, 0.7), Edge(1, 2, 0.3)]) == 1


@given(
    st.lists(st.tuples(st.floats(-100, 100), st.floats(0, 20)), min_size=1, max_size=8),
    st.integers(0, 9),
)
def test_places_are_the_nearest_that_keep_the_gaps(pairs, seed):
    wanted, gaps = [w for w, _ in pairs], [g for _, g in pairs[1:]]
    found = np.array(_spread(wanted, gaps))
    assert (np.diff(found) >= np.array(gaps) - 1e-9).all()
    cost = np.sum((found - wanted) ** 2)
    # No other places that keep them cost less. They form a convex set, so it is enough
    # to look from here to some that are anywhere.
    offsets = np.cumsum([0, *gaps])
    rng = np.random.default_rng(seed)
    for _ in range(20):
        other = np.sort(rng.normal(0, 80, len(wanted))) + offsets
        near = found + 0.01 * (other - found)
        assert np.sum((near - wanted) ** 2) >= cost - 1e-9


def test_dot_has_the_text_of_the_drawing():
    graph = trace(course, 1.0, 2.0, expand=False)
    values, gradients = node_values(graph, 1.0, 2.0), node_gradients(graph, 1.0, 2.0)
    dot = to_dot(graph, values, gradients)
    shown = texts(parsed(to_svg(graph, values, gradients))[1])
    for node, lines in zip(graph.nodes, shown, strict=True):
        text = r"\n".join(lines)
        assert f'"{node.name}" [label="{text}", ' in dot
    assert dot.count(" -> ") == 7


def test_graphviz_reads_it():
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    key = jax.random.key(0)
    graph = trace(lambda key, x: jax.random.normal(key, (3,)) * x, key, 2.0)
    done = subprocess.run(
        ["dot", "-Tplain"],
        input=to_dot(graph),
        capture_output=True,
        text=True,
        check=True,
    )
    nodes = [line.split()[1] for line in done.stdout.splitlines() if line[:4] == "node"]
    assert {name.strip('"') for name in nodes} == {node.name for node in graph.nodes}


@pytest.mark.parametrize("draw", [to_svg, to_dot])
@pytest.mark.parametrize("argument", ["values", "gradients"])
def test_values_of_another_graph(draw, argument):
    graph = trace(course, 1.0, 2.0)
    with pytest.raises(
        ValueError, match=f"{argument} has 'sin', which the graph has n"
    ):
        draw(graph, **{argument: {"sin": jnp.float32(1)}})
