"""State dicts of real PyTorch modules carried over, and back, and to files."""

import pickle
import sys
import zipfile
from contextlib import suppress

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.torch
import torch
from flax import linen as nn
from hypothesis import given, strategies as st

from jaxdl.layers import (
    GRU,
    LSTM,
    RNN,
    BatchNorm,
    Conv,
    Embedding,
    GRUCell,
    LayerNorm,
    Linear,
    LSTMCell,
    RNNCell,
    Sequential,
)
from jaxdl.models.lenet import LeNet
from jaxdl.torch_weights import (
    from_state_dict,
    read_weights,
    to_state_dict,
    write_weights,
)
from jaxdl.training import init_state
from tests.oracle import assert_close, assert_same_bits, to_torch

KEY = jax.random.key(0)


def randomised(net, seed=0):
    """Draws parameters and statistics, in float64."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, tensor in net.state_dict().items():
        draw = 0.3 * rng.normal(size=tuple(tensor.shape))
        draw = np.abs(draw) + 0.5 if name.endswith("var") else draw
        state[name] = torch.tensor(draw) if tensor.is_floating_point() else tensor + 3
    net.double().load_state_dict(state)
    return net.eval()


def wanted_by(model, *inputs, dtype=jnp.float64, **kwargs):
    """The shapes of a model's variables, floats in `dtype`."""
    inputs = [jnp.asarray(x) for x in inputs]
    shapes = jax.eval_shape(lambda *x: model.init(KEY, *x, **kwargs), *inputs)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            x.shape, dtype if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype
        ),
        shapes,
    )


def channels_first(x):
    return np.moveaxis(x, -1, 1)


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def same(x):
    return x


LAYERS = {
    "linear": (Linear(5), torch.nn.Linear(3, 5), (4, 3)),
    "linear without bias": (
        Linear(3, use_bias=False),
        torch.nn.Linear(3, 3, bias=False),
        (4, 3),
    ),
    "layer norm": (LayerNorm(), torch.nn.LayerNorm(3), (4, 3)),
    "rnn cell": (RNNCell(4), torch.nn.RNNCell(4, 4), (2, 4)),
    "gru cell": (GRUCell(4), torch.nn.GRUCell(3, 4), (2, 3)),
    "lstm cell": (LSTMCell(4), torch.nn.LSTMCell(3, 4), (2, 3)),
    "rnn": (RNN(4), torch.nn.RNN(4, 4), (5, 2, 4)),
    "gru": (
        GRU(4, num_layers=2, bidirectional=True),
        torch.nn.GRU(3, 4, 2, bidirectional=True),
        (5, 2, 3),
    ),
    "lstm": (
        LSTM(4, num_layers=2, bidirectional=True, use_bias=False),
        torch.nn.LSTM(3, 4, 2, bidirectional=True, bias=False),
        (5, 2, 3),
    ),
}
MAPS = {
    "conv1d": (Conv(4, (3,)), torch.nn.Conv1d(4, 4, 3), (2, 7, 4)),
    "conv2d": (
        Conv(6, (3, 2), stride=2, padding=1, groups=2),
        torch.nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2),
        (2, 7, 6, 4),
    ),
    "depthwise conv2d": (
        Conv(3, 3, groups=3, use_bias=False),
        torch.nn.Conv2d(3, 3, 3, groups=3, bias=False),
        (2, 5, 6, 3),
    ),
    "conv3d": (Conv(3, (2, 3, 4)), torch.nn.Conv3d(2, 3, (2, 3, 4)), (2, 4, 5, 6, 2)),
    "batch norm": (BatchNorm(), torch.nn.BatchNorm2d(3), (2, 4, 5, 3)),
    "batch norm without parameters": (
        BatchNorm(affine=False),
        torch.nn.BatchNorm2d(3, affine=False),
        (2, 4, 5, 3),
    ),
}
CASES = [pytest.param(*case, same, same, id=name) for name, case in LAYERS.items()] + [
    pytest.param(*case, channels_first, channels_last, id=name)
    for name, case in MAPS.items()
]


