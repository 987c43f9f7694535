import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl.functional import conv1d, conv2d, conv3d, linear, prelu, products
from jaxdl.functional.products import FEW_OUTPUTS, matmul
from tests.marks import slow
from tests.oracle import assert_agrees, assert_trees_match, random

SHAPES = [
    ((5, 7), (7, 3)),
    ((2, 3, 7), (7, FEW_OUTPUTS)),
    ((2, 3, 7), (7, FEW_OUTPUTS + 1)),
    ((7,), (7, 40)),
    ((0, 7), (7, 40)),
    ((4, 0), (0, 3)),
]


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_products_and_gradients_equal_torch(monkeypatch, shapes):
    monkeypatch.setattr(products, "SMALL_SIDE", 1)
    assert_agrees(matmul, torch.matmul, *(random(s, i) for i, s in enumerate(shapes)))


@pytest.mark.parametrize("outputs", [3, 40])
def test_forward_mode_vmap_and_second_derivatives_remain(outputs):
    x, w = random((2, 5, 7), 0), random((2, 7, outputs), 1)
    of = lambda product: lambda x, w: jnp.sin(product(x, w)).sum()
    for derive in (
        lambda f: jax.hessian(f, (0, 1))(x[0], w[0]),
        lambda f: jax.jvp(f, (x[0], w[0]), (x[1], w[1])),
        lambda f: jax.jvp(lambda w: f(x[0], w), (w[0],), (w[1],)),
        lambda f: jax.vmap(jax.grad(f, (0, 1)))(x, w),
        lambda f: jax.vmap(jax.grad(f, (0, 1)), (None, 0))(x[0], w),
        lambda f: jax.vmap(jax.grad(f, (0, 1)), (0, None))(x, w[0]),
    ):
        assert_trees_match(derive(of(matmul)), derive(of(jnp.matmul)))


@pytest.mark.parametrize(("outputs", "turned"), [(10, [True]), (50, [])])
def test_dense_layers_of_few_outputs_turn_their_gradient_around(outputs, turned):
    """xᵀ · gradient, that is; held by a barrier, or XLA would turn it back."""
    x, w = jnp.ones((8, 100)), jnp.ones((100, outputs))
    text = jax.jit(jax.grad(lambda w: linear(x, w).sum())).lower(w).as_text()
    barriers = [line for line in text.splitlines() if "optimization_barrier" in line]
    assert ["10x100" in line for line in barriers] == turned


@pytest.mark.parametrize("members", [2, slow(5)])
@pytest.mark.parametrize("n", [1, 2, 3, 9])
@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (4, 8), (9, 3)])
def test_gradients_of_members_in_a_program_of_plain_jit(members, n, sizes, rng):
    """XLA has aborted over batches of tiny products that are turned around."""
    x = jnp.asarray(rng.normal(size=(members, n, sizes[0])))
    w = jnp.asarray(rng.normal(size=(members, *sizes)))
    gradient = jax.grad(lambda w, x: (matmul(x, w) ** 2).sum(), (0, 1))
    found = jax.jit(jax.vmap(gradient))(w, x)
    expected = [gradient(*member) for member in zip(w, x, strict=True)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected)
    assert_trees_match(found, expected)


@pytest.mark.parametrize("compile", [lambda f: f, jax.jit])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x, b: conv1d(x, jnp.zeros((3, 3, 3), x.dtype), b), (64, 258, 3)),
        (lambda x, b: conv2d(x, jnp.zeros((3, 3, 3, 3), x.dtype), b), (64, 18, 18, 3)),
        (
            lambda x, b: conv3d(x, jnp.zeros((1, 1, 1, 3, 3), x.dtype), b),
            (16, 4, 16, 16, 3),
        ),
        (lambda x, b: linear(x, jnp.zeros((3, 3), x.dtype), b), (64, 16, 16, 3)),
        (lambda x, b: linear(x, jnp.zeros((3, 3), x.dtype), b), (16384, 3)),
        (lambda x, b: -prelu(-x, b), (64, 16, 16, 3)),
    ],
)
def test_gradients_in_half_precision_are_added_up_in_float32(
    function, shape, dtype, compile
):
    """In bfloat16 itself 256 + 1 is 256."""
    x, bias = jnp.ones(shape, dtype), jnp.ones(3, dtype)
    gradient = jax.grad(lambda bias: function(x, bias).sum(dtype=jnp.float32))
    found = compile(gradient)(bias)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, [16384] * 3)
