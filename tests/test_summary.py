import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen as nn
from torch.utils.flop_counter import FlopCounterMode

from jaxdl import layers
from jaxdl.classification import classification, init_model
from jaxdl.functional import cross_entropy
from jaxdl.models.containers import ModuleList
from jaxdl.models.custom_layers import CenteredLayer
from jaxdl.models.lenet import LeNet
from jaxdl.models.recurrent import RecurrentClassifier
from jaxdl.summary import summarize
from jaxdl.training import init_state, make_train_step
from tests.oracle import torch_lenet


def ones(*shape):
    """An array that is not there: what is traced needs its shape alone."""
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def rows(summary):
    return {"/".join(row.path): row for row in summary.rows}


# Each layer's multiplications for one image of 28x28, and what it gives.
LENET = {
    "conv1": ("Conv", (24, 24, 6), 24 * 24 * 6 * 5 * 5 * 1),
    "conv2": ("Conv", (8, 8, 16), 8 * 8 * 16 * 5 * 5 * 6),
    "fc1": ("Linear", (120,), 256 * 120),
    "fc2": ("Linear", (84,), 120 * 84),
    "fc3": ("Linear", (10,), 84 * 10),
}


@pytest.mark.parametrize("batch", [1, 3])
def test_lenet_counted_by_hand(batch):
    summary = summarize(LeNet(), ones(batch, 28, 28, 1))
    found = rows(summary)
    assert list(found) == ["", *LENET]
    biases = 0
    for name, (kind, shape, multiplications) in LENET.items():
        size = int(np.prod(shape))
        assert found[name].kind == kind
        assert found[name].output.shape == (batch, *shape)
        assert found[name].flops == batch * (2 * multiplications + size)
        biases += size
    products = 2 * sum(multiplications for _, _, multiplications in LENET.values())
    sigmoids = biases - 10
    maxima = (24 * 24 * 6 - 12 * 12 * 6) + (8 * 8 * 16 - 4 * 4 * 16)
    assert summary.flops == batch * (products + biases + sigmoids + maxima)
    assert summary.uncounted == ()


def test_lenet_has_the_parameters_of_its_twin():
    x = jnp.zeros((1, 28, 28, 1))
    twin = torch_lenet(LeNet().init(jax.random.key(0), x)["params"])
    summary = summarize(LeNet(), x)
    assert summary.parameters == sum(p.numel() for p in twin.parameters()) == 44426
    layers = [m for m in twin if list(m.parameters())]
    assert [row.parameters for row in summary.rows[1:]] == [
        sum(p.numel() for p in layer.parameters()) for layer in layers
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (layers.Linear(4), torch.nn.Linear(3, 4), (2, 3)),
        (layers.Linear(4, use_bias=False), torch.nn.Linear(3, 4, bias=False), (2, 3)),
        (layers.Conv(6, 3, groups=2), torch.nn.Conv2d(4, 6, 3, groups=2), (1, 9, 9, 4)),
        (
            layers.GRU(5, num_layers=2, bidirectional=True),
            torch.nn.GRU(3, 5, num_layers=2, bidirectional=True),
            (4, 2, 3),
        ),
        (layers.LSTM(5), torch.nn.LSTM(3, 5), (4, 2, 3)),
    ],
)
def test_parameters_are_those_of_the_twin(ours, theirs, shape):
    expected = sum(p.numel() for p in theirs.parameters())
    assert summarize(ours, ones(*shape)).parameters == expected


def test_buffers_are_no_parameters():
    summary = summarize(layers.BatchNorm(), ones(2, 5), train=True)
    twin = torch.nn.BatchNorm1d(5)
    assert summary.parameters == sum(p.numel() for p in twin.parameters())
    assert summary.variables == {"batch_stats": sum(b.numel() for b in twin.buffers())}
    assert str(summary).endswith("\nbatch_stats: 11")