@pytest.mark.parametrize(("layer", "net", "shape", "to_net", "from_net"), CASES)
def test_layers_compute_what_their_twins_do(
    x64, rng, layer, net, shape, to_net, from_net
):
    net, x = randomised(net), rng.normal(size=shape)
    train = {"train": False} if isinstance(layer, BatchNorm) else {}
    variables = from_state_dict(net.state_dict(), wanted_by(layer, x, **train))
    ours = jax.tree.leaves(layer.apply(variables, jnp.asarray(x), **train))
    theirs = jax.tree.leaves(net(to_torch(to_net(x))))
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, from_net(b.detach().numpy()))
    back = to_state_dict(variables)
    assert_same_bits(back, {k: v.numpy() for k, v in net.state_dict().items()})
    assert {k: v.dtype for k, v in back.items()} == {
        k: v.numpy().dtype for k, v in net.state_dict().items()
    }


def test_embedding(x64, rng):
    net, x = randomised(torch.nn.Embedding(5, 3)), rng.integers(5, size=(4, 2))
    layer = Embedding(5, 3)
    variables = from_state_dict(net.state_dict(), wanted_by(layer, x))
    assert_close(layer.apply(variables, jnp.asarray(x)), net(to_torch(x)).detach())
    assert_same_bits(to_state_dict(variables)["weight"], net.weight.detach().numpy())


def lenet_twin(*, permuted):
    """LeNet for 17×20 pixels; `permuted` flattens channels last, as jaxdl does."""

    class Flatten(torch.nn.Module):
        def forward(self, x):
            x = x.permute(0, 2, 3, 1) if permuted else x
            return x.flatten(1)

    sigmoid, pool = torch.nn.Sigmoid(), torch.nn.MaxPool2d(2)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 5), sigmoid, pool,
        torch.nn.Conv2d(6, 16, 5), sigmoid, pool, Flatten(),
        torch.nn.Linear(32, 120), sigmoid,
        torch.nn.Linear(120, 84), sigmoid, torch.nn.Linear(84, 3),
    )  # fmt: skip
    return randomised(net)


NAMES = {"conv1": "0", "conv2": "3", "fc1": "7", "fc2": "9", "fc3": "11"}
FLATTENED = {"7": (16, 1, 2)}


@pytest.mark.parametrize("permuted", [True, False])
def test_lenet_with_both_orders_of_flattening(x64, rng, permuted):
    net, x = lenet_twin(permuted=permuted), rng.normal(size=(2, 17, 20, 1))
    flattened = None if permuted else FLATTENED
    model = LeNet(3)
    variables = from_state_dict(
        net.state_dict(), wanted_by(model, x), rename=NAMES, flattened=flattened
    )
    expected = net(to_torch(channels_first(x))).detach()
    assert_close(model.apply(variables, jnp.asarray(x)), expected)

    other = FLATTENED if permuted else None
    wrong = from_state_dict(
        net.state_dict(), wanted_by(model, x), rename=NAMES, flattened=other
    )
    assert np.abs(model.apply(wrong, jnp.asarray(x)) - expected.numpy()).max() > 1e-6

    back = to_state_dict(variables, rename=NAMES, flattened=flattened)
    assert_same_bits(back, {k: v.numpy() for k, v in net.state_dict().items()})


def test_sequential_has_pytorchs_names(x64, rng):
    x = rng.normal(size=(4, 3))
    net = randomised(
        torch.nn.Sequential(
            torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.BatchNorm1d(5)
        )
    )
    model = Sequential([Linear(5), jnp.tanh, BatchNorm()])
    variables = from_state_dict(net.state_dict(), wanted_by(model, x, train=False))
    assert_close(
        model.apply(variables, jnp.asarray(x), train=False),
        net(to_torch(x)).detach().numpy(),
    )


def linear_dict(out=2, dtype=np.float64):
    rng = np.random.default_rng(0)
    return {"weight": rng.normal(size=(out, 3)).astype(dtype),
            "bias": rng.normal(size=out).astype(dtype)}  # fmt: skip


def nested(state_dict, prefix):
    return {f"{prefix}.{name}": value for name, value in state_dict.items()}


class Head(nn.Module):
    """Two named linear layers."""

    classes: int = 2

    @nn.compact
    def __call__(self, x):
        return Linear(self.classes, name="head")(Linear(3, name="body")(x))


HEAD = {**nested(linear_dict(3), "body"), **nested(linear_dict(2), "head")}
X = jnp.ones((1, 3))


