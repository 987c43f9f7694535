import operator
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from jaxdl.graph import gradient_paths, node_gradients, node_values, trace
from tests.oracle import assert_close, random, to_torch


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def traced(function, *args):
    return trace(function, *args, expand=False)


def course(w, x):
    return (x + w) * (w + 1)


def test_the_course_example_has_pytorchs_gradients_at_every_node():
    args = (1.25, -0.5)
    graph = traced(course, *args)
    w, x = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in args)
    a = x + w
    one = torch.ones((), dtype=torch.float64, requires_grad=True)
    b = w + one
    y = a * b
    expected = {
        "w": w, "x": x, "add": a, "constant": one, "add_b": b, "mul": y, "output": y,
    }  # fmt: skip
    for tensor in expected.values():
        tensor.retain_grad()
    y.backward()
    values, gradients = node_values(graph, *args), node_gradients(graph, *args)
    assert values.keys() == gradients.keys() == expected.keys()
    for name, tensor in expected.items():
        assert_close(values[name], tensor.detach())
        assert_close(gradients[name], tensor.grad)


def test_gradients_inside_a_network_are_pytorchs():
    def loss(w1, b1, w2, x):
        return jnp.mean((jnp.tanh(x @ w1 + b1) @ w2) ** 2)

    args = [random(shape, i) for i, shape in enumerate([(3, 4), (4,), (4, 2), (5, 3)])]
    w1, b1, w2, x = (to_torch(a).requires_grad_() for a in args)
    product = x @ w1
    total = product + b1
    hidden = torch.tanh(total)
    out = hidden @ w2
    kept = {
        "w1": w1, "b1": b1, "w2": w2, "x": x, "dot_general": product, "add": total,
        "tanh": hidden, "dot_general_b": out,
    }  # fmt: skip
    for tensor in kept.values():
        tensor.retain_grad()
    (out**2).mean().backward()
    gradients = node_gradients(traced(loss, *args), *args)
    for name, tensor in kept.items():
        assert_close(gradients[name], tensor.grad)


def test_outputs_of_one_operation_have_a_gradient_each():
    function = lambda x: reduce(operator.mul, jnp.split(x, 3)).sum()
    x = jnp.array([2.0, 3.0, 5.0])
    gradients = node_gradients(traced(function, x), x)
    found = [gradients[f"split{port}"].item() for port in ("", ":1", ":2")]
    assert found == [15, 10, 6]


def test_what_is_no_real_number_has_no_gradient():
    def function(n, x):
        return jnp.where(x > 0, n * x, 0.0)

    graph = traced(function, 3, 2.0)
    values, gradients = node_values(graph, 3, 2.0), node_gradients(graph, 3, 2.0)
    assert not {"n", "gt"} & gradients.keys()
    assert {"n", "gt"} < values.keys()
    assert gradients["x"] == 3


@jax.custom_jvp
def doubled(x):
    return x * 1


doubled.defjvp(lambda primals, tangents: (primals[0], 2 * tangents[0]))


def inner(x):
    """Loops, branches and functions with derivatives of their own."""
    x = jax.lax.scan(lambda c, e: (jnp.sin(c * e), None), x, jnp.arange(1.0, 4.0))[0]
    x = jax.lax.cond(x > 0, jnp.exp, jnp.cos, x)
    return doubled(x) + jax.checkpoint(jnp.tanh)(x)


def test_relu_has_the_gradient_0_at_0():
    graph = traced(jax.nn.relu, 0.0)  # by its own rule; that of max says 0.5
    assert node_gradients(graph, 0.0)["x"] == 0
    assert [path.product for path in gradient_paths(graph, "x", 0.0)] == [0]


def test_functions_in_the_graph_keep_their_derivatives():
    graph = traced(inner, 0.7)
    assert {"doubled", "scan", "cond"} < {node.name for node in graph.nodes}
    assert_close(node_gradients(graph, 0.7)["x"], jax.grad(inner)(0.7))
    paths = gradient_paths(graph, "x", 0.7)
    assert_close(sum(path.product for path in paths), jax.grad(inner)(0.7))


