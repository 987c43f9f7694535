"""Parameters by path: every tree, every pattern, and redrawing by pattern."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax.core import FrozenDict
from jaxtyping import Array

from jaxdl.initializers import constant, normal, uniform, xavier_normal, zeros
from jaxdl.params import (
    first_matches,
    get,
    initialize,
    map_matching,
    matches,
    paths,
    put,
    select,
)
from tests.oracle import assert_same_bits, assert_trees_match

KEY = jax.random.key(3)


class Dense(NamedTuple):
    kernel: Array
    bias: Array


def dense(inputs, outputs):
    return {"kernel": jnp.ones((inputs, outputs)), "bias": jnp.ones(outputs)}


def network():
    return {"fc1": dense(300, 200), "fc2": dense(200, 10)}


TREES = {
    "dict": (network, ["fc1/bias", "fc1/kernel", "fc2/bias", "fc2/kernel"]),
    "FrozenDict": (
        lambda: FrozenDict({"fc": dense(2, 3)}),
        ["fc/bias", "fc/kernel"],
    ),
    "NamedTuple": (
        lambda: Dense(jnp.ones((2, 3)), jnp.ones(3)),
        ["kernel", "bias"],
    ),
    "lists": (
        lambda: {"layers": [dense(2, 3), (jnp.ones(4),)], "none": None},
        ["layers/0/bias", "layers/0/kernel", "layers/1/0"],
    ),
    "array": (lambda: jnp.ones(3), [""]),
    "module": (
        lambda: nn.Sequential([nn.Dense(3)]).init(KEY, jnp.ones((1, 2))),
        ["params/layers_0/bias", "params/layers_0/kernel"],
    ),
}
every_tree = pytest.mark.parametrize(
    ("make", "names"), TREES.values(), ids=TREES.keys()
)


@every_tree
def test_paths_are_those_of_the_leaves_in_order(make, names):
    tree = make()
    assert list(paths(tree)) == names
    for named, leaf in zip(paths(tree).values(), jax.tree.leaves(tree), strict=True):
        assert named is leaf


@every_tree
def test_matching_keeps_the_structure(make, names):
    tree = make()
    mask = matches(tree, "*")
    assert jax.tree.structure(mask) == jax.tree.structure(tree)
    assert jax.tree.leaves(mask) == [True] * len(names)
    doubled = map_matching(lambda p: 2 * p, tree, "*")
    assert_same_bits(doubled, jax.tree.map(lambda p: 2 * p, tree))


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["*"], ["fc1/bias", "fc1/kernel", "fc2/bias", "fc2/kernel"]),
        (["*/kernel"], ["fc1/kernel", "fc2/kernel"]),
        (["fc2/*", "*/bias"], ["fc1/bias", "fc2/bias", "fc2/kernel"]),
        (["fc?/bias"], ["fc1/bias", "fc2/bias"]),
        (["fc[!1]/bias"], ["fc2/bias"]),
        (["fc1/kernel"], ["fc1/kernel"]),
        ([], []),
    ],
)
def test_patterns(patterns, found):
    params = network()
    assert list(select(params, *patterns)) == found
    mask = matches(params, *patterns)
    assert [path for path, hit in paths(mask).items() if hit] == found
    halved = paths(map_matching(lambda p: p / 2, params, *patterns))
    assert [path for path, p in halved.items() if (p == 0.5).all()] == found


def test_selected_arrays_are_the_trees_own():
    params = network()
    assert select(params, "fc1/*")["fc1/bias"] is params["fc1"]["bias"]


def test_shapes_do_for_arrays():
    shapes = jax.eval_shape(network)
    assert select(shapes, "fc2/bias")["fc2/bias"].shape == (10,)


def test_a_mask_is_one_for_optax():
    params = {"fc": dense(2, 3)}
    decay = optax.masked(optax.add_decayed_weights(0.5), matches(params, "*/kernel"))
    updates, _ = decay.update(
        jax.tree.map(jnp.zeros_like, params), decay.init(params), params
    )
    assert_trees_match(updates["fc"], {"kernel": np.full((2, 3), 0.5), "bias": 0.0})


@pytest.mark.parametrize("function", [select, matches, first_matches])
@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "fc1/kernal",
            r"^'fc1/kernal' matches none of fc1/bias, fc1/kernel, fc2/bias, fc2/kernel;"
            r" did you mean 'fc1/kernel'\?$",
        ),
        ("FC1/*", "'FC1/.*fc2/kernel"),
        ("kernel", "'kernel' matches none"),
        ("zzz", "fc2/kernel$"),
    ],
)
def test_a_pattern_that_matches_nothing(function, pattern, message):
    given = [pattern] if function is not first_matches else [["*/bias", pattern]]
    with pytest.raises(ValueError, match=message):
        function(network(), *given)


def test_one_of_two_patterns_matches_nothing():
    with pytest.raises(ValueError, match="'fc3/\\*' matches none"):
        map_matching(jnp.negative, network(), "fc1/*", "fc3/*")


def test_two_arrays_of_one_path():
    with pytest.raises(ValueError, match="two parameters have the path 'a/b'"):
        paths({"a": {"b": 1.0}, "a/b": 2.0})


def test_first_matches():
    """In the tree's order, not in that of the patterns."""
    patterns = ["*/kernel", "fc1/*", "*/bias"]
    assert list(first_matches(network(), patterns).items()) == [
        ("fc1/bias", "fc1/*"),
        ("fc1/kernel", "*/kernel"),
        ("fc2/bias", "*/bias"),
        ("fc2/kernel", "*/kernel"),
    ]
    assert list(first_matches(network(), ["*/kernel"])) == ["fc1/kernel", "fc2/kernel"]


