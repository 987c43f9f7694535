"""Losses of numbers and class labels against PyTorch in float64."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from jax.experimental import checkify

from jaxdl.functional.losses import (
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from tests.oracle import (
    EXACT,
    assert_agrees,
    assert_close,
    assert_trees_match,
    random,
)

F = torch.nn.functional
REDUCTIONS = ["none", "mean", "sum"]
PAIR_LOSSES = [mse_loss, l1_loss, smooth_l1_loss, huber_loss]
SETTINGS = [
    (mse_loss, {}),
    (l1_loss, {}),
    (smooth_l1_loss, {"beta": 0.5}),
    (smooth_l1_loss, {"beta": 0.0}),
    (huber_loss, {"delta": 0.5}),
    (huber_loss, {"delta": 2.0}),
]
each_setting = pytest.mark.parametrize(("loss", "arguments"), SETTINGS)
each_loss = pytest.mark.parametrize("loss", PAIR_LOSSES)


@pytest.fixture(autouse=True, scope="module")
def x64():
    with jax.enable_x64(True):
        yield


def assert_like_torch(loss, *arrays, **arguments):
    theirs = getattr(F, loss.__name__)
    assert_agrees(
        lambda *a: loss(*a, **arguments), lambda *a: theirs(*a, **arguments), *arrays
    )


@given(
    setting=st.sampled_from(SETTINGS),
    shape=st.sampled_from([(), (1,), (7,), (5, 3), (2, 1, 3)]),
    reduction=st.sampled_from(REDUCTIONS),
)
def test_losses_of_numbers(setting, shape, reduction):
    loss, arguments = setting
    x, y = 2 * random((2, *shape), 0)
    assert_like_torch(loss, x, y, reduction=reduction, **arguments)


@each_loss
def test_defaults_are_torchs(loss):
    assert_like_torch(loss, *2 * random((2, 9), 0))


@each_setting
def test_kinks_and_large_errors(loss, arguments):
    """Where pieces meet the subgradient is PyTorch's, and nothing large makes a NaN."""
    errors = [0, 0.5, 1, 2, 1e-9, 1e200, np.inf]
    errors = np.array(errors + [-e for e in errors])
    zeros = np.zeros(len(errors))
    assert_like_torch(loss, errors, zeros, reduction="none", **arguments)


@each_setting
def test_nan_passes_through(loss, arguments):
    losses = loss(jnp.array([jnp.nan, 1.0]), jnp.zeros(2), "none", **arguments)
    np.testing.assert_array_equal(np.isnan(losses), [True, False])


@each_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_no_numbers(loss, reduction):
    assert_like_torch(loss, np.zeros((0, 2)), np.zeros((0, 2)), reduction=reduction)


@pytest.mark.parametrize(
    ("loss", "name", "width"),
    [
        *product([smooth_l1_loss], ["beta"], [0.0, 0.5, np.inf]),
        *product([huber_loss], ["delta"], [0.5, np.inf]),
    ],
)
def test_a_traced_setting_is_as_good_as_a_number(loss, name, width):
    """Also where errors are 0 or infinite, of which none may make another NaN."""
    errors = jnp.array([0, 0.5, -0.3, 2, -1e200, np.inf, np.nan])

    def losses_and_gradient(width):
        losses = lambda x: loss(x, jnp.zeros(7), "none", **{name: width})
        values, pullback = jax.vjp(losses, errors)
        return values, *pullback(jnp.ones(7))

    assert_trees_match(
        jax.jit(losses_and_gradient)(width), losses_and_gradient(width), rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("loss", "name", "wrong", "limits"),
    [
        (huber_loss, "delta", 0.0, r"\(0, inf\]"),
        (smooth_l1_loss, "beta", -1.0, r"\[0, inf\]"),
        (cross_entropy, "label_smoothing", 1.5, r"\[0, 1\]"),
    ],
)
def test_a_traced_setting_out_of_range_is_nan_and_reported(loss, name, wrong, limits):
    target = jnp.array([1]) if loss is cross_entropy else jnp.ones((1, 3))
    of_setting = jax.jit(
        lambda value: jax.value_and_grad(loss)(
            jnp.array([[1, 1.2, 9]]), target, **{name: value}
        )
    )
    assert all(np.isfinite(a).all() for a in of_setting(1.0))
    assert all(np.isnan(a).all() for a in of_setting(wrong))
    error, _ = checkify.checkify(of_setting)(wrong)
    words = f"{name} {wrong} lies outside of {limits}"
    with pytest.raises(checkify.JaxRuntimeError, match=words):
        error.throw()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_settings_that_are_arrays_keep_dtypes(dtype):
    """Traced ones and, inside of a compiled function or not, others."""
    x, width = jnp.ones((2, 3), dtype), jnp.float64(0.5)

    def losses(width):
        return (
            huber_loss(x, 2 * x, delta=width),
            smooth_l1_loss(x, 2 * x, beta=width),
            cross_entropy(x, jnp.array([0, 1]), label_smoothing=width),
            cross_entropy(x, x / 3, label_smoothing=width),
        )

    of_number, of_array = losses(0.5), losses(width)
    assert_trees_match(of_array, of_number, rtol=0, atol=0)
    inside, traced = jax.jit(lambda: losses(width))(), jax.jit(losses)(width)
    for found in (inside, traced):
        assert_trees_match(found, of_number, rtol=0.01, atol=0)
    found = (*of_number, *of_array, *inside, *traced)
    assert {loss.dtype for loss in found} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("traced", [False, True])