def test_values_and_gradients_can_be_compiled():
    graph = traced(course, 1.0, 2.0)
    values = jax.jit(partial(node_gradients, graph))(1.0, 2.0)
    assert_close(values["w"], 5.0)


def test_random_keys_pass_through():
    function = lambda key, x: x * jax.random.normal(key)
    key = jax.random.key(3)
    graph = traced(function, key, 2.0)
    assert_close(node_values(graph, key, 2.0)["output"], function(key, 2.0))
    assert_close(node_gradients(graph, key, 2.0)["x"], jax.random.normal(key))


def test_the_gradient_is_a_sum_over_paths():
    graph = traced(course, 1.0, 2.0)
    paths = gradient_paths(graph, "w", 1.0, 2.0)
    assert [path.nodes for path in paths] == [
        ("w", "add", "mul", "output"),
        ("w", "add_b", "mul", "output"),
    ]
    assert [list(map(float, path.derivatives)) for path in paths] == [
        [1, 2, 1],
        [1, 3, 1],
    ]
    assert [float(path.product) for path in paths] == [2, 3]
    (only,) = gradient_paths(graph, "x", 1.0, 2.0)
    assert str(only) == "x -> add -> mul -> output: 1 * 2 * 1 = 2"


OPERATIONS = [
    operator.add, operator.sub, operator.mul, lambda a, b: a / (2 + b * b),
    lambda a, b: jnp.sin(a) * b, lambda a, b: a * a, lambda a, b: jnp.maximum(a, b),
    lambda a, b: doubled(a) - 3, lambda a, b: jnp.sum(jnp.stack([a]) * 2.0) + b,
]  # fmt: skip
SCALAR = len(OPERATIONS) - 1  # those before it give scalars all the way


@st.composite
def programs(draw, operations):
    """Functions of two numbers: each line combines any two numbers before it."""
    steps = draw(st.lists(st.tuples(*[st.integers(0, 99)] * 3), min_size=1, max_size=7))

    def program(w, x):
        numbers = [w, x]
        for operation, first, second in steps:
            a, b = (numbers[i % len(numbers)] for i in (first, second))
            numbers.append(OPERATIONS[operation % operations](a, b))
        return numbers[-1]

    return program


@given(programs(len(OPERATIONS)))
def test_graphs_of_any_program_compute_it_and_its_gradient(program):
    args = (0.3, -1.7)
    graph = traced(program, *args)
    value, gradients = jax.value_and_grad(program, argnums=(0, 1))(*args)
    assert_close(node_values(graph, *args)["output"], value)
    found = node_gradients(graph, *args)
    assert_close([found["w"], found["x"]], gradients)


@given(programs(SCALAR))
def test_paths_of_any_program_add_up_to_its_gradient(program):
    args = (0.3, -1.7)
    graph = traced(program, *args)
    by_node = node_gradients(graph, *args)
    for node in graph.nodes:
        if node.name in by_node:
            paths = gradient_paths(graph, node.name, *args)
            total = sum(path.product for path in paths)
            assert_close(total, by_node[node.name])
            assert all(path.nodes[0] == node.name for path in paths)


def test_an_operand_read_twice_makes_two_paths():
    paths = gradient_paths(traced(lambda x: x * x, 3.0), "x", 3.0)
    assert [str(path) for path in paths] == ["x -> mul -> output: 3 * 1 = 3"] * 2
    paths = gradient_paths(traced(lambda x: x - x, 3.0), "x", 3.0)
    assert [path.product for path in paths] == [1, -1]  # in the order of operands


def test_paths_go_through_each_output_of_an_operation():
    def function(x):
        step = lambda i, carry: (carry[0] * carry[1], carry[1] + carry[0])
        return operator.mul(*jax.lax.fori_loop(0, 2, step, (x, x)))

    paths = gradient_paths(traced(function, 1.5), "x", 1.5)
    # From either of the two places where the loop reads x, to either result.
    assert [path.nodes[1] for path in paths] == ["scan:1", "scan:2"] * 2
    assert_close(sum(path.product for path in paths), jax.grad(function)(1.5))


