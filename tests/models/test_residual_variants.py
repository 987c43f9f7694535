import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.models.residual_cnn import ResidualCNN
from jaxdl.models.residual_variants import (
    BLOCKS,
    DenseBlock,
    OrderedBlock,
    ShortcutBlock,
    VariantCNN,
)
from tests.marks import slow_if
from tests.models import torch_images as torch_twins
from tests.models.learning import accuracy_on_digits
from tests.models.twins import (
    assert_is_twin,
    assert_trains_alike,
    classification,
    load,
    randomised_variables,
)
from tests.oracle import assert_close, to_torch

KEY = jax.random.key(0)
every_block = pytest.mark.parametrize("name", BLOCKS)


def test_every_block_has_a_twin():
    assert list(BLOCKS) == list(torch_twins.BLOCKS)


@pytest.mark.parametrize(
    ("name", "train"),
    [
        (name, train)
        for name in BLOCKS
        for train in ((None,) if name == "course" else (True, False))
        if (name, train) != ("dropout_shortcut", True)  # its mask is injected below
    ],
)
def test_blocks_match_torch(rng, x64, name, train):
    block, x = BLOCKS[name](), rng.normal(size=(3, 4, 5, 2))
    given = {} if train is None else {"train": train}
    variables = randomised_variables(rng, block, x, scale=0.5, **given)
    net = torch_twins.BLOCKS[name](2)
    assert_is_twin(block, net, variables, x, train=train)