@pytest.fixture
def variables():
    return jax.tree.map(jnp.asarray, Head().init(KEY, X))


def test_a_single_array_is_renamed(variables):
    """Also one that belongs to no module, and one that is no layer's weight."""
    params = variables["params"] | {"kernel": jax.random.normal(KEY, (3, 3))}
    variables = {"params": params}
    rename = {"kernel": "mix", "body": "trunk", "body.kernel": "0.weight"}
    state_dict = to_state_dict(variables, rename=rename)
    assert_same_bits(state_dict["mix"], params["kernel"])
    assert_same_bits(state_dict["0.weight"], params["body"]["kernel"].T)
    assert "trunk.bias" in state_dict
    assert_same_bits(from_state_dict(state_dict, variables, rename=rename), variables)


def test_rename_takes_the_longest_prefix(variables):
    state_dict = {
        **nested(linear_dict(3), "net.trunk"),
        **nested(linear_dict(2), "net.0.fc"),
    }
    rename = {"": "net", "body": "net.trunk", "head": "net.0.fc"}
    renamed = from_state_dict(state_dict, variables, rename=rename)
    assert_same_bits(renamed, from_state_dict(HEAD, variables))
    assert list(to_state_dict(renamed, rename=rename)) != list(HEAD)
    assert_same_bits(
        to_state_dict(renamed, rename={"body": "trunk", "head": "0.fc"}),
        {
            name.removeprefix("net."): value.astype(np.float32)
            for name, value in state_dict.items()
        },
    )


def test_an_ignored_head_keeps_its_values(variables):
    thousand = {**HEAD, **nested(linear_dict(1000), "head")}
    loaded = from_state_dict(thousand, variables, ignore=("head.*",))
    assert_same_bits(loaded["params"]["head"], variables["params"]["head"])
    body = np.float32(HEAD["body.weight"].T)
    np.testing.assert_array_equal(loaded["params"]["body"]["kernel"], body)


def test_an_ignored_head_needs_values():
    with pytest.raises(ValueError, match=r"head.bias is ignored, but .* no value"):
        from_state_dict(HEAD, jax.eval_shape(Head().init, KEY, X), ignore=("head.*",))


def test_one_table_of_all_that_does_not_fit(variables):
    state_dict = {
        "body.weight": np.zeros((3, 3)),
        "trunk.bias": np.zeros(3),
        "head.weight": np.zeros((3, 2)),
        "head.bias": np.zeros(7),
        "extra": np.zeros(()),
    }
    with pytest.raises(ValueError, match="does not fit") as caught:
        from_state_dict(state_dict, variables)
    assert str(caught.value).splitlines() == [
        "the state dict does not fit the model:",
        "  missing  body.bias    (3,)  did you mean trunk.bias? (rename)",
        "  unused   trunk.bias   (3,)",
        "  unused   extra        ()",
        "  shape    head.bias    wanted (2,), found (7,)",
        "  shape    head.weight  wanted (2, 3), found (3, 2); that is Flax's layout",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rename": {"bdy": "0"}}, "rename names 'bdy', but there is body, head"),
        ({"rename": {"body": "head"}}, "two arrays .* name 'head.bias'"),
        ({"flattened": {"neck": (3, 1, 1)}}, "flattened names 'neck'"),
        ({"flattened": "body"}, r"flattened='body' is no {module: \(channels, "),
        ({"rename": "body"}, "rename='body' is no {path: PyTorch's name}"),
        ({"flattened": {"body": (3, 2, 1)}}, r"has 6 features; body.weight .*\(3, 3\)"),
        ({"ignore": ("tail.*",)}, r"ignore='tail.\*' matches none of body.weight"),
        ({"ignore": "head.*"}, "is one string"),
    ],
)
def test_arguments_that_name_nothing(variables, arguments, message, unchecked):
    with pytest.raises(ValueError, match=message):
        from_state_dict(HEAD, variables, **arguments)


def test_a_state_is_no_variables(variables):
    state = init_state(variables["params"], optax.sgd(0.1))
    with pytest.raises(ValueError, match="variables is a TrainState: give the dictio"):
        to_state_dict(state)