def test_a_pattern_behind_wider_ones():
    with pytest.raises(ValueError, match=r"'fc1/\*' matches only what patterns before"):
        first_matches(network(), ["*/bias", "*/kernel", "fc1/*"])


# -- one array


@every_tree
def test_get_and_put_each_array_of_every_tree(make, names):
    tree = make()
    for name in names:
        leaf = get(tree, name)
        assert leaf is paths(tree)[name]
        changed = put(tree, name, 3 * leaf)
        assert jax.tree.structure(changed) == jax.tree.structure(tree)
        for other, value in paths(changed).items():
            if other == name:
                np.testing.assert_array_equal(value, 3 * leaf)
            else:
                assert value is paths(tree)[other]


def test_put_leaves_what_it_is_given_as_it_was():
    params = network()
    put(params, "fc1/bias", jnp.zeros(200))
    assert (params["fc1"]["bias"] == 1).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_put_keeps_the_dtype(dtype):
    params = {"a": jnp.zeros(2, dtype)}
    for value in (np.ones(2), jnp.ones(2, jnp.int32)):
        assert put(params, "a", value)["a"].dtype == dtype


def test_put_works_under_jit_and_grad():
    params = network()
    loss = lambda bias: sum(
        p.sum() for p in put(params, "fc2/bias", bias)["fc2"].values()
    )
    np.testing.assert_array_equal(jax.jit(jax.grad(loss))(jnp.zeros(10)), np.ones(10))


@pytest.mark.parametrize("path", ["fc1/kernal", "fc1", "*", ""])
@pytest.mark.parametrize(
    "function", [get, lambda params, path: put(params, path, 1.0)], ids=["get", "put"]
)
def test_no_array_at_a_path(function, path):
    with pytest.raises(ValueError, match=r"^'.*' is none of fc1/bias, .*fc2/kernel"):
        function(network(), path)


def test_a_path_that_was_nearly_right():
    with pytest.raises(ValueError, match=r"did you mean 'fc1/kernel'\?$"):
        get(network(), "fc1/kernal")


@pytest.mark.parametrize("shape", [(), (1,), (10, 1)])
def test_a_value_of_another_shape(shape):
    message = rf"fc2/bias has shape \(10,\), and its value {re.escape(str(shape))}"
    with pytest.raises(ValueError, match=message):
        put(network(), "fc2/bias", jnp.ones(shape))


@pytest.mark.parametrize(
    ("dtype", "value"), [("int32", 1.5), ("bool", 0.5), ("bool", 1), ("float32", 1j)]
)
def test_a_value_of_a_kind_that_does_not_fit(dtype, value):
    with pytest.raises(ValueError, match=f"a holds {dtype}, which .* does not fit"):
        put({"a": jnp.ones((), dtype)}, "a", value)