def test_the_table():
    class Head(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1000)(x)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, width):
            x = nn.relu(nn.Dense(width, name="hidden")(x))
            return Head(name="head")(x), jnp.linalg.inv(x)

    # The number 3 is passed on as it is.
    assert str(summarize(Net(), ones(3, 784), 3)).splitlines() == [
        "layer                output                         parameters   FLOPs",
        "----------------------------------------------------------------------",
        "Net                  float32[3,1000], float32[3,3]       6,355  35,130",
        "  hidden (Dense)     float32[3,3]                        2,355  14,121",
        "  head (Head)        float32[3,1000]                     4,000  21,000",
        "    Dense_0 (Dense)  float32[3,1000]                     4,000  21,000",
        "not in FLOPs: custom_linear_solve, lu",
    ]


def test_a_function_has_a_row_for_each_scope():
    def function(x, w):
        with jax.named_scope("net"):
            with jax.named_scope("first"):
                x = x @ w
            y = jnp.tanh(x)
            with jax.named_scope("second"):
                return [y @ w] * 4

    summary = summarize(function, ones(2, 5), w=ones(5, 5))
    assert str(summary).splitlines() == [
        "layer       output    FLOPs",
        "---------------------------",
        "function    4 arrays    210",
        "  net                   210",
        "    first               100",
        "    second              100",
    ]


def test_scopes_entered_twice_have_one_row():
    def function(x):
        with jax.named_scope("net/a"):
            x = x + 1
        with jax.named_scope("loss"):
            x = x * 2
        with jax.named_scope("net/b"):
            return x / 3

    found = rows(summarize(function, ones(5)))
    flops = {path: row.flops for path, row in found.items()}
    assert flops == {"": 15, "net": 10, "net/a": 5, "net/b": 5, "loss": 5}
    assert list(flops) == ["", "net", "net/a", "net/b", "loss"]


def test_a_train_step_costs_about_three_times_its_forward_pass():
    images, params = (
        ones(8, 28, 28, 1),
        jax.eval_shape(LeNet().init, jax.random.key(0), ones(8, 28, 28, 1))["params"],
    )

    def loss_fn(params, model_state, batch, key):
        logits = LeNet().apply({"params": params}, batch["image"])
        return cross_entropy(logits, batch["label"]), (model_state, {})

    optimizer = optax.sgd(0.1)
    state = jax.eval_shape(lambda params: init_state(params, optimizer), params)
    batch = {"image": images, "label": jax.ShapeDtypeStruct((8,), jnp.int32)}
    step = make_train_step(loss_fn, optimizer)
    found = rows(summarize(step, state, batch, jax.random.key(0)))
    by_layer = {}
    for path, row in found.items():
        if path.split("/")[-1] in LENET:
            side = path.startswith("gradients/")
            by_layer.setdefault(path.split("/")[-1], {})[side] = row.flops
    forward = rows(summarize(LeNet(), images))
    for name, flops in by_layer.items():
        assert flops[False] == forward[name].flops
        # Twice the products, once for the inputs and once for the weights; the images
        # need no gradient.
        products = flops[False] - 8 * int(np.prod(LENET[name][1]))
        times = 1 if name == "conv1" else 2
        assert times * products <= flops[True] < 1.2 * times * products


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = layers.Conv(4, 3, name="conv")(x)
        x = nn.relu(layers.BatchNorm(name="norm")(x, train=train))
        return layers.Linear(3, name="fc")(x.mean((1, 2)))


INTEGERS = jnp.ones((4, 9), int), jnp.full(4, 9)


@pytest.mark.parametrize(
    ("model", "inputs", "parts"),
    [
        (Normalised(), [jnp.ones((2, 8, 8, 3))], {"conv", "norm", "fc"}),
        (RecurrentClassifier(5), INTEGERS, {"embedding", "gru", "fc"}),
    ],
    ids=["batch norm", "gru"],
)
def test_a_train_step_has_each_layer_once_on_the_way_there_and_back(
    model, inputs, parts
):
    params, model_state = init_model(model, jax.random.key(0), *inputs)
    names = [f"input{i}" for i in range(len(inputs))]
    optimizer = optax.sgd(0.1)
    step = make_train_step(classification(model, names).loss_fn, optimizer)
    batch = dict(zip(names, inputs, strict=True), label=jnp.zeros(len(inputs[0]), int))
    state = init_state(params, optimizer, model_state)
    summary = summarize(step, state, batch, jax.random.key(0))
    whole = type(model).__name__
    there = {whole} | {f"{whole}/{part}" for part in parts}
    back = {"gradients"} | {f"gradients/{path}" for path in there}
    assert set(rows(summary)) == {"", *there, *back}
    assert len(summary.rows) == 2 + len(there) * 2