def test_a_setting_is_one_number(unchecked, traced):
    run = lambda deltas: huber_loss(deltas, deltas, delta=deltas)
    with pytest.raises(ValueError, match=r"delta has shape \(3,\): expected one n"):
        (jax.jit(run) if traced else run)(jnp.ones(3))


def test_a_setting_out_of_range_is_an_error_also_where_it_gets_a_gradient():
    with pytest.raises(ValueError, match=r"delta=-1.0 is not within \(0, inf\]"):
        jax.grad(lambda delta: huber_loss(jnp.ones(2), jnp.zeros(2), delta=delta))(-1.0)


@pytest.mark.parametrize(
    ("loss", "setting", "error"),
    [
        (huber_loss, {"delta": 1000.0}, 300.0),
        (smooth_l1_loss, {"beta": 1000.0}, 300.0),
        (smooth_l1_loss, {"beta": 1e-8}, 0.0),
        (smooth_l1_loss, {"beta": 1e-8}, 2.0),
    ],
)
def test_half_precision_holds_what_a_square_does_not_fit(loss, setting, error):
    x = np.array([error], np.float16)
    actual = loss(jnp.asarray(x), jnp.zeros(1, jnp.float16), **setting)
    expected = getattr(F, loss.__name__)(
        torch.tensor(x), torch.zeros(1, dtype=torch.float16), **setting
    )
    np.testing.assert_array_equal(actual, expected.numpy())


@pytest.mark.parametrize(
    ("loss", "name"), [(huber_loss, "delta"), (smooth_l1_loss, "beta")]
)
def test_a_width_is_as_precise_as_the_error(loss, name):
    """That of numbers of two types is of the wider one."""
    x, y = jnp.array([0.5, 3], jnp.float16), jnp.zeros(2, jnp.float64)
    expected = loss(x.astype(float), y, **{name: 0.3})
    np.testing.assert_allclose(loss(x, y, **{name: 0.3}), expected, **EXACT)


def test_no_number_on_the_way_is_nan_beside_an_endless_curve():
    with jax.debug_nans(True):
        loss = lambda x: huber_loss(x, jnp.zeros(2), delta=np.inf)
        gradient = jax.grad(loss)(jnp.array([1.0, 4.0]))
    np.testing.assert_array_equal(gradient, [0.5, 2.0])


def test_small_errors_keep_their_digits_beside_a_large_delta():
    error = jnp.float32(1e-6)
    gradient = jax.grad(huber_loss)(error, jnp.float32(0), delta=100.0)
    np.testing.assert_array_equal(gradient, error)


@each_loss
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_losses_of_numbers_keep_dtypes(loss, dtype):
    x, y = jnp.asarray(2 * random((2, 20), 0))
    actual = loss(x.astype(dtype), y.astype(dtype))
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, loss(x, y), rtol=3 * jnp.finfo(dtype).eps)


