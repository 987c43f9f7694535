import gzip
import json
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image

from jaxdl import checkpoint, zoo
from jaxdl.functional import cross_entropy
from jaxdl.models import densenet, resnet
from jaxdl.optimizers import frozen, param_groups, sgd
from jaxdl.params import paths
from jaxdl.torch_weights import to_state_dict, write_weights
from jaxdl.torch_weights.layouts import layouts
from jaxdl.training import init_state, make_train_step
from jaxdl.zoo.drawing import draw
from jaxdl.zoo.weights import load
from tests.marks import slow_if
from tests.models import torch_densenet, torch_resnet
from tests.oracle import assert_same_bits

KEY = jax.random.key(0)
DATA = Path(__file__).parent / "data" / "timm_names.json.gz"
TIMM = json.loads(gzip.decompress(DATA.read_bytes()))["models"]
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
}
LARGE = {"densenet161", "densenet169", "densenet201", "resnet152"}
"""of the same blocks as others"""
every_model = pytest.mark.parametrize(
    "name",
    slow_if(lambda name: name in LARGE, PUBLISHED),
)


def module(name, **options):
    family = resnet if name.startswith("resnet") else densenet
    return getattr(family, name)(**options)


def shapes_of(model, channels=3):
    image = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
    return jax.eval_shape(lambda x: model.init(KEY, x, train=False), image)


@every_model
def test_names_shapes_and_counts_are_timms(unchecked, name):
    shapes = shapes_of(module(name))
    ours = {layout.name: list(layout.torch) for layout in layouts(shapes, None, None)}
    assert ours == TIMM[name]["state_dict"]
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))
    assert count == PUBLISHED[name] == TIMM[name]["parameters"]


@every_model
def test_the_twins_names_and_shapes_are_timms(name):
    twin = torch_resnet if name.startswith("resnet") else torch_densenet
    with torch.device("meta"):
        net = (twin.ResNet if twin is torch_resnet else twin.DenseNet)(
            *twin.ARGUMENTS[name]
        )
    theirs = {k: list(value.shape) for k, value in net.state_dict().items()}
    assert theirs == TIMM[name]["state_dict"]


@every_model
def test_the_default_cfg_is_timms(name):
    cfg = zoo.default_cfg(name)
    ours = {**cfg._asdict(), "hf_hub_id": cfg.hf_hub_id}
    assert json.loads(json.dumps(ours)) == TIMM[name]["default_cfg"]
    assert zoo.default_cfg(f"{name}.{cfg.tag}") == cfg


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("*", list(PUBLISHED)),
        ("*densenet*", [n for n in PUBLISHED if "densenet" in n]),
        ("resnet1??", ["resnet101", "resnet152"]),
        (["*18", "*201"], ["resnet18", "densenet201"]),
        ("vit*", []),
    ],
)
@pytest.mark.parametrize("pretrained", [False, True])
def test_models_are_listed_by_pattern(filter, expected, pretrained):
    assert zoo.list_models(filter, pretrained=pretrained) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", "'resnet81': did you mean resnet18"),
        ("vgg", "'vgg': There are resnet18, resnet34"),
        ("resnet18.a2_in1k", "the weights 'a1_in1k' here, not 'a2_in1k'"),
    ],
)
def test_models_that_there_are_not(name, message):
    for function in zoo.default_cfg, zoo.create_model:
        with pytest.raises(ValueError, match=message):
            function(name)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_class": 10}, TypeError, "'num_class'; did you mean 'num_classes'"),
        ({"xyz": 1}, TypeError, "has no argument 'xyz'$"),
        ({"num_classes": -1}, ValueError, "num_classes=-1 is below 0"),
        ({"in_chans": 0}, ValueError, "in_chans=0 is below 1"),
        ({}, ValueError, "resnet18 draws weights: give it a key"),
    ],
)
def test_arguments_that_do_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        zoo.create_model("resnet18", **options)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("resnet18", resnet.ResNet(resnet.BasicBlock, (1, 1), 50, width=16)),
        ("resnet50", resnet.ResNet(resnet.Bottleneck, (1, 1), 50, width=16)),
        ("densenet121", densenet.DenseNet(8, (1, 1), 50)),
    ],
)
def test_weights_are_drawn_as_init_draws_them(name, model):
    image = jnp.zeros((1, 9, 9, 3))
    init = jax.jit(lambda key: model.init(key, image, train=False))(KEY)
    drawn = draw(KEY, jax.eval_shape(lambda: init), zoo.default_cfg(name))
    assert jax.tree.structure(drawn) == jax.tree.structure(init)
    for (path, ours), theirs in zip(
        paths(drawn).items(), jax.tree.leaves(init), strict=True
    ):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        if theirs.size == 1 or theirs.std() == 0:
            np.testing.assert_array_equal(ours, theirs, err_msg=path)
            continue
        spread = float(theirs.std())
        rough = 5 / theirs.size**0.5  # of means and deviations of so many draws
        np.testing.assert_allclose(ours.std(), spread, rtol=rough, err_msg=path)
        np.testing.assert_allclose(ours.mean(), 0, atol=rough * spread, err_msg=path)
        np.testing.assert_allclose(
            abs(ours).max(), abs(theirs).max(), rtol=0.4, err_msg=path
        )