def convolution(axes, **settings):
    """A convolution in JAX and in PyTorch, channels first in both."""
    strides, padding, dilation, groups = (
        settings.get("stride", 1), settings.get("padding", 0),
        settings.get("dilation", 1), settings.get("groups", 1),
    )  # fmt: skip

    def ours(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (strides,) * axes, ((padding, padding),) * axes,
            rhs_dilation=(dilation,) * axes, feature_group_count=groups,
        )  # fmt: skip

    functions = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d}
    return ours, lambda x, w: functions[axes](x, w, **settings)


CONVOLUTIONS = [
    ((2, 3, 9, 8), (4, 3, 3, 2), {}),
    ((2, 3, 9, 9), (4, 3, 3, 3), {"padding": 1}),
    ((2, 3, 11, 9), (4, 3, 3, 3), {"stride": 2, "padding": 1}),
    ((2, 3, 12, 10), (4, 3, 3, 3), {"stride": 3}),
    ((2, 3, 12, 12), (4, 3, 3, 3), {"dilation": 2, "padding": 2}),
    ((2, 4, 9, 9), (6, 2, 3, 3), {"groups": 2}),
    ((2, 4, 9, 9), (4, 1, 3, 3), {"groups": 4, "padding": 1}),
    ((2, 3, 9, 9), (4, 3, 1, 1), {}),
    ((5, 2, 30), (3, 2, 7), {"stride": 2, "padding": 3}),
]


@pytest.mark.parametrize(("shape", "kernel", "settings"), CONVOLUTIONS)
def test_convolutions_cost_what_pytorch_counts(shape, kernel, settings):
    """And their two gradients, each as much. PyTorch says so too, but for groups."""
    ours, theirs = convolution(len(shape) - 2, **settings)
    x, w = torch.ones(shape), torch.ones(kernel)
    with FlopCounterMode(display=False) as counter:
        out = theirs(x, w)
    forward = counter.get_total_flops()
    arrays = ones(*shape), ones(*kernel), ones(*out.shape)
    assert summarize(ours, *arrays[:2]).flops == forward

    def gradients(x, w, g):
        return jax.vjp(ours, x, w)[1](g)

    assert rows(summarize(gradients, *arrays))["gradients"].flops == 2 * forward


def test_a_transposed_convolution_costs_what_pytorch_counts():
    x, w = torch.ones(2, 3, 7, 7), torch.ones(3, 4, 3, 3)
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.conv_transpose2d(x, w, stride=2)
    dimensions = ("NCHW", "IOHW", "NCHW")
    function = lambda x, w: jax.lax.conv_transpose(
        x, w, (2, 2), "VALID", dimension_numbers=dimensions
    )
    summary = summarize(function, ones(2, 3, 7, 7), ones(3, 4, 3, 3))
    assert summary.flops == counter.get_total_flops()


def test_a_kernel_larger_than_the_image_meets_padding_only():
    """Of the 3 x 2 pairs on an axis 2 lie outside, also in the gradients.

    PyTorch counts them. The multiplications are counted here one by one.
    """
    ours, theirs = convolution(2, padding=1)
    x, w = ones(1, 1, 2, 2), ones(1, 1, 3, 3)
    pairs = sum(0 <= out + k - 1 < 2 for out in range(2) for k in range(3)) ** 2
    assert summarize(ours, x, w).flops == 2 * pairs == 2 * 4 * 4
    with FlopCounterMode(display=False) as counter:
        theirs(torch.ones(x.shape), torch.ones(w.shape))
    assert counter.get_total_flops() == 2 * 4 * 9
    gradients = lambda x, w, g: jax.vjp(ours, x, w)[1](g)
    assert rows(summarize(gradients, x, w, x))["gradients"].flops == 2 * 2 * 4 * 4


