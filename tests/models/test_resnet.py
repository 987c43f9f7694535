import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.functional import cross_entropy
from jaxdl.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18
from jaxdl.training import compute_in
from tests.marks import slow
from tests.models import torch_resnet, twins
from tests.models.twins import (
    assert_is_twin,
    assert_trains_alike,
    classification,
    randomised_variables,
)

KEY = jax.random.key(0)
NARROW = {  # blocks with and without downsampling, of stride 1 and 2
    "basic": (BasicBlock, torch_resnet.BasicBlock, (2, 1)),
    "bottleneck": (Bottleneck, torch_resnet.Bottleneck, (1, 2)),
}


def pair(kind, channels=3, classes=5, width=4):
    block, torch_block, depths = NARROW[kind]
    net = torch_resnet.ResNet(torch_block, depths, classes, channels, width)
    return ResNet(block, depths, classes, width), net


@pytest.mark.parametrize(
    ("kind", "train", "shape"),
    [
        ("basic", True, (3, 33, 32, 3)),
        ("basic", False, (2, 17, 22, 1)),
        ("bottleneck", True, (2, 32, 33, 1)),
        ("bottleneck", False, (1, 1, 1, 4)),
    ],
)
def test_outputs_gradients_and_statistics_match_torch(rng, x64, kind, train, shape):
    model, net = pair(kind, channels=shape[-1])
    x = rng.normal(size=shape)
    variables = randomised_variables(rng, model, x, train=False)
    assert_is_twin(model, net, variables, x, train=train)


@pytest.mark.parametrize("kind", ["basic", slow("bottleneck")])
def test_training_stays_beside_torch(rng, x64, kind):
    model, net = pair(kind, channels=1, classes=3)
    data = classification(rng, (9, 9, 1), 3)
    variables = randomised_variables(rng, model, data["x"][:1], train=False)
    assert_trains_alike(model, net, variables, data, train=True)


@pytest.mark.slow
def test_resnet18_itself_matches_torch(rng, x64):
    x = rng.normal(size=(2, 33, 40, 3))
    model = resnet18(num_classes=7)
    net = torch_resnet.ResNet(*torch_resnet.ARGUMENTS["resnet18"], num_classes=7)
    # As large as trained ones: draws of one size would make the logits huge.
    variables = randomised_variables(rng, model, x, scale=0.05, train=False)
    assert_is_twin(model, net, variables, x, train=True)


@pytest.mark.slow
def test_resnet18_itself_trains_beside_torch(rng, x64, monkeypatch):
    monkeypatch.setattr(twins, "STEPS", 3)
    model = resnet18(num_classes=3)
    net = torch_resnet.ResNet(*torch_resnet.ARGUMENTS["resnet18"], num_classes=3)
    data = classification(rng, (33, 34, 3), 3)
    variables = randomised_variables(rng, model, data["x"][:1], scale=0.05, train=False)
    assert_trains_alike(model, net, variables, data, train=True)


@pytest.mark.parametrize("kind", NARROW)
def test_weights_start_as_timms(kind):
    """Kernels from N(0, 2 / fan out), every block as the identity, PyTorch's head."""
    block, _, depths = NARROW[kind]
    model = ResNet(block, depths, num_classes=64, width=32)
    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, 8, 8, 3)), train=False))
    params = init(KEY)["params"]
    last = {"basic": "bn2", "bottleneck": "bn3"}[kind]
    for block in [params["layer1"]["0"], params["layer2"]["0"]]:
        assert not block[last]["scale"].any()
        assert (block["bn1"]["scale"] == 1).all()
    for kernel, fan_out in [
        (params["conv1"]["kernel"], 7 * 7 * 32),
        (
            params["layer2"]["0"]["downsample"]["0"]["kernel"],
            64 * model.block.expansion,
        ),
    ]:
        np.testing.assert_allclose(kernel.std(), (2 / fan_out) ** 0.5, rtol=0.05)
    features = params["fc"]["kernel"].shape[0]
    bound = features**-0.5
    for drawn in params["fc"].values():
        assert 0.9 * bound < abs(drawn).max() <= bound
    np.testing.assert_allclose(params["fc"]["kernel"].std(), bound / 3**0.5, rtol=0.05)


def test_in_bfloat16_parameters_and_statistics_stay_float32(rng):
    model, _ = pair("basic", classes=3)
    batch = {"image": jnp.asarray(rng.normal(size=(4, 9, 9, 3)), jnp.float32)}
    variables = jax.eval_shape(lambda: model.init(KEY, batch["image"], train=False))

    def loss_fn(params, model_state, batch, key):
        variables = {"params": params, **model_state}
        logits, model_state = model.apply(
            variables, batch["image"], train=True, mutable=["batch_stats"]
        )
        assert logits.dtype == jnp.bfloat16
        return cross_entropy(logits, jnp.arange(4) % 3), (model_state, {})

    loss_fn = compute_in(jnp.bfloat16, loss_fn)
    grad = jax.grad(loss_fn, has_aux=True)
    stats = {"batch_stats": variables["batch_stats"]}
    grads, (new_stats, _) = jax.eval_shape(grad, variables["params"], stats, batch, KEY)
    for tree in grads, new_stats:
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} <= {
            jnp.dtype("float32"),
            jnp.dtype("int32"),
        }


def test_without_classes_it_gives_features():
    shapes = jax.eval_shape(
        lambda: resnet18(num_classes=0).init_with_output(
            KEY, jnp.zeros((2, 32, 32, 3)), train=False
        )
    )
    assert shapes[0].shape == (2, 512)
    assert "fc" not in shapes[1]["params"]


@pytest.mark.parametrize(
    ("shape", "train", "message"),
    [
        ((32, 32, 3), False, r"needs \(batch, height, width, channels\), got \(32, 32"),
        ((1, 0, 32, 3), False, "needs 1x1 pixels or more, got 0x32"),
        ((1, 9, 9, 1), False, "conv1 was made for 3 channels a group and is given 1"),
        ((1, 1, 4, 3), True, "one value per channel"),
    ],
)
def test_images_that_do_not_fit(unchecked, shape, train, message):
    model, _ = pair("basic")
    init = lambda: model.init(KEY, jnp.zeros((1, 9, 9, 3)), train=False)
    variables = jax.tree.map(lambda s: jnp.zeros(s.shape), jax.eval_shape(init))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            lambda x: model.apply(variables, x, train=train, mutable=["batch_stats"]),
            jax.ShapeDtypeStruct(shape, jnp.float32),
        )