def test_params_alone_are_no_variables(variables):
    with pytest.raises(ValueError, match="'body', 'head' and no 'params'"):
        from_state_dict(HEAD, variables["params"])


def test_values_take_the_wanted_type(variables):
    loaded = from_state_dict(HEAD, variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.float64([1e39, 0]), np.float32, "bias has values of float64 that float32"),
        (np.float64([0.5, 0]), np.int32, "that int32 cannot hold"),
        (np.int64([2**40, 0]), np.int32, "that int32 cannot hold"),
        (np.int64([2**24 + 1, 0]), np.float32, "that float32 cannot hold"),
        (np.float64([1, 0]), np.float64, "float64, which needs jax_enable_x64"),
        (["a", "b"], np.float32, "bias is no array of numbers but list"),
        (None, np.float32, "bias is no array of numbers but NoneType"),
    ],
)
def test_values_that_the_wanted_type_cannot_hold(value, dtype, message):
    wanted = {"params": {"bias": jax.ShapeDtypeStruct((2,), dtype)}}
    with pytest.raises(ValueError, match=message):
        from_state_dict({"bias": value}, wanted)


def test_infinity_and_nan_are_values():
    wanted = {"params": {"bias": jax.ShapeDtypeStruct((2,), jnp.float32)}}
    loaded = from_state_dict({"bias": np.float64([np.inf, np.nan])}, wanted)
    np.testing.assert_array_equal(loaded["params"]["bias"], [np.inf, np.nan])


def test_a_quantised_tensor_is_refused(variables):
    sparse = torch.eye(3).to_sparse()
    with pytest.raises(ValueError, match=r"body.weight, torch.float32, has no NumPy"):
        from_state_dict({**HEAD, "body.weight": sparse}, variables)


def test_later_changes_of_the_tensors_do_not_reach_jax(x64):
    net = torch.nn.Linear(3, 2).double()
    before = net.bias.detach().clone()
    variables = from_state_dict(net.state_dict(), wanted_by(Linear(2), X))
    state_dict = to_state_dict(variables)
    with torch.no_grad():
        net.bias.add_(1)
        net.weight.add_(1)
    state_dict["bias"] += 1
    np.testing.assert_array_equal(variables["params"]["bias"], before)


@pytest.mark.parametrize("present", [True, False])
def test_counters_may_be_absent(present):
    """As in files older than PyTorch 0.4.1; Flax's own layer has none to fill."""
    x = jnp.ones((2, 3))
    state_dict = torch.nn.BatchNorm1d(3).state_dict()
    state_dict["num_batches_tracked"] += 5
    if not present:
        del state_dict["num_batches_tracked"]
    wanted = jax.eval_shape(lambda x: BatchNorm().init(KEY, x, train=False), x)
    loaded = from_state_dict(state_dict, wanted)
    assert loaded["batch_stats"]["num_batches_tracked"] == (5 if present else 0)
    flax = nn.BatchNorm(use_running_average=True).init(KEY, x)
    assert set(from_state_dict(state_dict, flax)["batch_stats"]) == {"mean", "var"}


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture(params=[".safetensors", ".pth"])
def saved(request, tmp_path):
    """Saves a state dict as PyTorch's users do."""

    def save(state_dict, suffix=request.param):
        path = tmp_path / f"weights{suffix}"
        if suffix == ".safetensors":
            safetensors.torch.save_file(state_dict, path)
        else:
            torch.save(state_dict, path)
        return path

    return save


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_files_of_pytorch_to_variables_and_back_bit_for_bit(x64, saved, dtype):
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 2), torch.nn.BatchNorm2d(3))
    net = randomised(net).to(dtype)
    model = Sequential([Conv(3, 2), BatchNorm()])
    x = np.ones((1, 3, 3, 2))
    path = saved(net.state_dict())
    assert {str(a.dtype) for a in read_weights(path).values()} == {
        str(dtype).removeprefix("torch."),
        "int64",
    }
    wanted = wanted_by(model, x, train=False, dtype=str(dtype).removeprefix("torch."))
    variables = from_state_dict(read_weights(path), wanted)
    write_weights(path.with_name("ours.safetensors"), to_state_dict(variables))

    back = safetensors.torch.load_file(path.with_name("ours.safetensors"))
    assert back.keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
    net.load_state_dict(back)