@each_loss
def test_losses_of_numbers_under_vmap(loss):
    x, y = jnp.asarray(random((2, 3, 4), 0))
    looped = jnp.stack([loss(*pair) for pair in zip(x, y, strict=True)])
    assert_close(jax.jit(jax.vmap(loss))(x, y), looped)


@each_loss
def test_losses_of_numbers_refuse_to_broadcast(unchecked, loss):
    with pytest.raises(ValueError, match=r"input \(4, 1\) and target \(4,\) differ"):
        loss(jnp.zeros((4, 1)), jnp.zeros(4))


@each_loss
@pytest.mark.parametrize("wrong", ["input", "target"])
def test_losses_of_numbers_refuse_integers(unchecked, loss, wrong):
    given = {"input": jnp.zeros(2), "target": jnp.zeros(2)}
    given[wrong] = jnp.zeros(2, int)
    with pytest.raises(ValueError, match=f"{wrong} has dtype int64; expected"):
        loss(**given)


@pytest.mark.parametrize(
    ("loss", "arguments", "message"),
    [
        (huber_loss, {"delta": 0.0}, r"delta=0.0 is not within \(0, inf\]"),
        (huber_loss, {"delta": -1.0}, r"delta=-1.0 is not within \(0, inf\]"),
        (smooth_l1_loss, {"beta": -1.0}, r"beta=-1.0 is not within \[0, inf\]"),
    ],
)
def test_impossible_settings(loss, arguments, message):
    with pytest.raises(ValueError, match=message):
        loss(jnp.zeros(2), jnp.zeros(2), **arguments)


@pytest.mark.parametrize("loss", [*PAIR_LOSSES, nll_loss, cross_entropy])
def test_reduction_unknown(unchecked, loss):
    labelled = loss in (nll_loss, cross_entropy)
    given = (jnp.zeros((2, 3)), jnp.array([0, 1])) if labelled else (jnp.zeros(2),) * 2
    with pytest.raises(ValueError, match="'average' is not 'none', 'mean' or 'sum'"):
        loss(*given, reduction="average")


LABELLED = [cross_entropy, nll_loss]
each_labelled = pytest.mark.parametrize("loss", LABELLED)


def channels_second(x):
    # Contiguous: PyTorch's gradient of nll_loss refuses other inputs.
    return x.movedim(-1, 1).contiguous() if x.ndim > 2 else x


def to_jax(x):
    return None if x is None else jnp.asarray(x)


def to_torch(x):
    return None if x is None else torch.tensor(x)


@given(
    loss=st.sampled_from(LABELLED),
    batch=st.sampled_from([(1,), (7,), (3, 2), (2, 3, 2), ()]),
    classes=st.integers(1, 6),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    reduction=st.sampled_from(REDUCTIONS),
    ignored=st.sampled_from([-100, 0, 255]),
    seed=st.integers(0, 99),
)
def test_losses_of_labels(
    loss, batch, classes, weighted, smoothing, reduction, ignored, seed
):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(*batch, classes))
    labels = rng.integers(classes, size=batch)
    labels = np.where(rng.random(batch) < 0.3, ignored, labels)
    weight = rng.uniform(0.5, 2, size=classes) if weighted else None
    arguments = {"ignore_index": ignored, "reduction": reduction}
    if loss is cross_entropy:
        arguments["label_smoothing"] = smoothing
    theirs = getattr(F, loss.__name__)
    assert_agrees(
        lambda x, y: loss(x, y, to_jax(weight), **arguments),
        lambda x, y: theirs(channels_second(x), y, to_torch(weight), **arguments),
        inputs,
        labels,
    )


@each_labelled
def test_defaults_of_labelled_losses_are_torchs(loss):
    assert_like_torch(loss, random((3, 4), 0), np.array([1, -100, 3]))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@each_labelled
def test_no_examples(loss, reduction):
    labels = np.zeros(0, int)
    assert_like_torch(loss, np.zeros((0, 3)), labels, reduction=reduction)


@each_labelled
def test_mean_over_classes_that_weigh_nothing_is_nan(loss):
    weight = jnp.array([0.0, 1.0])
    assert np.isnan(loss(jnp.zeros((2, 2)), jnp.array([0, 0]), weight))


