"""Every row of docs/phrasebook.md runs, and both of its sides agree."""

import ast
import re
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split
from torch.utils.tensorboard import SummaryWriter

from tests.oracle import EXACT

TEXT = (Path(__file__).parents[1] / "docs" / "phrasebook.md").read_text()
NAMES = (Path(__file__).parent / "phrasebook_names.txt").read_text().split()
IMPORTS, ARRAYS = re.findall(r"```python\n(.*?)```", TEXT, re.S)
IMAGES = ("image", "signal", "volume")  # channels first on the left


class Row(NamedTuple):
    """One line of a table: code of both sides, and how they are compared."""

    left: str
    right: str
    check: str


def code(cell):
    """The code in a cell's backticks, one line for each pair of them."""
    return "\n".join(re.findall(r"`([^`]*)`", cell)).replace(r"\|", "|")


def rows():
    for line in TEXT.splitlines():
        cells = re.split(r"(?<!\\)\|", line)
        if len(cells) == 6 and "`" in cells[1]:
            row = Row(code(cells[1]), code(cells[2]), cells[4].strip())
            yield pytest.param(row, id=row.left.splitlines()[-1][:60])


ROWS = list(rows())


@pytest.fixture(autouse=True)
def _float64(tmp_path, monkeypatch):
    """Float64 on both sides, and an empty directory to write to."""
    monkeypatch.chdir(tmp_path)
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    x64 = jax.config.jax_enable_x64
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002, which the notes call
    with jax.enable_x64(True):
        yield
    jax.config.update("jax_enable_x64", x64)  # a row sets it
    torch.set_default_dtype(torch.float32)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


@pytest.fixture
def arrays():
    namespace = {}
    exec(ARRAYS, namespace)
    return namespace


@pytest.fixture
def left(arrays):
    """PyTorch's names, and the arrays as tensors."""
    tensors = {
        name: torch.tensor(value) if isinstance(value, np.ndarray) else value
        for name, value in arrays.items()
    }
    tensors |= {"array": arrays["array"], "lengths": arrays["lengths"].tolist()}
    nn = torch.nn
    return tensors | {
        "torch": torch, "nn": nn, "F": nn.functional, "optim": torch.optim,
        "Dataset": Dataset, "DataLoader": DataLoader, "TensorDataset": TensorDataset,
        "random_split": random_split, "SummaryWriter": SummaryWriter,
        "OrderedDict": OrderedDict,
        "net": nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)),
        "optimizer": torch.optim.SGD([torch.zeros(1)], lr=0.1),
    }  # fmt: skip


@pytest.fixture
def right(arrays, left):
    """JAX's names, and the same arrays with channels last."""
    namespace = {
        name: jnp.asarray(value) if isinstance(value, np.ndarray) else value
        for name, value in arrays.items()
    }
    namespace |= {name: jnp.moveaxis(namespace[name], 1, -1) for name in IMAGES}
    namespace["edge"] = jnp.transpose(namespace["edge"], (2, 3, 1, 0))
    namespace["array"] = arrays["array"]
    exec(IMPORTS, namespace)
    layers, relu = namespace["layers"], namespace["F"].relu
    net = layers.Sequential([layers.Linear(8), relu, layers.Linear(1)])
    params = {
        name: {"kernel": jnp.array(layer.weight.detach().numpy().T),
               "bias": jnp.array(layer.bias.detach().numpy())}
        for name, layer in left["net"].named_children() if name != "1"
    }  # fmt: skip
    return namespace | {"net": net, "params": params, "key": jax.random.key(0)}


def carried(module, theirs, x, **train):
    """The variables of a Flax module with the weights of its PyTorch twin."""
    from jaxdl.torch_weights import from_state_dict

    wanted = jax.eval_shape(lambda: module.init(jax.random.key(0), x, **train))
    wanted = jax.tree.map(
        lambda s: s.update(dtype=jnp.float64) if s.dtype == jnp.float32 else s, wanted
    )
    return from_state_dict(theirs.state_dict(), wanted)


def result(source, namespace):
    """Runs code; the value of its last line, or what its last line assigns to."""
    *body, last = ast.parse(source).body
    run = lambda nodes: exec(compile(ast.Module(nodes, []), "<row>", "exec"), namespace)
    run(body)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "<row>", "eval"), namespace)
    run([last])
    target = getattr(last, "targets", [getattr(last, "target", None)])[0]
    while isinstance(target, ast.Subscript | ast.Attribute):
        target = target.value
    return namespace[target.id] if isinstance(target, ast.Name) else None