def test_tensors_are_written_too(tmp_path):
    net = torch.nn.Linear(3, 2)
    write_weights(tmp_path / "new" / "w.safetensors", net.state_dict())
    loaded = read_weights(tmp_path / "new" / "w.safetensors")
    assert_same_bits(loaded, {k: v.numpy() for k, v in net.state_dict().items()})


def test_arrays_of_any_strides_are_written_right(tmp_path):
    arrays = {"t": np.arange(6.0).reshape(2, 3).T, "big": np.arange(3, dtype=">f4")}
    write_weights(tmp_path / "w.safetensors", arrays)
    assert_same_bits(read_weights(tmp_path / "w.safetensors"), arrays)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_wrapped_and_parallel_weights(tmp_path, key):
    weights = torch.nn.DataParallel(torch.nn.Linear(3, 2)).state_dict()
    checkpoint = {"epoch": 3, key: weights, "optimizer": {"lr": 0.1}}
    torch.save(checkpoint, tmp_path / "c.pt")
    loaded = read_weights(tmp_path / "c.pt")
    assert_same_bits(loaded["bias"], weights["module.bias"].numpy())
    assert list(loaded) == ["weight", "bias"]


class Exploit:
    def __reduce__(self):
        return exec, ("import sys; sys.exploited = True",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            Exploit(),
            r"holds no weights that are safe: to read it is to run (\w+\.)?exec$",
        ),
        (
            torch.nn.Linear(3, 2),
            r"no weights that are safe: .* run torch\.nn\..*Linear$",
        ),
        ([1, 2], "holds a list and no state dict"),
        ({"weight": torch.ones(2), "epoch": "three"}, "epoch is no array of numbers"),
        ({1: torch.ones(2)}, "1 is no name"),
    ],
)
def test_a_pickle_that_is_not_weights(tmp_path, content, message):
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=message) as caught:
        read_weights(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not hasattr(sys, "exploited")


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_plain_pickle_is_not_run(tmp_path, protocol):
    (tmp_path / "w.bin").write_bytes(pickle.dumps(Exploit(), protocol))
    message = r"holds no weights that are safe: to read it is to run (\w+\.)?exec$"
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path / "w.bin")
    assert not hasattr(sys, "exploited")


def test_a_program_in_torchscript_is_not_run(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("w/constants.pkl", pickle.dumps((), 2))
        archive.writestr("w/data.pkl", pickle.dumps({}, 2))
        archive.writestr("w/version", "3\n")
    with pytest.raises(ValueError, match="to read it is to run TorchScript"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("none.safetensors", None, FileNotFoundError, "is no file"),
        ("none.pth", None, FileNotFoundError, "is no file"),
        ("w.npz", b"", ValueError, "is not named .safetensors, .pth, .pt, .bin"),
        ("w.safetensors", b"", ValueError, "is damaged, or no safetensors file: "),
        ("w.pth", b"", ValueError, "is damaged, or torch.save did not write it: EOFE"),
        ("w.pth", b"<html>", ValueError, "or torch.save did not write it: Unsupported"),
    ],
)
def test_files_that_are_no_weights(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        read_weights(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_a_type_that_numpy_has_not(tmp_path):
    tensors = {"w": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    safetensors.torch.save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"holds what NumPy cannot: .*float8_e4m3fn"):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("module", "name"), [("torch", "w.pth"), ("safetensors.numpy", "w.safetensors")]
)
def test_libraries_that_are_not_installed(tmp_path, monkeypatch, module, name):
    (tmp_path / name).write_bytes(b"")
    package = module.partition(".")[0]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"{name} needs {package}: run pip install"):
        read_weights(tmp_path / name)


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "w.safetensors"
    write_weights(path, {"w": np.ones(2)})
    with pytest.raises(ValueError, match=f"{path} cannot be written: .*complex128"):
        write_weights(path, {"w": np.ones(2, np.complex128)})
    assert_same_bits(read_weights(path), {"w": np.ones(2)})
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_directory_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"w.safetensors cannot be written"):
        write_weights(tmp_path / "file" / "w.safetensors", {"w": np.ones(2)})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    state_dict = torch.nn.Linear(3, 2).state_dict()
    torch.save(state_dict, folder / "w.pth")
    torch.save(state_dict, folder / "w.pt", _use_new_zipfile_serialization=False)
    write_weights(folder / "w.safetensors", state_dict)
    return folder, {path.suffix: path.read_bytes() for path in folder.iterdir()}