def test_another_key_draws_other_weights():
    shapes = shapes_of(densenet.DenseNet(8, (1,), 50))
    cfg = zoo.default_cfg("densenet121")
    first, again, other = (draw(jax.random.key(s), shapes, cfg) for s in (0, 0, 1))
    assert_same_bits(first, again)
    kernels = [tree["params"]["classifier"]["kernel"] for tree in (first, other)]
    assert (kernels[0] != kernels[1]).mean() > 0.99


def test_no_two_kernels_share_what_is_drawn():
    shapes = shapes_of(resnet.ResNet(resnet.BasicBlock, (1,), 0, width=4))
    drawn = draw(KEY, shapes, zoo.default_cfg("resnet18"))["params"]
    kernels = [np.ravel(p)[:100] for p in jax.tree.leaves(drawn) if p.ndim == 4]
    assert len(kernels) == 3
    assert np.abs(np.corrcoef(kernels) - np.eye(3)).max() < 0.5


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a PyTorch ResNet-18 under timm's names, and their file."""
    torch.manual_seed(0)
    net = torch_resnet.ResNet(*torch_resnet.ARGUMENTS["resnet18"])
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.copy_((torch.rand(tensor.shape) * 9).to(tensor.dtype))
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    write_weights(path, net.state_dict())
    return path, {name: value.numpy() for name, value in net.state_dict().items()}


def assert_holds(model, state_dict, but=()):
    ours = to_state_dict(model.variables)
    assert ours.keys() == state_dict.keys()
    for name, value in state_dict.items():
        if name not in but:
            np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_a_file_is_loaded_whole(weights):
    path, state_dict = weights
    model = zoo.create_model("resnet18", checkpoint_path=path)
    assert_holds(model, state_dict)
    assert model.module == resnet.resnet18(num_classes=1000)
    assert model.cfg == zoo.default_cfg("resnet18")
    leaves = jax.tree.leaves(model.variables)
    assert {leaf.dtype.name for leaf in leaves} == {"float32", "int32"}


def test_a_pickle_without_counters_is_loaded_as_older_torchvision_wrote_it(
    weights, tmp_path
):
    path, state_dict = weights[0].with_suffix(".pth"), weights[1]
    older = {n: v for n, v in state_dict.items() if "num_batches" not in n}
    torch.save({n: torch.tensor(v) for n, v in older.items()}, path)
    model = zoo.create_model("resnet18", checkpoint_path=path)
    assert_holds(model, state_dict, but=state_dict.keys() - older.keys())
    assert model.model_state["batch_stats"]["bn1"]["num_batches_tracked"] == 0