def as_array(value):
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    return np.asarray(value)


def assert_equal(ours, theirs):
    """Numbers to 1e-10, with shapes and types; containers entry by entry."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        ours, theirs = [ours[name] for name in theirs], list(theirs.values())
    if isinstance(theirs, tuple | list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_equal(a, b)
        return
    if isinstance(theirs, str):
        assert ours == theirs
        return
    a, b = as_array(ours), as_array(theirs)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    np.testing.assert_allclose(a, b, **EXACT)


def assert_alike(ours, theirs):
    """Shape, type, and quantiles: within a fifth of the spread, 5 standard errors."""
    a, b = as_array(ours), as_array(theirs)
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    at = [0.1, 0.3, 0.5, 0.7, 0.9]
    np.testing.assert_allclose(
        np.quantile(a, at), np.quantile(b, at), rtol=0, atol=0.2 * b.std()
    )
    assert a.min() >= b.min() - b.std()
    assert a.max() <= b.max() + b.std()


def channels_last(value):
    if isinstance(value, tuple):
        return tuple(map(channels_last, value))
    return value.movedim(1, -1)


def check_layer(name, ours, theirs, left, right):
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.1)  # variances are positive
    theirs.eval()
    expected = theirs(left[name])
    expected = channels_last(expected) if name in IMAGES else expected
    try:
        variables, train = carried(ours, theirs, right[name]), {}
    except TypeError:  # `train` is a keyword without default
        train = {"train": False}
        variables = carried(ours, theirs, right[name], **train)
    assert_equal(ours.apply(variables, right[name], **train), expected)


def check_optimizer(ours, theirs, left, right):
    net, params = right["net"], right["params"]
    loss_fn = lambda params: (net.apply({"params": params}, right["x"]) ** 2).sum()
    opt_state = ours.init(params)

    @jax.jit
    def step(params, opt_state):
        updates, opt_state = ours.update(jax.grad(loss_fn)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for _ in range(5):
        theirs.zero_grad()
        (left["net"](left["x"]) ** 2).sum().backward()
        theirs.step()
        params, opt_state = step(params, opt_state)
    for name, layer in params.items():
        assert_equal(layer["kernel"].T, left["net"][int(name)].weight)
        assert_equal(layer["bias"], left["net"][int(name)].bias)


def check_schedule(ours, theirs):
    for count in range(8):
        np.testing.assert_allclose(float(ours(count)), theirs.get_last_lr()[0], **EXACT)
        theirs.optimizer.step()
        theirs.step()


@pytest.mark.parametrize("row", ROWS)
def test_row(row, left, right):
    if row.check == "raises":
        for source, namespace in ((row.left, left), (row.right, right)):
            with pytest.raises(Exception) as refused:  # noqa: PT011
                result(source, namespace)
            assert not isinstance(refused.value, NameError | SyntaxError)
        return
    ours = result(row.right, right)
    if row.check == "right":
        jax.block_until_ready(ours)
        return
    theirs = result(row.left, left)
    layer = re.fullmatch(r"layer\((\w+)\)", row.check)
    if layer:
        check_layer(layer[1], ours, theirs, left, right)
    elif row.check == "optimizer":
        check_optimizer(ours, theirs, left, right)
    elif row.check == "schedule":
        check_schedule(ours, theirs)
    elif row.check == "channels last":
        assert_equal(ours, channels_last(theirs))
    elif row.check == "alike":
        assert_alike(ours, theirs)
    elif row.check == "equal":
        assert_equal(ours, theirs)
    else:
        assert row.check == "runs", f"there is no check {row.check!r}"


@pytest.mark.parametrize("name", NAMES)
def test_name_is_in_the_phrasebook(name):
    """A method's name begins with a dot, an argument's ends with its sign."""
    lefts = "\n".join(row.values[0].left for row in ROWS)
    begin, end = (
        "" if name[0] == "." else r"(?<![\w.])",
        "" if name[-1] == "=" else r"\b",
    )
    qualified = rf"(?:torch\.|torch\.utils\.data\.)?{re.escape(name)}"
    assert re.search(begin + qualified + end, lefts)


def test_lines_of_tables_are_all_rows():
    """A line that the pattern of a row misses would not be tested."""
    lines = re.findall(r"^\| `.*", TEXT, re.M)
    assert len(lines) == len(ROWS)
