"""Training as a fold: state, metrics = train_step(state, batch, key).

Each `make_*` takes functions and returns a function. Nothing here depends on a module
system: a model is whatever its loss function makes of `params` and `model_state`.

    loss_fn(params, model_state, batch, key) -> (loss, (model_state, metrics))
    eval_fn(params, model_state, batch) -> {name: one value per example}
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jaxdl.params import fits, paths
from jaxdl.shuffling import epoch_order

T = TypeVar("T")

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn

Metrics = dict[str, Array]
LossFn = Callable[
    [PyTree, PyTree, PyTree, PRNGKeyArray],
    tuple[Float[Array, ""], tuple[PyTree, Metrics]],
]
EvalFn = Callable[[PyTree, PyTree, PyTree], Metrics]
Driver = Literal["scan", "loop"]


class TrainState(NamedTuple):
    """Everything that training changes and nothing else: to save it is to save the run.

    `model_state` holds what the forward pass itself updates, such as batch statistics;
    it is `()` for models that have no such thing.
    """

    step: Int[Array, ""]
    params: PyTree
    model_state: PyTree
    opt_state: PyTree


# step(state, batch, key); an epoch has the same type, with all the data for a batch.
TrainStep = Callable[[TrainState, PyTree, PRNGKeyArray], tuple[TrainState, Metrics]]


# eval_step(state, batch, mask): sums over the examples that count.
EvalStep = Callable[[TrainState, PyTree, Bool[Array, " batch"]], Metrics]

# steps(state, data, batches, key): step i trains on the examples `data[batches[i]]`,
# for integers (steps, batch). Metrics gain a leading axis of steps.
Steps = Callable[
    [TrainState, PyTree, Array | np.ndarray, PRNGKeyArray], tuple[TrainState, Metrics]
]


def init_state(
    params: PyTree, optimizer: optax.GradientTransformation, model_state: PyTree = ()
) -> TrainState:
    """Returns the state before the first step."""
    return TrainState(jnp.int32(0), params, model_state, optimizer.init(params))


def make_train_step(
    loss_fn: LossFn, optimizer: optax.GradientTransformation
) -> TrainStep:
    """Returns one optimisation step, pure and uncompiled.

    Its key names the run, not the step: randomness is drawn from (key, state.step), so
    pass the same key every time, and a run resumed from a checkpoint repeats itself.
    Its metrics are those of `loss_fn` and the loss, before the update. An optimiser
    that takes extra arguments, such as `optax.contrib.reduce_on_plateau`, gets the loss
    as `value`; those that search along a line, such as `optax.lbfgs`, the gradient as
    `grad` and the batch's loss by parameters as `value_fn`.

    Raises:
      ValueError: `loss_fn` returns something else than (loss, (model_state, metrics)),
        a loss that is not one number, a model state of other entries or shapes than
        it was given, or another "loss" or what is no array among its metrics;
        parameters that are no floating-point numbers; or the state is another
        optimiser's.
    """
    loss_fn = _checked(loss_fn)
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
    optimizer = optax.with_extra_args_support(optimizer)

    def train_step(state, batch, key):
        _check_params(state.params)
        step_key = jax.random.fold_in(key, state.step)
        (loss, (model_state, metrics)), grads = value_and_grad(
            state.params, state.model_state, batch, step_key
        )
        model_state = _as_given(model_state, state.model_state)
        arguments = grads, state.opt_state, state.params
        extra = {
            "value": loss,
            "grad": grads,
            "value_fn": lambda params: loss_fn(
                params, state.model_state, batch, step_key
            )[0],
        }
        try:
            updates, opt_state = _update(optimizer, arguments, extra)
        except Exception as error:
            fresh = jax.eval_shape(optimizer.init, state.params)
            if jax.tree.structure(fresh) == jax.tree.structure(state.opt_state):  # type: ignore[operator]
                raise
            raise ValueError(
                "opt_state is not of the optimizer that the train step was made with:"
                f" that failed with {error}"
            ) from error
        params = optax.apply_updates(state.params, updates)
        state = TrainState(state.step + 1, params, model_state, opt_state)
        return state, metrics | {"loss": loss}

    return train_step


def _update(
    optimizer: optax.GradientTransformationExtraArgs, arguments: Any, extra: Any
) -> tuple[PyTree, PyTree]:
    try:
        return optimizer.update(*arguments, **extra)
    except TypeError as error:  # sam takes other extra arguments, and not these
        unknown = "unexpected keyword argument"
        if not any(f"{unknown} {name!r}" in str(error) for name in extra):
            raise
        return optimizer.update(*arguments)


def _check_params(params: PyTree) -> None:
    for path, leaf in jax.tree.leaves_with_path(params):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise ValueError(
                f"params hold {name or 'an array'}, of {jnp.result_type(leaf)}, which"
                ' has no gradient: give init_state variables["params"], and what else'
                " a model has as its model_state"
            )


def _checked(loss_fn: LossFn) -> LossFn:
    """Returns it with words for what `jax.value_and_grad` would stumble over."""

    def checked(params, model_state, batch, key):
        returned = loss_fn(params, model_state, batch, key)
        match returned:
            case (loss, (new_state, Mapping() as metrics)):
                if metrics.get("loss", loss) is not loss:
                    raise ValueError(
                        "the metrics of loss_fn hold a 'loss' that is not the one it"
                        " returns: give it another name"
                    )
                if shape := jnp.shape(loss):
                    raise ValueError(
                        f"loss_fn returned a loss of shape {shape}: expected one"
                        " number, such as the mean"
                    )
                _check_metrics("loss_fn", metrics)
                return loss, (new_state, dict(metrics))
        kind = jax.tree.map(lambda leaf: type(leaf).__name__, returned)
        raise ValueError(
            f"loss_fn returned {kind}; expected (loss, (model_state, metrics)), where"
            " model_state is () if the model has none, and metrics a dictionary"
        )

    return checked


def _check_metrics(function: str, metrics: Mapping[str, Any]) -> None:
    for name, value in metrics.items():
        if not isinstance(value, jax.Array | np.ndarray | np.generic | float | int):
            kind = type(value).__name__
            raise ValueError(
                f"{function} returned a {kind} as the metric {name!r}: expected an"
                " array, and more metrics under names of their own"
            )


def _as_given(found: PyTree, given: PyTree) -> PyTree:
    """Returns `found` in the containers and types of `given`.

    A dictionary may have been frozen, and a mean of float64 be kept in float32, as
    PyTorch's buffers are. A scan takes no state of another structure than it gives.
    """
    new_state, old_state = paths(found), paths(given)
    if list(new_state) != list(old_state):
        new, missing = (
            ", ".join(name for name in one if name not in other)
            for one, other in ((new_state, old_state), (old_state, new_state))
        )
        raise ValueError(
            "loss_fn has to return the model state with the entries that it was given;"
            f" missing: {missing or 'none'}; new: {new or 'none'}"
        )
    leaves = [_kept_as(old_state[name], leaf, name) for name, leaf in new_state.items()]
    return jax.tree.unflatten(jax.tree.structure(given), leaves)


def _kept_as(old: Any, new: Any, name: str) -> Any:
    types = dtype, found = jnp.result_type(old), jnp.result_type(new)
    if jnp.shape(old) != jnp.shape(new) or not fits(found, dtype):
        was, now = (
            f"{dtype}{list(jnp.shape(leaf))}"
            for leaf, dtype in zip((old, new), types, strict=True)
        )
        raise ValueError(
            f"loss_fn was given the model state's {name or 'array'} as {was}, and"
            f" returned it as {now}"
        )
    return new if dtype == found else jnp.asarray(new, dtype)


def make_eval_step(eval_fn: EvalFn) -> EvalStep:
    """Returns a pure step that sums each of `eval_fn`'s values over the masked batch.

    `eval_fn` gives every value with a leading axis of examples. Sums, not means:
    sums of batches of unequal size add up to an exact mean over all the examples.
    They are float32 at least, since half precision cannot count a data set.

    Raises:
      ValueError: `eval_fn` returns no dictionary, or a value that is no array with a
        leading axis of examples.
    """

    def eval_step(state, batch, mask):
        def masked_sum(values):
            if values.shape[:1] != mask.shape:
                raise ValueError(
                    f"eval_fn gives shape {values.shape} for {len(mask)} examples:"
                    " every value needs a leading axis of examples"
                )
            values = values.astype(jnp.promote_types(values.dtype, jnp.zeros(()).dtype))
            rows = mask.reshape(mask.shape + (1,) * (values.ndim - 1))
            return jnp.sum(jnp.where(rows, values, 0), axis=0)

        metrics = eval_fn(state.params, state.model_state, batch)
        if not isinstance(metrics, Mapping):
            kind = type(metrics).__name__
            raise ValueError(
                f"eval_fn returned a {kind}: expected values by their names"
            )
        _check_metrics("eval_fn", metrics)
        return {name: masked_sum(jnp.asarray(v)) for name, v in metrics.items()}

    return eval_step


def make_evaluation(
    eval_step: EvalStep, batch_size: int
) -> Callable[[TrainState, PyTree], Metrics]:
    """Returns `evaluate(state, data)`: means over the examples, each counted once.

    All batches have one shape. The last is filled up with copies of the last example,
    which the mask leaves out. So what a model makes of an example must not depend on
    the others, as it does where batch statistics are used in evaluation: there take a
    batch size that divides the data.
    """
    _check_positive(batch_size)
    eval_step = uncompiled(eval_step)

    def evaluate(state, data):
        n = num_examples(data)
        size = min(batch_size, n)
        steps = steps_per_epoch(n, size)
        positions = jnp.arange(steps * size).reshape(steps, size)

        def sums(rows):
            return eval_step(state, take(data, jnp.minimum(rows, n - 1)), rows < n)

        totals = jax.lax.map(sums, positions)
        return jax.tree.map(lambda total: total.sum(axis=0) / n, totals)

    return evaluate


def scan_steps(train_step: TrainStep) -> Steps:
    """Drives a step by `lax.scan`: one program for all the steps, pure, uncompiled."""
    train_step = uncompiled(train_step)

    def steps(state, data, batches, key):
        def body(state, rows):
            return train_step(state, take(data, rows), key)

        return jax.lax.scan(body, state, batches)

    return steps


def loop_steps(train_step: TrainStep) -> Steps:
    """Drives a step by a Python loop over one compiled program a step.

    It does not compose with `jit`, `vmap` or `scan`. The given state stays usable; the
    states in between are donated to the next step.
    """
    train_step = uncompiled(train_step)

    def step(state, data, batches, i, key):
        return train_step(state, take(data, batches[i]), key)

    compiled_step = compiled(step, donate_argnums=0)

    def steps(state, data, batches, key):
        # Once, not at every step.
        state, data, batches = jax.device_put((state, data, batches))
        state = jax.tree.map(jnp.copy, state)
        history = []
        for i in range(len(batches)):
            state, metrics = compiled_step(state, data, batches, i, key)
            history.append(metrics)
        return state, stack_metrics(history)

    return steps


def stack_metrics(history: Sequence[Metrics]) -> Metrics:
    """Returns the metrics of steps as arrays with a leading axis of steps."""
    return jax.tree.map(lambda *values: jnp.stack(values), *history)


def epoch_batches(
    key: PRNGKeyArray, epoch: int | Int[Array, ""], n: int, batch_size: int
) -> tuple[Int[Array, "steps batch"], Int[Array, " last"]]:
    """Returns epoch's order of `n` examples: rows of full batches, and what is left.

    The order is a function of (key, epoch) alone, so it needs no state of its own.
    """
    check_batch_size(batch_size, n)
    return cut_order(epoch_order(key, epoch, n), batch_size)


def cut_order(order: Any, batch_size: int) -> tuple[Any, Any]:
    """Cuts an array (n,), of JAX or NumPy, into (steps, batch) and what is left."""
    full = len(order) - len(order) % batch_size
    return order[:full].reshape(-1, batch_size), order[full:]


def make_epoch(
    train_step: TrainStep,
    batch_size: int,
    *,
    drop_last: bool = False,
    driver: Driver = "scan",
) -> TrainStep:
    """Returns a pass over data already in memory, in a fresh order, batch by batch.

    `data` is a pytree of arrays that share a leading axis of `n` examples. The last
    `n % batch_size` of the shuffled examples make one smaller step, or none with
    `drop_last`. Metrics gain a leading axis of steps. Which epoch it is, and so which
    order, follows from `state.step`, which has to be a whole number of epochs.

    With "scan" the epoch is pure and uncompiled; with "loop" it is a Python loop that
    compiles its step itself. Both give the same bits, except for convolutions, for
    which XLA picks other kernels inside a loop. `choose_driver` tells which is faster.

    Raises:
      ValueError: `batch_size` is below 1 or exceeds the examples given, or there is no
        such driver.
    """
    _check_positive(batch_size)
    if driver not in ("scan", "loop"):
        raise ValueError(f"driver={driver!r} is not 'scan' or 'loop'")
    steps = {"scan": scan_steps, "loop": loop_steps}[driver](train_step)

    def epoch(state, data, key):
        n = num_examples(data)
        check_batch_size(batch_size, n)
        order_key, step_key = jax.random.split(key)
        epoch_number = state.step // steps_per_epoch(n, batch_size, drop_last)
        full, last = epoch_batches(order_key, epoch_number, n, batch_size)

        state, metrics = steps(state, data, full, step_key)
        if len(last) and not drop_last:
            state, last_metrics = steps(state, data, last[None], step_key)
            check_shapes(metrics, last_metrics)
            metrics = jax.tree.map(
                lambda *values: jnp.concatenate(values), metrics, last_metrics
            )
        return state, metrics

    return epoch


def check_shapes(metrics: Mapping[str, Any], last: Mapping[str, Any]) -> None:
    """Raises ValueError for a metric of another shape in the last, smaller batch."""
    for name, values in metrics.items():
        shapes = np.shape(values)[1:], np.shape(last[name])[1:]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"metric {name!r} of loss_fn has shape {shapes[0]} for a full batch and"
                f" {shapes[1]} for the last: the metrics of training are means over the"
                " batch"
            )


def make_run(epoch: TrainStep, epochs: int) -> TrainStep:
    """Returns `epochs` epochs as one program: `lax.scan`, pure, uncompiled.

    `epoch` is one of `make_epoch`'s that scans. Metrics gain a leading axis of epochs.

    Raises:
      ValueError: `epochs` is below 1.
    """
    if epochs < 1:
        raise ValueError(f"epochs={epochs} is below 1")
    epoch = uncompiled(epoch)

    def run(state, data, key):
        return jax.lax.scan(
            lambda state, _: epoch(state, data, key), state, length=epochs
        )

    return run


def compute_in(
    dtype: Any, loss_fn: LossFn, inputs: Sequence[str] = ("image",)
) -> LossFn:
    """Returns a loss function that computes in `dtype`, such as bfloat16.

    Parameters are cast on the way in, and of the batch the floating `inputs`, the
    entries that the model is called with; so gradients, updates and stored parameters
    keep their own type. Targets keep theirs, since a loss next to 1,000 has no digits
    behind the point in bfloat16: a loss of outputs and targets is computed in the
    wider of their types, as under `torch.autocast`. Where there are integer labels
    instead, cast the logits to float32, as `classification` does. The loss and metrics
    come back as float32 at least, and `model_state` in the types that it had.

    Raises:
      ValueError: the batch is no mapping or has no entry of one of these names, or they
        are one string.
    """
    check_names("inputs", inputs)

    def cast(tree, dtype_of):
        return jax.tree.map(
            lambda x: (
                x.astype(dtype_of(x.dtype))
                if jnp.issubdtype(jnp.result_type(x), jnp.floating)
                else x
            ),
            tree,
        )

    def in_dtype(params, model_state, batch, key):
        if not isinstance(batch, Mapping):
            kind = type(batch).__name__
            raise ValueError(f"the batch is a {kind}: compute_in needs one with names")
        missing = [name for name in inputs if name not in batch]
        if missing:
            raise ValueError(
                f"the batch has no {missing[0]!r}, only {', '.join(map(repr, batch))}:"
                " name the entries that the model is called with, inputs=(...)"
            )
        given = {name: batch[name] for name in inputs}
        params, given = cast((params, given), lambda own: dtype)
        loss, (new_state, metrics) = loss_fn(params, model_state, batch | given, key)
        new_state = jax.tree.map(
            lambda new, old: jnp.asarray(new, jnp.result_type(old)),
            new_state,
            model_state,
        )
        wide = lambda own: jnp.promote_types(own, jnp.float32)
        loss, metrics = cast((loss, metrics), wide)
        return loss, (new_state, metrics)

    return in_dtype


def choose_driver(
    train_step: TrainStep, state: TrainState, batch: PyTree, key: PRNGKeyArray
) -> Driver:
    """Returns "scan" or "loop", whichever runs this step faster here.

    A scan spares one dispatch a step and is the rule. The exception: on CPU, XLA runs
    the convolutions of autodiff's own gradients 10 to 250 times slower inside a loop
    body, since their permuted dimension numbers are rewritten outside of loops only.
    They are looked for in the step's jaxpr, which tracing `batch`'s shapes gives.
    """
    if jax.default_backend() != "cpu":
        return "scan"
    jaxpr = compiled(train_step).trace(state, batch, key).jaxpr
    slow = any(map(_is_permuted_convolution, equations(jaxpr.jaxpr)))
    return "loop" if slow else "scan"


def compiled(function: Callable, **options: Any) -> jax.stages.Wrapped:
    """Compiles a step, an epoch or an evaluation: `jax.jit`, set for this device.

    On CPU it takes convolutions out of XLA's YNNPACK fusions, which slow them, leaves
    products and sums there, keeps `lax.optimization_barrier` while operations are
    fused, and spares a scan copies of its weights (docs/performance.md). JAX takes such
    settings at the outermost `jit` only and refuses them inside another: a program that
    has a `jit` of its own gives it the uncompiled function, and
    `compiler_options=compiler_options()`.
    """
    return jax.jit(uncompiled(function), compiler_options=compiler_options(), **options)


def uncompiled(function: Callable) -> Callable:
    """Returns what `compiled` or `jax.jit` was given, or a plain function as it is.

    Programs are made of it, so that steps may be given to them compiled or not.
    """
    inner: Any = function
    return inner.__wrapped__ if isinstance(function, jax.stages.Wrapped) else function


def made_of(function: Callable, make: Callable[..., T], *settings: Hashable) -> T:
    """Returns `make(function, *settings)`: the same object as before, if it was made.

    JAX compiles once for each function that it is given, so what is made of a step has
    to be one function too, or each call of `fit` would compile it again. It is kept as
    long as `function` is, if that is a plain one.
    """
    function = uncompiled(function)
    if not isinstance(function, FunctionType):  # objects may change
        return make(function, *settings)
    # By the function itself too: functools.wraps copies what another holds.
    made = vars(function).setdefault("__jaxdl_made__", {})
    name = function, make, settings
    if name not in made:
        made[name] = make(function, *settings)
    return made[name]


_CPU_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    ),
    # Where the second hoists a small loop, XLA cannot compile a barrier in it.
    "xla_disable_hlo_passes": "cse_barrier_expander,small-while-loop-hoisting",
    # Otherwise a scan copies the weights that its gradients read, at every step.
    "xla_cpu_copy_insertion_use_region_analysis": "True",
}


@cache
def compiler_options() -> dict[str, str]:
    """Returns the options that `compiled` gives to `jax.jit` on the default device.

    They are those of jaxdl's that this XLA knows.
    """
    if jax.default_backend() != "cpu":
        return {}

    def are_known(options):
        try:
            jax.jit(lambda: 0, compiler_options=options).lower().compile()
        except jax.errors.JaxRuntimeError:
            return False
        return True

    if are_known(_CPU_OPTIONS):
        return dict(_CPU_OPTIONS)
    return {k: v for k, v in _CPU_OPTIONS.items() if are_known({k: v})}


def take(data: PyTree, rows: Int[Array, "..."]) -> PyTree:
    """Returns the examples at `rows`; a row outside of the data is clamped into it."""
    return jax.tree.map(
        lambda x: jnp.asarray(x).at[rows].get(mode="clip", wrap_negative_indices=False),
        data,
    )


def num_examples(data: PyTree) -> int:
    """Returns the length of the leading axis that all arrays of `data` share.

    Raises:
      ValueError: it is another for some, 0, or a leaf has no axes.
    """
    lengths = {}
    for path, x in jax.tree.leaves_with_path(data):
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "data"
        if not np.ndim(x):
            is_number = hasattr(x, "dtype") or isinstance(x, int | float)
            kind = "single value" if is_number else type(x).__name__
            raise ValueError(f"{name} is a {kind}: expected an array of examples")
        lengths[name] = len(x)
    if len(set(lengths.values())) != 1:
        raise ValueError(f"data must share one number of examples, got {lengths}")
    n = next(iter(lengths.values()))
    if n == 0:
        raise ValueError("data holds no examples")
    return n


def check_names(argument: str, names: Sequence[str]) -> None:
    """Raises ValueError where one string stands for several."""
    if isinstance(names, str):
        raise ValueError(f"{argument}={names!r} is one string; give ({names!r},)")


@contextmanager
def noting(note: str) -> Iterator[None]:
    """Adds a note to a TypeError, as of functions called with other arguments."""
    try:
        yield
    except TypeError as error:
        error.add_note(note)
        raise


def check_named(held_out: Any, data: PyTree) -> None:
    """Raises ValueError where sets to measure on are one set like `data`, unnamed."""
    named = isinstance(held_out, Mapping)
    if not named or (isinstance(data, Mapping) and held_out.keys() == data.keys()):
        raise ValueError(
            "held_out is one set of examples: name it, as in {'validation': examples}"
        )


def check_arrays(examples: PyTree, caller: str, instead: str) -> None:
    """Raises ValueError unless all leaves are arrays of numbers that JAX can look at.

    The `caller` is named where one is traced, and what can be used `instead`.
    """
    for path, leaf in jax.tree.leaves_with_path(examples):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not isinstance(leaf, np.ndarray | jax.Array):
            kind = type(leaf).__name__
            raise ValueError(f"{name} is a {kind}: expected an array of NumPy or JAX")
        if isinstance(leaf, jax.core.Tracer):
            raise ValueError(
                f"{name} is traced: {caller} looks at its numbers, so it cannot be part"
                f" of a sweep or a compiled function; {instead} can"
            )
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "OSU":
            raise ValueError(f"{name} has dtype {leaf.dtype}: expected numbers")
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "iu" and leaf.size:
            limits = np.iinfo(dtype := jax.dtypes.canonicalize_dtype(leaf.dtype))
            if leaf.min() < limits.min or leaf.max() > limits.max:
                raise ValueError(
                    f"{name} holds integers from {leaf.min()} to {leaf.max()}, which"
                    f" JAX would cut to {dtype}: set jax_enable_x64, or leave them out"
                )


def steps_per_epoch(n: int, batch_size: int, drop_last: bool = False) -> int:
    """Returns how many batches `n` examples make."""
    return n // batch_size if drop_last else -(-n // batch_size)


def check_batch_size(batch_size: int, n: int) -> None:
    """Raises ValueError unless 1 <= batch_size <= n."""
    _check_positive(batch_size)
    if batch_size > n:
        raise ValueError(f"batch_size={batch_size} exceeds the {n} examples given")


def _check_positive(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} is below 1")


def _is_permuted_convolution(eqn: "JaxprEqn") -> bool:
    """Tells a convolution of other dimensions than (N, ..., C) by (..., I, O)."""
    if eqn.primitive.name != "conv_general_dilated":
        return False
    rank = len(eqn.outvars[0].aval.shape)  # type: ignore[attr-defined]
    spatial = tuple(range(1, rank - 1))
    channels_last = (0, rank - 1, *spatial)
    kernel_last = (rank - 1, rank - 2, *range(rank - 2))
    return tuple(eqn.params["dimension_numbers"]) != (
        channels_last,
        kernel_last,
        channels_last,
    )


def equations(jaxpr: "Jaxpr") -> "Iterator[JaxprEqn]":
    """Yields the equations of a jaxpr and of every jaxpr inside it."""
    # Not at the top: it loads Pallas, which costs more than the rest of this file.
    from jax.extend.core import jaxprs_in_params

    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from equations(inner)