def test_older_torchvision_names_of_dense_layers(tmp_path):
    shapes = shapes_of(densenet.DenseNet(2, (2, 1)))
    drawn = draw(KEY, shapes, zoo.default_cfg("densenet121"))
    expected = to_state_dict(drawn)
    older = {before_2018(name): value for name, value in expected.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    write_weights(tmp_path / "old.safetensors", older)
    cfg = zoo.default_cfg("densenet121")
    loaded = load(tmp_path / "old.safetensors", shapes, cfg, None, None, None)
    assert_same_bits(loaded, drawn)


def before_2018(name):
    for layer in ("norm1", "norm2", "conv1", "conv2"):
        if ".denselayer" in name:
            name = name.replace(f".{layer}.", f".{layer[:-1]}.{layer[-1]}.")
    return name


def test_a_head_for_other_classes_is_drawn_anew(weights):
    path, state_dict = weights
    with pytest.warns(UserWarning, match="fc is drawn anew for num_classes=10"):
        model = zoo.create_model(
            "resnet18", num_classes=10, checkpoint_path=path, key=KEY
        )
    assert_holds(model, state_dict, but=["fc.weight", "fc.bias"])
    head = model.params["fc"]
    assert head["kernel"].shape == (512, 10)
    assert 0.9 * 512**-0.5 < abs(head["kernel"]).max() <= 512**-0.5
    with pytest.raises(ValueError, match="draws weights: give it a key"):
        zoo.create_model("resnet18", num_classes=10, checkpoint_path=path)


def test_without_a_head_the_rest_is_loaded(weights):
    path, state_dict = weights
    model = zoo.create_model("resnet18", num_classes=0, checkpoint_path=path)
    body = {n: v for n, v in state_dict.items() if not n.startswith("fc.")}
    assert_holds(model, body)


@pytest.mark.parametrize("in_chans", [1, 4])
def test_the_first_convolution_is_made_to_fit_as_by_timm(weights, in_chans):
    path, state_dict = weights
    message = f"conv1.weight is made to fit in_chans={in_chans}"
    with pytest.warns(UserWarning, match=message):
        model = zoo.create_model("resnet18", in_chans=in_chans, checkpoint_path=path)
    kernel = torch.tensor(state_dict["conv1.weight"])
    if in_chans == 1:
        expected = kernel.sum(1, keepdim=True)
    else:
        repeated = kernel.repeat(1, math.ceil(in_chans / 3), 1, 1)[:, :in_chans]
        expected = repeated * (3 / in_chans)
    assert_holds(model, state_dict, but=["conv1.weight"])
    np.testing.assert_allclose(
        to_state_dict(model.variables)["conv1.weight"], expected, rtol=1e-6
    )


def rewritten(weights, tmp_path, change):
    path, state_dict = tmp_path / "changed.safetensors", dict(weights[1])
    change(state_dict)
    write_weights(path, state_dict)
    return path


def narrow_head(state_dict):
    state_dict.update({"fc.weight": np.ones((7, 512), "f"), "fc.bias": np.ones(7, "f")})


def one_channel(state_dict):
    state_dict["conv1.weight"] = state_dict["conv1.weight"][:, :1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            narrow_head,
            "has fc.weight for num_classes=7, not 1000: give that",
        ),
        (one_channel, "has conv1.weight for in_chans=1, not 3: give that"),
        (
            lambda s: s.pop("layer4.1.bn2.bias"),
            "resnet18:\n  missing  layer4.1.bn2",
        ),
        (
            lambda s: s.update(extra=np.ones(2)),
            r"resnet18:\n  unused   extra  \(2,",
        ),
    ],
)
def test_weights_that_do_not_fit(weights, tmp_path, change, message):
    path = rewritten(weights, tmp_path, change)
    with pytest.raises(ValueError, match=message) as raised:
        zoo.create_model("resnet18", checkpoint_path=path)
    assert str(path) in str(raised.value)


def test_weights_of_other_classes_and_channels_are_loaded_when_asked(weights, tmp_path):
    both = lambda state_dict: (narrow_head(state_dict), one_channel(state_dict))
    path = rewritten(weights, tmp_path, both)
    model = zoo.create_model(
        "resnet18", num_classes=7, in_chans=1, checkpoint_path=path
    )
    assert (model.params["fc"]["kernel"] == 1).all()
    assert model.params["conv1"]["kernel"].shape == (7, 7, 1, 64)


def test_weights_of_another_architecture(weights):
    message = r"does not fit resnet50:\n(  \w+ .*\n){3}  and \d+ more$"
    with pytest.raises(ValueError, match=message):
        zoo.create_model("resnet50", checkpoint_path=weights[0])


@pytest.mark.parametrize("size", [0, 100, 1_000_000])
def test_a_truncated_file(weights, tmp_path, size):
    path = tmp_path / "short.safetensors"
    path.write_bytes(weights[0].read_bytes()[:size])
    with pytest.raises(ValueError, match=r"short.safetensors is damaged, or no safet"):
        zoo.create_model("resnet18", checkpoint_path=path)


def test_no_file():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth is no file"):
        zoo.create_model("resnet18", checkpoint_path="nowhere.pth")


def test_pretrained_fetches_timms_file(weights, monkeypatch):
    import huggingface_hub

    asked = []

    def download(repository, file):
        asked.append((repository, file))
        return str(weights[0])

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    model = zoo.create_model("resnet18.a1_in1k", pretrained=True)
    assert asked == [("timm/resnet18.a1_in1k", "model.safetensors")]
    assert_holds(model, weights[1])
    given = zoo.create_model("resnet18", pretrained=True, checkpoint_path=weights[0])
    assert len(asked) == 1, "a file that is given is not fetched"
    assert_holds(given, weights[1])


