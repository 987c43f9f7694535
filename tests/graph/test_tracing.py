import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxdl.backend import as_defined
from jaxdl.functional import cross_entropy
from jaxdl.graph import Graph, node_values, trace
from jaxdl.layers import GRU
from jaxdl.models.lenet import LeNet
from jaxdl.training import init_state, make_train_step
from tests.oracle import assert_close, assert_same_bits


def lines(graph):
    return [
        f"{node.name} = {node.op}({', '.join(node.inputs)})" for node in graph.nodes
    ]


def check(graph: Graph):
    """A graph that TensorBoard can draw: each name once, each input before its reader.

    No operation is called as a scope, and no five in a scope as a series.
    """
    ports = set()
    for node in graph.nodes:
        assert re.fullmatch(r"[\w.\-]+(/[\w.\-]+)*", node.name)
        assert set(node.inputs) <= ports
        assert not ports & set(node.ports)
        ports |= set(node.ports)
    scopes = {n[: i.start()] for n in ports for i in re.finditer("/", n)}
    assert not scopes & ports
    series = {}
    for node in graph.nodes:
        if node.op not in ("input", "output"):  # which are called as users call them
            scope, _, name = node.name.rpartition("/")
            stem = re.sub(r"\d+$", "", name)
            series.setdefault((scope, node.op, stem), []).append(name)
    assert all(len(names) < 5 for names in series.values())
    return graph


def names(graph):
    return [node.name for node in graph.nodes]


@pytest.fixture(scope="module")
def lenet():
    x = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)
    params = jax.eval_shape(LeNet().init, jax.random.key(0), x)["params"]
    return lambda params, x: LeNet().apply({"params": params}, x), params, x


def drawn(tree, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype("f"), tree)


def in_float64(tree):
    return jax.tree.map(
        lambda leaf: (
            np.asarray(leaf, np.float64)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            else leaf
        ),
        tree,
    )


def computed(graph, *args):
    """Computes a graph that is taken apart, which for values alone is right.

    Node by node, each reading what it names: a wrong edge gives another result.
    """
    graph = graph._replace(expanded=False)
    values = jax.jit(partial(node_values, graph))(*args)
    return [values[node.name] for node in graph.outputs]


def test_the_course_example():
    graph = check(trace(lambda w, x: (x + w) * (w + 1), 1.0, 2.0))
    assert lines(graph) == [
        "w = input()",
        "x = input()",
        "add = add(x, w)",
        "constant = constant()",
        "add_b = add(w, constant)",
        "mul = mul(add, add_b)",
        "output = output(mul)",
    ]
    assert all((n.shape, n.dtype) == ((), jnp.float32) for n in graph.nodes)
    assert [node.value for node in graph.nodes if node.op == "constant"] == [1]


@pytest.mark.parametrize("expand", [True, False])
def test_lenet_has_a_scope_for_each_layer(lenet, expand):
    graph = check(trace(*lenet, expand=expand))
    for layer in ("conv1", "conv2", "fc1", "fc2", "fc3"):
        inside = [name for name in names(graph) if name.startswith(f"LeNet/{layer}/")]
        assert {f"LeNet/{layer}/kernel", f"LeNet/{layer}/bias"} < set(inside)
        assert f"LeNet/{layer}/add" in inside
    (output,) = graph.outputs
    assert (output.name, output.shape, output.inputs) == (
        "output", (2, 10), ("LeNet/fc3/add",),
    )  # fmt: skip
    assert [node.name for node in graph.inputs][-1] == "x"
    by_name = {node.name: node for node in graph.nodes}
    assert by_name["LeNet/fc1/dot_general"].shape == (2, 120)
    # As it is defined, not in the form that a CPU takes.
    assert by_name["LeNet/conv1/conv_general_dilated"].shape == (2, 24, 24, 6)


def test_a_function_drawn_before_it_runs_still_takes_the_form_of_a_cpu(lenet):
    function, params, x = lenet
    step = jax.jit(jax.grad(lambda params, x: function(params, x).sum()))
    before = trace(step, params, x)
    assert {n.op for n in before.nodes} > {"conv_general_dilated", "dot_general"}
    run = step.lower(params, x).as_text()
    with as_defined(True):
        drawn = step.lower(params, x).as_text()
    assert run != drawn
    assert names(trace(step, params, x)) == names(before)


@pytest.mark.parametrize("expand", [True, False])
def test_lenet_computed_node_by_node_gives_its_logits(lenet, expand, x64):
    function, *args = lenet
    args = in_float64(drawn(args))
    graph = trace(function, *args, expand=expand)
    assert_close(computed(graph, *args)[0], jax.jit(function)(*args))