@each_labelled
def test_ignored_label_of_a_class_ruled_out(loss):
    x = np.array([[-np.inf, 0.0], [1.0, 2.0]])
    assert_like_torch(loss, x, np.array([0, 1]), ignore_index=0, reduction="none")


@given(
    batch=st.sampled_from([(1,), (5,), (3, 2)]),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.2, 1.0]),
    reduction=st.sampled_from(REDUCTIONS),
)
def test_cross_entropy_of_probabilities(batch, weighted, smoothing, reduction):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(*batch, 4))
    target = rng.dirichlet(np.ones(4), size=batch)
    weight = rng.uniform(0.5, 2, size=4) if weighted else None
    arguments = {"reduction": reduction, "label_smoothing": smoothing}
    assert_agrees(
        lambda x, t: cross_entropy(x, t, to_jax(weight), **arguments),
        lambda x, t: F.cross_entropy(
            channels_second(x), channels_second(t), to_torch(weight), **arguments
        ),
        logits,
        target,
    )


@pytest.mark.parametrize("scale", [1e3, 1e5, 1e300])
def test_cross_entropy_of_large_logits(rng, scale):
    labels = rng.integers(5, size=8)
    assert_like_torch(cross_entropy, scale * rng.normal(size=(8, 5)), labels)


def test_cross_entropy_of_classes_ruled_out(rng):
    """A logit of -inf is a class that cannot be, and no reason for a NaN."""
    logits = rng.normal(size=(3, 4))
    logits[:, 2] = -np.inf
    assert_like_torch(cross_entropy, logits, np.array([0, 1, 3]))


LOGITS = [
    [0.3, -1.0, 2.0],
    [-np.inf, 0.0, 1.0],
    [-np.inf, -np.inf, 1.0],
    [-np.inf, -np.inf, -np.inf],
    [np.inf, 0.0, 1.0],
    [np.inf, -np.inf, 1.0],
    [np.nan, 0.0, 1.0],
]
TARGETS = [
    *(np.array([p]) for p in ([0.2, 0.3, 0.5], [0, 0.5, 0.5], [1.0, 0, 0], [0.0] * 3)),
    *(np.array([label]) for label in (0, 2, -100)),
]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [None, [1.0, 2, 0.5], [0.0, 1, 2], [0.0, 0, 0]])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_cross_entropy_of_what_is_not_finite_equals_torch(smoothing, weight, reduction):
    """Also what is inf and what NaN; gradients where PyTorch's are finite."""
    weight = None if weight is None else np.array(weight)
    settings = {"reduction": reduction, "label_smoothing": smoothing}
    ours = jax.jit(
        jax.value_and_grad(
            lambda x, t: cross_entropy(x, t, to_jax(weight), **settings).sum()
        )
    )
    for logits, target in product(LOGITS, TARGETS):
        x = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
        loss = F.cross_entropy(x, to_torch(target), to_torch(weight), **settings).sum()
        loss.backward()
        value, gradient = ours(jnp.array([logits]), jnp.asarray(target))
        case = f"{logits} for {target}"
        np.testing.assert_allclose(value, loss.item(), **EXACT, err_msg=case)
        finite = x.grad.isfinite().numpy()
        np.testing.assert_allclose(
            gradient[finite], x.grad.numpy()[finite], **EXACT, err_msg=case
        )


@each_labelled
@pytest.mark.parametrize(
    ("target", "weight", "message"),
    [
        (np.zeros(1, int), None, r"target \(1,\) does not fit input \(4, 3\)"),
        (np.zeros((4, 1), int), None, r"target \(4, 1\) does not fit"),
        (np.zeros((4, 3), int), None, r"target has dtype int64|target \(4, 3\)"),
        (np.zeros(4), None, "target has dtype float64: labels are integers"),
        (np.zeros(4, bool), None, "target has dtype bool: labels are integers"),
        (np.zeros((4, 1)), None, r"target \(4, 1\) does not fit"),
        (np.zeros(4, int), np.ones(1), r"weight \(1,\) does not fit 3 classes"),
        (
            np.zeros(4, int),
            np.ones(3, int),
            "weight has dtype int64; expected",
        ),
    ],
)
def test_labelled_losses_do_not_broadcast(unchecked, loss, target, weight, message):
    with pytest.raises(ValueError, match=message):
        loss(jnp.zeros((4, 3)), jnp.asarray(target), to_jax(weight))