def conv(x, w):
    return jax.lax.conv(x, w, (2, 2), "VALID")


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (jnp.matmul, [(5, 7), (7, 3)]),
        (jnp.matmul, [(2, 5, 7), (2, 7, 3)]),
        (
            lambda a, b: jnp.einsum("bihd,bjhd->bhij", a, b),
            [(2, 3, 4, 5), (2, 6, 4, 5)],
        ),
        (conv, [(2, 3, 9, 9), (4, 3, 3, 3)]),
        (lambda a: (a + 1) * a - a / 3, [(4, 5)]),
        (lambda a: jnp.sum(jnp.max(a, 0)), [(4, 5)]),
        (
            lambda a: jax.lax.reduce_window(a, 0.0, jax.lax.add, (2,), (2,), "VALID"),
            [(8,)],
        ),
        (jax.jit(lambda a: jax.checkpoint(jnp.square)(a)), [(4, 5)]),
        (lambda a: jnp.concatenate([a, a]).T.reshape(-1)[::2], [(4, 5)]),
    ],
)
def test_other_operations_cost_what_xla_counts(function, shapes):
    args = [ones(*shape) for shape in shapes]
    analysis = jax.jit(function).lower(*args).cost_analysis()
    assert summarize(function, *args).flops == analysis.get("flops", 0)


@pytest.mark.parametrize(
    ("function", "flops"),
    [
        (lambda x: jnp.exp(x) + jnp.tanh(x), 3 * 6),
        (lambda x: x > 0, 0),
        (lambda x: x.astype(int) * 2 + 1, 0),
        (lambda x: jnp.where(x > 0, x, 0), 0),
        (lambda x: jnp.cumsum(x), 6),
        (lambda x: jnp.zeros(5).at[jnp.arange(3)].add(x[:3]), 3),
        (lambda x: jnp.sort(x)[jnp.argmax(x)], 0),
        (lambda x: x * (1 + 2j), 6),
        (lambda x: jax.lax.scan(lambda c, e: (c * e, c), 1.0, x)[0], 6),
        (lambda x: jax.lax.fori_loop(0, 10, lambda i, x: 2 * x, x), 10 * 6),
        (lambda x: jax.lax.cond(x[0] > 0, lambda x: 2 * x, lambda x: 2 * x + x, x), 12),
        (lambda x: jax.lax.cond(x[0] > 0, lambda x: x * x + x, lambda x: x, x), 12),
        (jax.nn.relu, 6),
    ],
)
def test_other_operations_counted_by_hand(function, flops):
    summary = summarize(function, ones(6))
    assert (summary.flops, summary.uncounted) == (flops, ())


def test_a_loop_counts_as_often_as_it_runs():
    """One product for the inputs, then at each step one, two biases and the gates."""
    for steps in (5, 50):
        summary = summarize(layers.GRU(8), ones(steps, 2, 3))
        step = 2 * 2 * 3 * 24 + 2 * 2 * 8 * 24 + 2 * 48 + 10 * 16
        assert summary.flops == steps * step


def test_what_cannot_be_counted_is_named():
    def function(x):
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: 2 * x, x)

    summary = summarize(function, ones(6))
    assert summary.flops == 5 + 6  # the sum and the product, once
    assert summary.uncounted == ("while (its body counts once)",)
    summary = summarize(jax.jit(jnp.linalg.cholesky), ones(3, 3))
    assert "cholesky" in summary.uncounted
    assert "not in FLOPs: cholesky" in str(summary)


def test_devices_each_count():
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.sharding.AbstractMesh((4,), ("data",), auto)
    part = jax.sharding.PartitionSpec("data")
    double = jax.shard_map(lambda x: 2 * x, mesh=mesh, in_specs=part, out_specs=part)
    assert summarize(double, ones(8)).flops == 8


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(x)