@pytest.fixture(scope="module")
def step(lenet):
    function, params, x = lenet

    def loss_fn(params, model_state, batch, key):
        logits = function(params, batch["image"])
        return cross_entropy(logits, batch["label"]), (model_state, {})

    optimizer = optax.sgd(0.1, momentum=0.9)
    state = init_state(drawn(params), optimizer)
    batch = {"image": drawn(x), "label": jnp.array([3, 1])}
    return make_train_step(loss_fn, optimizer), state, batch, jax.random.key(0)


def test_a_train_step_has_gradients_in_scopes_like_the_layers(step):
    graph = check(trace(*step))
    scopes = {node.name.rpartition("/")[0] for node in graph.nodes}
    for layer in ("conv1", "conv2", "fc1", "fc2", "fc3"):
        ends = [s for s in scopes if s.endswith(f"LeNet/{layer}")]
        assert sorted(s.startswith("gradients/") for s in ends) == [False, True]
    inputs = [node.name for node in graph.inputs]
    assert len([n for n in inputs if n.endswith("LeNet/fc1/kernel")]) == 1
    assert "state/opt_state/0/trace/fc1/kernel" in inputs
    assert {"batch/image", "batch/label", "state/step", "key"} < set(inputs)
    assert "output/0/params/fc1/kernel" in names(graph)
    assert "output/1/loss" in names(graph)


def test_a_train_step_computed_node_by_node_is_the_train_step(step, x64):
    function, *args = step
    args = in_float64(args)
    expected = jax.tree.leaves(jax.jit(function)(*args))
    graph = trace(function, *args)
    for actual, leaf in zip(computed(graph, *args), expected, strict=True):
        assert_close(actual, leaf)


def test_a_scan_is_a_scope_with_its_body_once():
    def function(w, start, x):
        return jax.lax.scan(lambda c, e: (c * w, c + e), start, x)

    graph = check(trace(function, jnp.ones(()), jnp.ones(()), jnp.arange(3.0)))
    assert lines(graph) == [
        "w = input()",
        "start = input()",
        "x = input()",
        "scan/carry = carry(start)",
        "scan/element = element(x)",
        "scan/mul = mul(scan/carry, w)",
        "scan/add = add(scan/carry, scan/element)",
        "scan/next_carry = next_carry(scan/mul)",
        "scan/stacked = stacked(scan/add)",
        "output/0 = output(scan/next_carry)",
        "output/1 = output(scan/stacked)",
    ]
    shapes = {node.name: node.shape for node in graph.nodes}
    assert (shapes["scan/element"], shapes["scan/stacked"]) == ((), (3,))


def test_a_gru_is_a_scan_in_its_scope():
    gru, x = GRU(4), jax.ShapeDtypeStruct((5, 2, 3), jnp.float32)
    variables = jax.eval_shape(gru.init, jax.random.key(0), x)
    graph = check(trace(gru.apply, variables, x))
    scan = "GRU/scan/"
    inside = [node for node in graph.nodes if node.name.startswith(scan)]
    assert [n.shape for n in inside if n.op in ("carry", "next_carry")] == [(2, 4)] * 2
    assert [n.shape for n in inside if n.op == "element"] == [(2, 4)] * 3
    assert [n.shape for n in inside if n.op == "stacked"] == [(5, 2, 4)]
    (product,) = (node for node in inside if node.op == "dot_general")
    assert product.inputs == (f"{scan}carry", "variables/params/weight_hh_l0")


def test_a_while_loop_is_a_scope_with_condition_and_body():
    def power(x, n):
        step = lambda carry: (carry[0] + 1, carry[1] * x)
        return jax.lax.while_loop(lambda carry: carry[0] < n, step, (0, 1.0))[1]

    assert lines(check(trace(power, 2.0, 3)))[2:] == [
        "constant = constant()",
        "constant_b = constant()",
        "while/carry = carry(constant)",
        "while/carry_b = carry(constant_b)",
        "while/condition/lt = lt(while/carry, n)",
        "while/body/constant = constant()",
        "while/body/add = add(while/carry, while/body/constant)",
        "while/body/mul = mul(while/carry_b, x)",
        "while/next_carry = next_carry(while/condition/lt, while/body/add)",
        "while/next_carry_b = next_carry(while/condition/lt, while/body/mul)",
        "output = output(while/next_carry_b)",
    ]