# -- initialize


def test_only_what_matches_is_drawn_anew():
    params = network()
    drawn = initialize(KEY, params, {"fc1/*": constant(42), "*/bias": zeros})
    expected = {
        "fc1": {"kernel": np.full((300, 200), 42.0), "bias": np.full(200, 42.0)},
        "fc2": {"kernel": np.ones((200, 10)), "bias": np.zeros(10)},
    }
    assert_same_bits(drawn, expected)
    assert drawn["fc2"]["kernel"] is params["fc2"]["kernel"]


def test_a_draw_depends_on_its_key_and_path_only():
    wanted = {"*/kernel": normal(std=0.01)}
    alone = initialize(KEY, network(), wanted)
    among = initialize(KEY, network(), {"*/bias": normal(), **wanted})
    smaller = initialize(KEY, {"fc2": dense(200, 10)}, {"*": normal(std=0.01)})
    other = initialize(jax.random.key(4), network(), wanted)
    kernel = alone["fc2"]["kernel"]
    assert_same_bits(kernel, among["fc2"]["kernel"])
    assert_same_bits(kernel, smaller["fc2"]["kernel"])
    assert not np.array_equal(kernel, other["fc2"]["kernel"])


def test_parameters_of_one_shape_differ():
    params = {name: jnp.zeros(5) for name in ("a", "b", "c")}
    drawn = initialize(KEY, params, {"*": normal()})
    assert len({float(leaf[0]) for leaf in drawn.values()}) == 3


def test_the_examples_of_a_course():
    """As `net.apply(init)`: each rule on the layers that it names."""

    def far_or_zero(key, shape, dtype):
        w = uniform(-10, 10)(key, shape, dtype)
        return w * (abs(w) >= 5)

    first = initialize(KEY, network(), {"fc1/kernel": far_or_zero, "*": constant(1)})
    w = np.asarray(first["fc1"]["kernel"])
    assert set(np.unique(first["fc2"]["kernel"])) == {1.0}
    for share, part in [
        (0.25, (w >= 5) & (w <= 10)),
        (0.5, w == 0),
        (0.25, (w <= -5) & (w >= -10)),
    ]:
        np.testing.assert_allclose(part.mean(), share, atol=0.01)

    second = initialize(
        KEY, first, {"fc1/kernel": xavier_normal(), "*/kernel": normal(0.0, 0.01)}
    )
    deviations = [second[name]["kernel"].std() for name in ("fc1", "fc2")]
    np.testing.assert_allclose(deviations, [(2 / 500) ** 0.5, 0.01], rtol=0.05)
    assert_same_bits(second["fc1"]["bias"], first["fc1"]["bias"])


def test_works_under_jit_and_for_many_keys_at_once():
    draw = lambda key: initialize(key, network(), {"*/bias": normal()})
    keys = jax.random.split(KEY, 3)
    together = jax.jit(jax.vmap(draw))(keys)
    for i, key in enumerate(keys):
        alone = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        # A compiled normal differs from an interpreted one in its last bit.
        assert_trees_match(alone, draw(key), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_keeps_the_dtype(dtype):
    params = {"a": jnp.zeros(3, dtype)}
    for initializer in (normal(), lambda key, shape, dtype: np.ones(shape)):
        assert initialize(KEY, params, {"*": initializer})["a"].dtype == dtype


def test_float64_is_drawn_in_float64(x64):
    drawn = initialize(KEY, {"a": jnp.zeros(100)}, {"*": normal()})["a"]
    assert (np.asarray(drawn) != np.float32(drawn)).mean() > 0.9


def test_an_initialiser_of_another_shape():
    message = r"of '\*' returns shape \(\) for a of shape \(3,\)"
    with pytest.raises(ValueError, match=message):
        initialize(KEY, {"a": jnp.zeros(3)}, {"*": lambda key, shape, dtype: 1.0})


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["fc3/*"], r"'fc3/\*' matches none"),
        (["*", "fc1/*"], r"'fc1/\*' matches only"),
    ],
)
def test_initialisers_for_nothing(patterns, message):
    with pytest.raises(ValueError, match=message):
        initialize(KEY, network(), dict.fromkeys(patterns, zeros))