@each_labelled
def test_labelled_losses_refuse_other_inputs(unchecked, loss):
    labels = jnp.zeros(4, int)
    with pytest.raises(ValueError, match="input has dtype int64; expected"):
        loss(jnp.zeros((4, 3), int), labels)
    with pytest.raises(ValueError, match=r"input \(\) has no class axis"):
        loss(jnp.zeros(()), labels)


@each_labelled
def test_mean_over_ignored_labels_only_is_nan(loss):
    assert np.isnan(loss(jnp.zeros((2, 3)), jnp.array([-100, -100])))


@each_labelled
@pytest.mark.parametrize("label", [-1, 3, 10**6, -(10**6)])
def test_label_out_of_range_is_an_error(loss, label):
    message = rf"label {label} at \(1,\) lies outside of 0..2"
    with pytest.raises(ValueError, match=message):
        loss(jnp.zeros((2, 3)), jnp.array([0, label]))


@each_labelled
@pytest.mark.parametrize("label", [-1, 3, 10**6, -(10**6)])
def test_label_out_of_range_is_nan_inside_jit(loss, label):
    @jax.jit
    def losses_and_gradient(x, labels):
        losses, pullback = jax.vjp(lambda x: loss(x, labels, reduction="none"), x)
        return losses, *pullback(jnp.ones_like(losses))

    losses, gradient = losses_and_gradient(jnp.zeros((2, 3)), jnp.array([0, label]))
    np.testing.assert_array_equal(np.isnan(losses), [False, True])
    np.testing.assert_array_equal(np.isnan(gradient).any(axis=-1), [False, True])


@each_labelled
@pytest.mark.parametrize("label", [-1, 3])
def test_checkify_reports_labels_out_of_range(loss, label):
    gradient = checkify.checkify(jax.jit(jax.grad(loss)))
    error, _ = gradient(jnp.zeros((2, 3)), jnp.array([0, label]))
    with pytest.raises(
        checkify.JaxRuntimeError, match=f"label {label} lies outside of 0..2"
    ):
        error.throw()
    error, _ = gradient(jnp.zeros((2, 3)), jnp.array([-100, 2]))
    error.throw()


@each_labelled
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.uint16])
def test_labels_of_narrow_types(loss, dtype):
    """With 300 classes, which uint8 cannot count; -100 as uint8 is 156."""
    x = jnp.asarray(random((3, 300), 0))
    labels = jnp.array([0, 100, min(156, jnp.iinfo(dtype).max)], dtype)
    expected = loss(x, labels.astype(int), reduction="none")
    actual = jax.jit(lambda x, y: loss(x, y, reduction="none"))(x, labels)
    assert_close(actual, expected)


@each_labelled
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_labelled_losses_keep_dtypes(loss, dtype):
    x, labels = jnp.asarray(random((20, 4), 0)), jnp.arange(20) % 4
    actual = loss(x.astype(dtype), labels, jnp.arange(1, 5).astype(dtype))
    assert actual.dtype == dtype
    expected = loss(x, labels, jnp.arange(1.0, 5.0))
    np.testing.assert_allclose(
        actual, expected, rtol=20 * jnp.finfo(dtype).eps, atol=jnp.finfo(dtype).eps
    )


@each_labelled
def test_labelled_losses_under_vmap(rng, loss):
    inputs = jnp.asarray(rng.normal(size=(4, 5, 3)))
    labels = jnp.asarray(rng.integers(3, size=(4, 5)))
    looped = jnp.stack([loss(*pair) for pair in zip(inputs, labels, strict=True)])
    assert_close(jax.jit(jax.vmap(loss))(inputs, labels), looped)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("probabilities", [False, True])