def test_pretrained_without_network_says_what_to_bring(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    message = (
        r"model.safetensors of timm/resnet34.a1_in1k is not in the cache and cannot"
        r" be fetched \(.*\). Bring https://huggingface.co/timm/resnet34.a1_in1k/"
        r"resolve/main/model.safetensors from elsewhere and give its place as"
        r" checkpoint_path"
    )
    with pytest.raises(OSError, match=message):
        zoo.create_model("resnet34", pretrained=True)


@pytest.fixture
def small():
    """A model as `create_model` returns it, quick to compile."""
    module = resnet.ResNet(resnet.BasicBlock, (1,), num_classes=3, width=4)
    cfg = zoo.default_cfg("resnet18")
    image = jnp.zeros((1, 9, 9, 3))
    shapes = jax.eval_shape(lambda: module.init(KEY, image, train=False))
    variables = draw(KEY, shapes, cfg)
    return zoo.Model(module, variables.pop("params"), variables, cfg)


def test_fine_tuning_leaves_the_body_as_it_is_to_the_bit(rng, small):
    """With train=False its statistics too, as when PyTorch's body is in eval mode."""
    head = f"{small.cfg.classifier}/*"
    optimizer = param_groups({head: sgd(0.1, momentum=0.9), "*": frozen()})
    batch = {
        "image": jnp.asarray(rng.normal(size=(8, 9, 9, 3)), jnp.float32),
        "label": jnp.arange(8) % 3,
    }

    def loss_fn(params, model_state, batch, key):
        variables = {"params": params, **model_state}
        logits = small.module.apply(variables, batch["image"], train=False)
        return cross_entropy(logits, batch["label"]), (model_state, {})

    state = init_state(small.params, optimizer, small.model_state)
    step = jax.jit(make_train_step(loss_fn, optimizer))
    losses = []
    for _ in range(5):
        state, metrics = step(state, batch, KEY)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
    before, after = dict(small.params), dict(state.params)
    for name in "kernel", "bias":
        assert (before["fc"][name] != after["fc"][name]).all()
    del before["fc"], after["fc"]
    assert_same_bits(after, before)
    assert_same_bits(state.model_state, small.model_state)


def test_saved_and_loaded_again(rng, small, tmp_path):
    """As a checkpoint, and as a state dict for PyTorch and for `create_model`."""
    checkpoint.save(tmp_path / "model", small.variables)
    shapes = jax.eval_shape(lambda: small.variables)
    loaded = checkpoint.load(tmp_path / "model", shapes)
    assert_same_bits(loaded, small.variables)
    x = jnp.asarray(rng.normal(size=(2, 9, 9, 3)), jnp.float32)
    np.testing.assert_array_equal(
        small.module.apply(loaded, x, train=False),
        small.module.apply(small.variables, x, train=False),
    )


def test_written_for_pytorch_and_read_again(weights, tmp_path):
    model = zoo.create_model("resnet18", checkpoint_path=weights[0])
    path = tmp_path / "again.safetensors"
    write_weights(path, to_state_dict(model.variables))
    again = zoo.create_model("resnet18", checkpoint_path=path)
    assert_same_bits(again.variables, model.variables)


@pytest.mark.parametrize(
    ("name", "shorter", "size"),
    [("resnet18", 235, (300, 400)), ("densenet121", 256, (500, 301))],
)
def test_images_are_prepared_as_timm_evaluates(rng, name, shorter, size):
    image = rng.integers(256, size=(*size, 3), dtype=np.uint8)
    sides = [shorter * side // min(size) for side in size]
    resized = Image.fromarray(image).resize(sides[::-1], Image.Resampling.BICUBIC)
    top, left = (round((side - 224) / 2) for side in sides)
    cut = np.asarray(resized)[top : top + 224, left : left + 224] / 255
    expected = (cut - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    prepared = zoo.preprocess(zoo.default_cfg(name))(image)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared, expected, atol=1e-5)


@pytest.mark.slow
def test_parameters_of_another_type_compute_in_it():
    half = zoo.create_model("resnet18", num_classes=3, dtype=jnp.bfloat16, key=KEY)
    full = zoo.create_model("resnet18", num_classes=3, key=KEY)
    assert {p.dtype for p in jax.tree.leaves(half.params)} == {jnp.dtype(jnp.bfloat16)}
    stats = half.model_state["batch_stats"]["bn1"]
    assert stats["mean"].dtype == stats["var"].dtype == jnp.float32
    image = jax.random.normal(KEY, (2, 32, 32, 3))
    ours, expected = (
        jax.jit(partial(model.module.apply, train=False))(
            model.variables, image.astype(dtype)
        )
        for model, dtype in ((half, jnp.bfloat16), (full, jnp.float32))
    )
    assert ours.dtype == jnp.bfloat16
    error = abs(ours.astype(jnp.float32) - expected).max()
    assert 0 < error < 0.05 * abs(expected).max()


def test_a_type_that_is_not_floating():
    with pytest.raises(ValueError, match=r"dtype=.*int32.* is no floating type"):
        zoo.create_model("resnet18", dtype=jnp.int32, key=KEY)