def test_a_condition_is_a_scope_with_a_scope_for_each_branch():
    choose = lambda i, x: jax.lax.switch(i, [jnp.sin, jnp.cos, lambda x: x], x)
    graph = check(trace(choose, 1, 2.0))
    assert lines(graph)[-4:] == [
        "cond/branch_0/sin = sin(x)",
        "cond/branch_1/cos = cos(x)",
        "cond/result = result(clamp, cond/branch_0/sin, cond/branch_1/cos, x)",
        "output = output(cond/result)",
    ]


def test_loops_and_branches_are_one_node_each_when_not_expanded():
    def function(x):
        x = jax.lax.scan(lambda c, e: (c * e, None), 1.0, x)[0]
        x = jax.lax.cond(x > 0, jnp.sin, jnp.cos, x)
        return jax.lax.while_loop(lambda x: x < 9, lambda x: 2 * x, x)

    graph = check(trace(function, jnp.ones(3), expand=False))
    assert {"scan", "cond", "while"} < set(names(graph))
    assert not [name for name in names(graph) if "/" in name]


def test_the_gradient_of_a_loop_can_be_traced():
    def loss(w, x):
        step = lambda c, e: (jax.lax.cond(e > 0, jnp.sin, jnp.cos, c * w), c)
        return jax.lax.scan(jax.checkpoint(step), 1.0, x)[1].sum()

    graph = check(trace(jax.grad(loss), 2.0, jnp.arange(3.0)))
    backward = [name for name in names(graph) if name.startswith("gradients/scan")]
    assert [name for name in backward if "cond" in name]


def test_scopes_of_functions():
    @jax.jit
    def two(x):
        with jax.named_scope("a/b"):
            return jnp.sin(x) * x

    @jax.custom_vjp
    def cube(x):
        return x * x * x

    cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x * x * g,))
    one = jax.jit(lambda x: jnp.tan(x))
    kept = jax.checkpoint(lambda x: jnp.exp(x) + x)

    def function(x):
        with jax.named_scope("net"):
            return kept(one(cube(two(two(x)))))

    graph = check(trace(function, 1.0))
    assert names(graph) == [
        "x",
        "net/two/a/b/sin",
        "net/two/a/b/mul",
        "net/two_b/a/b/sin",
        "net/two_b/a/b/mul",
        "net/cube/mul",
        "net/cube/mul_b",
        "net/tan",
        "net/lambda/exp",
        "net/lambda/add",
        "output",
    ]
    whole = trace(function, 1.0, expand=False)
    assert [n for n in names(whole) if "cube" in n] == ["net/cube"]


def test_gradients_within_a_scope():
    def function(x):
        with jax.named_scope("outer"):
            slope = jax.jit(jax.grad(lambda x: jnp.sin(x) * x))(x)
            return slope * 2

    graph = check(trace(function, 1.0))
    backward = [name for name in names(graph) if "gradients" in name]
    assert backward
    assert all(re.match(r"gradients/outer/[^/]+(/\w+)?$", name) for name in backward)


def test_parameters_stay_in_trees_that_are_no_modules():
    def function(net):
        with jax.named_scope("net"):
            return net["a"]["w"] * net["b"]["w"]

    graph = check(trace(function, {"a": {"w": 1.0}, "b": {"w": 2.0}}))
    assert names(graph)[:3] == ["net/a/w", "net/b/w", "net/mul"]


def test_a_compiled_function_is_traced_like_itself():
    function = lambda x: jnp.sin(x) * x
    twice = jax.jit(jax.jit(function))
    assert lines(trace(twice, 1.0)) == lines(trace(function, 1.0))


def test_what_devices_share_is_a_scope():
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.sharding.AbstractMesh((4,), ("data",), auto)
    part = jax.sharding.PartitionSpec("data")
    double = jax.shard_map(
        lambda x: 2 * x + x, mesh=mesh, in_specs=part, out_specs=part
    )
    graph = check(trace(double, jax.ShapeDtypeStruct((8,), jnp.float32)))
    shapes = {node.name: node.shape for node in graph.nodes}
    assert (shapes["lambda/add"], shapes["output"]) == ((2,), (8,))
    whole = trace(double, jax.ShapeDtypeStruct((8,), jnp.float32), expand=False)
    assert names(whole) == ["x", "lambda", "output"]


def test_a_method_of_a_module_is_a_scope_in_it():
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(2)

        def encode(self, x):
            return self._encode(x)

        def _encode(self, x):  # private: no scope
            return self.dense(x)

    x = jnp.ones((1, 3))
    variables = Net().init(jax.random.key(0), x, method="encode")
    encode = lambda variables, x: Net().apply(variables, x, method="encode")
    graph = check(trace(encode, variables, x))
    assert "Net/encode/dense/kernel" in names(graph)