def test_traced_label_smoothing_is_as_good_as_a_number(rng, smoothing, probabilities):
    """Also where a class that the target rules out has no finite loss."""
    x = jnp.asarray(rng.normal(size=(4, 3)))
    x = x if smoothing else x.at[:, 2].set(-jnp.inf)
    labels = jnp.array([0, 1, 1, -100])
    target = jnp.eye(3)[labels.clip(0)] if probabilities else labels

    def loss_and_gradient(smoothing):
        loss = lambda x: cross_entropy(x, target, label_smoothing=smoothing)
        return jax.value_and_grad(loss)(x)

    assert_trees_match(
        jax.jit(loss_and_gradient)(smoothing), loss_and_gradient(smoothing), **EXACT
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_label_smoothing_has_a_gradient(rng, smoothing):
    """The loss is linear in it, of labels and of probabilities."""
    x, labels = jnp.asarray(rng.normal(size=(4, 3))), jnp.array([0, 1, 1, 2])
    of = lambda target: lambda s: cross_entropy(x, target, label_smoothing=s)
    slopes = [
        jax.grad(of(target))(smoothing) for target in (labels, jnp.eye(3)[labels])
    ]
    expected = of(labels)(1.0) - of(labels)(0.0)
    np.testing.assert_allclose(slopes, 2 * [expected], **EXACT)


@pytest.mark.parametrize("smoothing", [-0.1, 1.5])
def test_label_smoothing_out_of_range(smoothing):
    with pytest.raises(ValueError, match=f"label_smoothing={smoothing} is not within"):
        cross_entropy(jnp.zeros((2, 3)), jnp.array([0, 1]), label_smoothing=smoothing)


@pytest.mark.parametrize("loss", ["huber_loss", "smooth_l1_loss"])
@pytest.mark.parametrize("width", [1.0, np.inf])
@pytest.mark.parametrize("error", [np.nan, np.inf, -0.5, 3.0])
def test_robust_losses_of_what_is_not_finite_equal_torch(loss, width, error):
    if np.isinf(width) and np.isinf(error):
        pytest.skip("PyTorch's own value is NaN there")
    name = {"huber_loss": "delta", "smooth_l1_loss": "beta"}[loss]
    x = torch.tensor([error], dtype=torch.float64, requires_grad=True)
    expected = getattr(F, loss)(x, torch.zeros(1, dtype=torch.float64), **{name: width})
    expected.backward()
    ours = {"huber_loss": huber_loss, "smooth_l1_loss": smooth_l1_loss}[loss]
    value, gradient = jax.value_and_grad(
        lambda x: ours(x, jnp.zeros(1), **{name: width})
    )(jnp.array([error]))
    np.testing.assert_array_equal(value, expected.item())
    np.testing.assert_array_equal(gradient, x.grad)


@pytest.mark.parametrize("weight", [None, 2.0])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_counts_many_labels(dtype, weight):
    """float16 ends at 65504, and 100,000 labels have losses of 1.4 each."""
    logits, labels = jnp.zeros((100_000, 4), dtype), jnp.zeros(100_000, jnp.int32)
    weight = None if weight is None else jnp.full(4, weight, dtype)
    loss, gradient = jax.value_and_grad(cross_entropy)(logits, labels, weight)
    assert loss.dtype == dtype
    assert loss == dtype(np.log(4))
    assert (gradient != 0).all()


def test_probabilities_have_no_index_to_ignore():
    """PyTorch refuses it, too."""
    x = random((3, 4), 0)
    with pytest.raises(ValueError, match="ignore_index=1 is for class indices"):
        cross_entropy(jnp.asarray(x), jnp.full((3, 4), 0.25), ignore_index=1)


def test_no_label_is_ignored_where_none_is_to_be(rng):
    logits, labels = jnp.asarray(rng.normal(size=(4, 3))), jnp.array([0, 2, 1, 1])
    settings = {"label_smoothing": 0.1, "weight": jnp.array([1.0, 2.0, 3.0])}
    found = cross_entropy(logits, labels, ignore_index=None, **settings)
    assert found == cross_entropy(logits, labels, **settings)
    with pytest.raises(ValueError, match=r"label -100 at \(1,\) lies outside of 0..2"):
        cross_entropy(logits, labels.at[1].set(-100), ignore_index=None)
    cross_entropy(logits, jax.nn.softmax(logits), ignore_index=None)