DENSE = 2 * 2 * 4 * 4 + 2 * 4


def test_layers_called_twice_hold_once_and_cost_twice():
    class Net(nn.Module):
        def setup(self):
            self.block = Block()

        def __call__(self, x):
            return self.block(self.block(x))

    found = rows(summarize(Net(), ones(2, 4)))
    assert list(found) == ["", "block", "block/Dense_0"]
    for row in found.values():
        assert (row.parameters, row.flops) == (20, 2 * DENSE)
        assert row.output.shape == (2, 4)


def test_transformed_layers():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            steps = nn.scan(
                lambda block, x, _: (block(x), None),
                variable_axes={"params": 0}, split_rngs={"params": True}, length=3,
            )  # fmt: skip
            x, _ = steps(Block(name="scanned"), x, None)
            x = nn.remat(Block)(name="remat")(x)
            return nn.jit(Block)(name="jit")(x)

    for _ in range(2):  # the second time jit remembers its function
        found = rows(summarize(Net(), ones(2, 4)))
        assert {path: (row.parameters, row.flops) for path, row in found.items()} == {
            "": (100, 5 * DENSE),
            "scanned": (60, 3 * DENSE),
            "scanned/Dense_0": (60, 3 * DENSE),
            "remat": (20, DENSE),
            "remat/Dense_0": (20, DENSE),
            "jit": (20, DENSE),
            "jit/Dense_0": (20, DENSE),
        }


def test_layers_that_draw_random_numbers():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = layers.Dropout(0.5, name="dropout")(x, train=train)
            return layers.BatchNorm(name="norm")(x, train=train)

    training = rows(summarize(Net(), ones(2, 3, 4), train=True))
    evaluation = rows(summarize(Net(), ones(2, 3, 4), train=False))
    assert training["dropout"].flops > evaluation["dropout"].flops == 0
    assert training["norm"].flops > evaluation["norm"].flops > 0


def test_modules_and_functions_of_other_kinds():
    from flax import nnx

    class Net:
        def __call__(self, x):
            return 2 * x

    assert "Net" in str(summarize(Net(), ones(3)))
    linear = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    assert summarize(linear, ones(2, 3)).flops == 2 * 2 * 3 * 4 + 2 * 4


@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: _module(f)])
def test_models_that_cannot_be_traced(wrap):
    with pytest.raises(ValueError, match=r"cannot be traced, since it needs a value"):
        summarize(wrap(lambda x: x if x.sum() > 0 else -x), ones(3))


def _module(function):
    class Net(nn.Module):
        def __call__(self, x):
            return function(x)

    return Net()


def test_functions_without_results():
    with pytest.raises(ValueError, match="<lambda> returns no array"):
        summarize(lambda x: None, ones(3))


def test_a_summary_of_a_function_does_not_load_flax():
    code = (
        "import sys; from jaxdl.summary import summarize\n"
        "summarize(lambda x: x, 1.0); summarize(abs, __import__('numpy').ones(3))\n"
        "assert 'flax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("model", "arguments"),
    [(CenteredLayer(), {}), (layers.Dropout(0.5), {"train": False})],
)
def test_modules_without_variables(model, arguments):
    summary = summarize(model, jnp.ones((2, 3)), **arguments)
    assert summary.parameters == 0
    assert summary.rows[0].output.shape == (2, 3)


class Several(nn.Module):
    """Goes over a list of layers, by a method that gives no arrays."""

    @nn.compact
    def __call__(self, x):
        several = ModuleList([layers.Linear(3), layers.Linear(3)], name="l")
        for layer in several:
            x = layer(x)
        return several[0](x)


def test_methods_that_return_other_things_than_arrays():
    summary = summarize(Several(), jnp.ones((2, 3)))
    assert [(row.kind, row.parameters) for row in summary.rows] == [
        ("Several", 24), ("ModuleList", 24), ("Linear", 12), ("Linear", 12)
    ]  # fmt: skip
    assert summary.flops == 3 * (2 * 2 * 3 * 3 + 6)
    assert "float32[2,3]" in str(summary)