def test_several_outputs_of_one_operation():
    graph = check(trace(lambda x: sum(jnp.split(x, 3)), jnp.arange(6.0)))
    assert lines(graph)[1:] == [
        "split = split(x)",
        "constant = constant()",
        "add = add(constant, split)",
        "add_b = add(add, split:1)",
        "add_c = add(add_b, split:2)",
        "output = output(add_c)",
    ]
    split = graph.nodes[1]
    assert split.ports == ("split", "split:1", "split:2")
    assert [kind.shape for kind in split.outputs] == [(2,)] * 3


def test_many_operations_of_one_name_are_no_series():
    def long(x):
        for _ in range(60):
            x = jnp.sin(x)
        return x

    graph = check(trace(long, 1.0))
    assert names(graph)[1:4] == ["sin", "sin_b", "sin_c"]
    assert names(graph)[26:29] == ["sin_z", "sin_ba", "sin_bb"]


def test_names_that_would_clash():
    def function(sin, net, output):
        with jax.named_scope("net"):
            y = jnp.sin(sin)
        with jax.named_scope("sin"):
            return jnp.sin(y) + net + output["add"], jnp.sin(y)

    graph = check(trace(function, 1.0, 2.0, {"add": 3.0}))
    # Arguments come first; but "sin" and "net" are scopes.
    assert names(graph) == [
        "sin_b", "net_b", "output/add", "net/sin", "sin/sin", "sin/add", "sin/add_b",
        "sin/sin_b", "output/0", "output/1",
    ]  # fmt: skip


def test_names_of_any_characters():
    def function(*values, **unused):
        with jax.named_scope("größe (m²):/;^x"):
            return values[0] + values[1]["a b"] + values[1]["a/b"]

    graph = check(trace(function, 1.0, {"a b": 2.0, "a/b": 3.0}))
    assert [node.name for node in graph.inputs] == [
        "values/0", "values/1/a_b", "values/1/a_b_b",
    ]  # fmt: skip
    assert names(graph)[3] == "gr__e__m___/__x/add"


def test_numbers_arrays_and_shapes_are_arguments():
    args = (True, 2, 1.5, np.ones((2, 3)), jax.ShapeDtypeStruct((3,), jnp.bfloat16))
    graph = trace(lambda *args: args, *args)
    assert [(node.shape, str(node.dtype)) for node in graph.inputs] == [
        ((), "bool"), ((), "int32"), ((), "float32"), ((2, 3), "float32"),
        ((3,), "bfloat16"),
    ]  # fmt: skip
    assert [node.inputs for node in graph.outputs] == [(f"args/{i}",) for i in range(5)]


def test_arrays_from_outside_are_constants():
    table = jnp.arange(3.0)
    graph = check(trace(lambda x: table * x + table, 2.0))
    (constant,) = (node for node in graph.nodes if node.op == "constant")
    assert_same_bits(constant.value, table)


def test_random_keys_have_a_dtype_of_their_own():
    graph = check(trace(lambda key: jax.random.normal(key, (3,)), jax.random.key(0)))
    assert str(graph.nodes[0].dtype) == "key<fry>"


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (lambda x: x if x > 0 else -x, (1.0,)),
        (lambda x: np.sin(x), (1.0,)),
        (lambda n: [1, 2, 3][n], (1,)),
        (lambda x: x[x > 0], (np.ones(3),)),
    ],
)
def test_functions_that_need_values(function, args):
    with pytest.raises(
        ValueError, match=r"<lambda> cannot be traced, since it needs a"
    ):
        trace(function, *args)


def test_errors_of_the_function_itself_are_its_own():
    with pytest.raises(TypeError, match="dot_general requires contracting dimensions"):
        trace(jnp.dot, jnp.ones(2), jnp.ones(3))
    with pytest.raises(TypeError, match="Shapes must be 1D sequences of concrete val"):
        trace(jnp.ones, 3)
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        trace(lambda w, x: w, 1.0)


@pytest.mark.parametrize("result", [None, (), {"a": []}])
def test_functions_without_results(result):
    with pytest.raises(ValueError, match="<lambda> returns no array"):
        trace(lambda x: result, 1.0)


def test_arguments_that_are_no_arrays():
    with pytest.raises(
        ValueError, match="argument config/mode is 'sum', which is no ar"
    ):
        trace(lambda config, x: x, {"mode": "sum"}, 1.0)
    fixed = partial(lambda config, x: 2 * x, {"mode": "sum"})
    assert names(trace(fixed, 1.0)) == ["x", "constant", "mul", "output"]