def test_paths_from_other_nodes_than_inputs():
    graph = traced(course, 1.0, 2.0)
    assert [str(p) for p in gradient_paths(graph, "constant", 1.0, 2.0)] == [
        "constant -> add_b -> mul -> output: 1 * 3 * 1 = 3"
    ]
    (nothing,) = gradient_paths(graph, "output", 1.0, 2.0)
    assert (nothing.nodes, nothing.derivatives, nothing.product) == (("output",), (), 1)
    assert str(nothing) == "output: 1 = 1"


def test_an_input_that_nothing_depends_on_has_no_paths():
    args = (1.0, 2.0)
    graph = traced(lambda w, x: jnp.sin(w) + x.astype(int), *args)
    assert gradient_paths(graph, "x", *args) == []
    assert len(gradient_paths(graph, "w", *args)) == 1


def test_scalars_are_enough_on_the_paths():
    function = lambda w, v: w * jnp.sum(v)
    args = (2.0, jnp.arange(3.0))
    graph = traced(function, *args)
    assert_close(gradient_paths(graph, "w", *args)[0].product, 3.0)
    with pytest.raises(
        ValueError, match=r"v has the shape \(3,\): paths multiply numb"
    ):
        gradient_paths(graph, "v", *args)


def powers(n):
    """2**n paths."""
    return lambda x: reduce(lambda y, _: y + y, range(n), x)


def test_thousands_of_paths():
    paths = gradient_paths(traced(powers(10), 1.0), "x", 1.0)
    assert (len(paths), sum(path.product for path in paths)) == (1024, 1024)


def test_more_paths_than_can_be_listed():
    graph = traced(powers(60), 1.0)
    with pytest.raises(ValueError, match="more than 10000 paths lead from x to the "):
        gradient_paths(graph, "x", 1.0)
    assert node_gradients(graph, 1.0)["x"] == 2.0**60


@pytest.mark.parametrize("compute", [node_values, node_gradients])
def test_graphs_taken_apart_cannot_be_computed(compute):
    with pytest.raises(ValueError, match="has to be traced with expand=False"):
        compute(trace(inner, 1.0), 1.0)
    with pytest.raises(ValueError, match="has to be traced with expand=False"):
        gradient_paths(trace(inner, 1.0), "x", 1.0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((1.0,), "1 arrays are given to a graph of 2 inputs"),
        ((1.0, 2.0, 3.0), "3 arrays are given to a graph of 2 inputs"),
        ((1.0, 2), r"x is int64\[\], but was traced as float64\[\]"),
        ((np.ones(2), 1.0), r"w is float64\[2\], but was traced as float64\[\]"),
    ],
)
def test_other_arguments_than_were_traced(args, message):
    with pytest.raises(ValueError, match=message):
        node_values(traced(course, 1.0, 2.0), *args)


@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        (lambda x: (x, 2 * x), r"float64\[\], float64\[\]"),
        (lambda x: jnp.stack([x, x]), r"float64\[2\]"),
        (lambda x: x > 0, r"bool\[\]"),
    ],
)
def test_outputs_without_a_gradient(function, kinds):
    graph = traced(function, 1.0)
    assert node_values(graph, 1.0)
    for differentiate in (node_gradients, lambda g, x: gradient_paths(g, "x", x)):
        with pytest.raises(ValueError, match=f"one output, a real number; .* {kinds}$"):
            differentiate(graph, 1.0)


@pytest.mark.parametrize("start", ["y", "n", "mul:1"])
def test_starts_that_are_no_real_numbers(start):
    graph = traced(lambda n, x: n * x, 2, 3.0)
    reals = r"\['x', 'convert_element_type', 'mul', 'output'\]"
    with pytest.raises(ValueError, match=f"'{start}' is no node of real .*{reals}"):
        gradient_paths(graph, start, 2, 3.0)