def read_or_refuse(path, data):
    path.write_bytes(data)
    with suppress(ValueError, OSError):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@given(data=st.data())
def test_damaged_files_are_refused_in_words(whole, suffix, data):
    folder, contents = whole
    damaged = bytearray(contents[suffix])
    for _ in range(50):
        at = data.draw(st.integers(0, len(damaged) - 1))
        flipped = bytearray(damaged)
        flipped[at] ^= 1 << data.draw(st.integers(0, 7))
        read_or_refuse(folder / f"flipped{suffix}", bytes(flipped))
    cut = data.draw(st.integers(0, len(damaged) - 1))
    read_or_refuse(folder / f"cut{suffix}", bytes(damaged[:cut]))
    random = data.draw(st.binary(max_size=200))
    read_or_refuse(folder / f"random{suffix}", random)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("missing", [1, 7, 100, 300])
def test_a_truncated_file_is_damaged(whole, suffix, missing):
    folder, contents = whole
    path = folder / f"short{suffix}"
    path.write_bytes(contents[suffix][:-missing])
    with pytest.raises(ValueError, match=f"^{path} is damaged[:,] .*[a-z]"):
        read_weights(path)


def test_a_flipped_bit_is_damage_and_no_code(whole):
    """Though PyTorch reads the name of a strange function."""
    folder, contents = whole
    path = folder / "flipped.pth"
    path.write_bytes(contents[".pth"].replace(b"_rebuild_tensor", b"_rebuild_tensos"))
    message = r"is damaged: w/data\.pkl in it has not the checksum it had$"
    with pytest.raises(ValueError, match=message):
        read_weights(path)


@pytest.mark.parametrize("name", ["w.pth", "w"])
def test_weights_are_written_under_a_name_that_tells_what_they_are(tmp_path, name):
    with pytest.raises(ValueError, match=r"is not named \.safetensors"):
        write_weights(tmp_path / name, {"a": np.ones(2)})
    assert not list(tmp_path.iterdir())


def test_a_module_is_no_state_dict(unchecked):
    with pytest.raises(ValueError, match="state_dict is a Linear: give what its"):
        from_state_dict(torch.nn.Linear(2, 3), {"params": {}})


def test_a_key_that_is_no_name_is_refused(unchecked, variables):
    with pytest.raises(ValueError, match="state_dict has the key 0, which is no name"):
        from_state_dict({0: torch.ones(3)}, variables)


class Own(nn.Module):
    """Parameters of one's own, beside a layer, under names that Flax's layers use."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.ones, (3, 2))
        return Linear(4, name="fc")(x @ kernel)


OWN = {
    "kernel": torch.arange(6.0).reshape(3, 2),
    "fc.weight": torch.arange(8.0).reshape(4, 2),
    "fc.bias": torch.zeros(4),
}


def test_a_parameter_of_ones_own_is_read_under_its_name():
    params = from_state_dict(OWN, wanted_by(Own(), X, dtype=jnp.float32))["params"]
    np.testing.assert_array_equal(params["kernel"], OWN["kernel"])
    np.testing.assert_array_equal(params["fc"]["kernel"], OWN["fc.weight"].T)


def test_a_parameter_of_ones_own_has_flaxs_shape():
    wrong = OWN | {"kernel": torch.ones(2, 3)}
    with pytest.raises(ValueError, match=r"kernel  wanted \(3, 2\), found \(2, 3\)"):
        from_state_dict(wrong, wanted_by(Own(), X, dtype=jnp.float32))


def test_flaxs_prelu_has_the_shape_of_no_axes():
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.PReLU(init=0.1))
    model = Sequential([Linear(2), nn.PReLU()])
    x = jnp.array([[1.0, -2, 3]])
    variables = model.init(jax.random.key(0), x)
    found = from_state_dict(theirs.state_dict(), variables)
    expected = theirs(torch.tensor(np.asarray(x))).detach()
    np.testing.assert_allclose(model.apply(found, x), expected, rtol=1e-6)
    written = {name: array.shape for name, array in to_state_dict(found).items()}
    assert written == {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