def test_the_dropout_shortcut_matches_torch_with_its_mask(rng, x64):
    x = jnp.asarray(rng.normal(size=(3, 4, 5, 2)))
    block = ShortcutBlock("dropout_shortcut")
    variables = randomised_variables(rng, block, x, train=False)
    key = jax.random.key(3)
    output, captured = block.apply(
        variables, x, train=True, rngs={"dropout": key},
        mutable=["batch_stats", "intermediates"], capture_intermediates=True,
    )  # fmt: skip
    dropped = captured["intermediates"]["dropout"]["__call__"][0]
    mask = np.asarray(dropped / x)
    np.testing.assert_allclose(np.unique(mask.round(12)), [0, 2])
    net = load(torch_twins.DropoutShortcut(2), variables).train()
    net.mask = to_torch(mask).permute(0, 3, 1, 2)
    expected = net(to_torch(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert_close(output, expected.detach())


def test_the_dropout_shortcut_with_no_probability_is_the_original(rng):
    x = jnp.asarray(rng.normal(size=(3, 4, 5, 2)), jnp.float32)
    original = OrderedBlock("original")
    variables = original.init(KEY, x, train=False)
    options = {"train": True, "mutable": ["batch_stats"]}
    expected, _ = original.apply(variables, x, **options)
    actual, _ = ShortcutBlock("dropout_shortcut", p=0.0).apply(variables, x, **options)
    np.testing.assert_array_equal(actual, expected)


def test_scales_of_the_constant_scaling(rng):
    x = jnp.asarray(rng.normal(size=(3, 4, 5, 2)), jnp.float32)
    original = OrderedBlock("original")
    variables = original.init(KEY, x, train=False)
    block = ShortcutBlock("constant_scaling", shortcut_scale=1.0, residual_scale=1.0)
    expected = original.apply(variables, x, train=False)
    np.testing.assert_array_equal(block.apply(variables, x, train=False), expected)


@pytest.mark.parametrize("shortcut", ["exclusive_gating", "shortcut_only_gating"])
def test_gates_start_nearly_closed(shortcut):
    for block, bias in [
        (ShortcutBlock(shortcut), -6),
        (ShortcutBlock(shortcut, gate_bias=-1.5), -1.5),
    ]:
        init = jax.jit(lambda x, block=block: block.init(KEY, x, train=False))
        assert (init(jnp.ones((2, 4, 4, 3)))["params"]["gate"]["bias"] == bias).all()


def test_a_dense_block_of_other_sizes_matches_torch(rng, x64):
    block, x = DenseBlock(3, 4), jnp.asarray(rng.normal(size=(2, 3, 4, 5)))
    variables = randomised_variables(rng, block, x, train=True)
    net = torch_twins.DenseBlock(5, 3, 4)
    assert_is_twin(block, net, variables, x, train=True)


# -- the network


def network_and_twin(name, depth, channels, size, classes):
    model = VariantCNN(name, classes, channels, depth)
    out = channels[1] + (24 * depth if name == "dense" else 0)
    sizes = torch_twins.fc_features(out, size)
    features = math.prod(sizes)
    net = torch_twins.VariantCNN(name, 1, channels, features, classes, depth)
    return model, net, {"fc": sizes}


@pytest.mark.parametrize("name", ["full_preactivation", "dense"])
def test_networks_match_torch(rng, x64, name):
    x = rng.normal(size=(3, 17, 16, 1))
    model, net, flattened = network_and_twin(name, 2, (2, 3), (17, 16), 4)
    variables = randomised_variables(rng, model, x, train=True)
    assert_is_twin(model, net, variables, x, train=True, flattened=flattened)


@pytest.mark.parametrize(
    "name",
    # Masks of "dropout_shortcut" differ.
    slow_if(
        lambda name: name != "original",
        [name for name in BLOCKS if name != "dropout_shortcut"],
    ),
)
def test_training_matches_torch(rng, x64, name):
    data = classification(rng, (16, 16, 1), 3)
    model, net, flattened = network_and_twin(name, 1, (3, 4), (16, 16), 3)
    variables = randomised_variables(rng, model, data["x"][:1], 0.2, train=True)
    assert_trains_alike(model, net, variables, data, train=True, flattened=flattened)


def test_with_the_courses_block_it_is_the_courses_network(rng):
    x = jnp.asarray(rng.normal(size=(2, 16, 16, 1)), jnp.float32)
    course = ResidualCNN(4, (2, 3))
    params = jax.jit(course.init)(KEY, x)["params"]
    renamed = params | {name: {"0": params[name]} for name in ("r_block1", "r_block2")}
    variant = partial(VariantCNN("course", 4, (2, 3)).apply, train=True)
    logits = jax.jit(variant)({"params": renamed}, x)
    np.testing.assert_array_equal(logits, jax.jit(course.apply)({"params": params}, x))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            VariantCNN("full_preactivaton"),
            "block='full_preactivaton' is none of course, original, .*, dense: did you"
            " mean 'full_preactivation'",
        ),
        (VariantCNN("original", depth=-1), "depth=-1 is below 0"),
    ],
    ids=["block", "depth"],
)
def test_bad_networks(model, message):
    with pytest.raises(ValueError, match=message):
        model.init(KEY, jnp.ones((1, 16, 16, 1)), train=False)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            lambda: OrderedBlock("orignal"),
            "order='orignal' is none of .* mean 'original'",
        ),
        (lambda: ShortcutBlock("zzz"), "shortcut='zzz' is none of .*dropout_shortcut"),
    ],
    ids=["order", "shortcut"],
)
def test_bad_blocks(block, message):
    with pytest.raises(ValueError, match=message):
        block().init(KEY, jnp.ones((2, 4, 4, 1)), train=False)


def test_images_too_small():
    with pytest.raises(
        ValueError, match="VariantCNN needs 16x16 pixels or more, got 8"
    ):
        VariantCNN("original").init(KEY, jnp.ones((1, 8, 28, 1)), train=False)


# 0.05 below what was measured, for what learns more slowly than the original.
FLOORS = {
    "course": 0.73,
    "constant_scaling": 0.78,
    "exclusive_gating": 0.69,
    "conv_shortcut": 0.82,
}


@pytest.mark.slow
@every_block
def test_learns_the_digits(name):
    """0.747 to 0.925 were measured."""
    accuracy = accuracy_on_digits(VariantCNN(name), steps=60, modes=True)
    assert accuracy > FLOORS.get(name, 0.86)
