"""What PyTorch computes, layer by layer and step by step."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl.parity.problem import Problem, floats, squared_error
from jaxdl.parity.report import OUTPUT, Values

# change(module), or change(optimizer, its network).
Change = Callable[..., object]


class Fault(NamedTuple):
    """A change of a module, by its name, or with None of the optimiser."""

    module: str | None
    change: Change


class TorchSide(NamedTuple):
    """What one run gave.

    `calls` are the modules in the order in which they returned, `maps` the (channels,
    *sizes) of the last map before each.
    """

    values: Values
    calls: list[str]
    maps: dict[str, tuple[int, ...]]


def randomised_copy(module: Any, seed: int) -> Any:
    """Returns a float64 copy whose parameters and statistics are a little other.

    Initial zeros and ones hide what multiplies or adds them. Dropout is switched off:
    masks never match.

    Raises:
      ValueError: a recurrent layer has dropout between its layers.
    """
    rng = np.random.default_rng(seed)
    torch = import_module("torch")
    net = copy.deepcopy(module).cpu().double()
    for name, part in net.named_modules():
        if is_a(part, "_DropoutNd"):
            part.p = 0.0
        if is_a(part, "RNNBase") and part.dropout:
            raise ValueError(
                f"{name or 'the module'} has dropout={part.dropout}, and masks never"
                " match across frameworks: compare with 0 on both sides"
            )
    for name, tensor in net.state_dict().items():  # shares the memory
        if tensor.is_floating_point():
            noise = torch.from_numpy(rng.normal(size=tuple(tensor.shape)))
            tensor.mul_((0.1 * noise).exp())
            if not name.endswith("running_var"):
                tensor.add_(0.05 * torch.from_numpy(rng.normal(size=noise.shape)))
    return net


def untied_state_dict(net: Any) -> dict[str, Any]:
    """Returns the state dict with each tensor once, by the first of its names."""
    tensors: dict[int, tuple[str, Any]] = {}
    for name, tensor in net.state_dict(keep_vars=True).items():
        tensors.setdefault(id(tensor), (name, tensor.detach()))
    return dict(tensors.values())


def torch_side(
    module: Any, problem: Problem, steps: int, faults: Sequence[Fault] = ()
) -> TorchSide:
    """Runs a copy of `module` with the faults put in.

    Raises:
      RuntimeError: it cannot take the inputs.
    """
    torch = import_module("torch")
    net = copy.deepcopy(module)
    for name, change in faults:
        if name is not None:
            change(net.get_submodule(name))
    inputs = [torch.from_numpy(problem.for_torch(a)) for a in problem.inputs]
    inputs = [a.requires_grad_(a.is_floating_point()) for a in inputs]

    def run():  # on copies, which a module may change in place
        try:
            return net(*(a.clone() for a in inputs))
        except (TypeError, ValueError, IndexError) as error:
            raise RuntimeError(str(error)) from error

    side = TorchSide({}, [], {})
    with torch.no_grad(), _recorded(net.eval(), "evaluation", side):
        output = run()
    targets = problem.targets_like(floats(output))
    with _recorded(net.train(), "training", side):
        output = run()
    if targets is None:
        return side  # the outputs' row differs; no loss would make sense

    def loss_of(output):
        if problem.losses is not None:
            return problem.losses[0](output)
        return squared_error(output, list(map(torch.from_numpy, targets)))

    loss = loss_of(output)
    if loss.requires_grad:
        loss.backward()
    side.values["training", "loss"] = _array(loss)
    for i, array in enumerate(inputs):
        if array.requires_grad:
            side.values["input gradients", f"input {i}"] = _gradient(array)
    for name, parameter in _parameters(net).items():
        if parameter.requires_grad:
            side.values["gradients", name] = _gradient(parameter)
    side.values.update(_statistics(net, "statistics"))
    if not steps:
        return side
    optimizer = problem.make_torch_optimizer(net)
    for name, change in faults:
        if name is None:
            change(optimizer, net)
    for step in range(1, steps + 1):
        if step > 1:
            optimizer.zero_grad()
            loss = loss_of(run())
            loss.backward()
        side.values[f"step {step}", "loss"] = _array(loss)
        optimizer.step()
        side.values.update(_after_step(net, optimizer, f"step {step}"))
    return side


def is_a(module: Any, *names: str) -> bool:
    """Tells a module by its classes' names, which need no import of PyTorch."""
    return any(base.__name__ in names for base in type(module).__mro__)


@contextmanager
def _recorded(net: Any, stage: str, side: TorchSide) -> Iterator[None]:
    """Writes the outputs of all modules to `side` while they run."""
    counts: Counter[str] = Counter()
    last_map: tuple[int, ...] = ()

    def before(name, module, inputs):
        side.maps[name] = last_map

    def after(name, module, inputs, output):
        nonlocal last_map
        counts[name] += 1
        side.calls.append(name)
        output = _padded(output, getattr(module, "batch_first", False))
        for key, leaf in named_outputs(name, counts[name], output):
            side.values[stage, key] = _array(leaf)
            if leaf.ndim > 2:
                last_map = tuple(leaf.shape[1:])

    handles = []
    for name, module in net.named_modules():
        handles.append(module.register_forward_pre_hook(partial(before, name)))
        handles.append(module.register_forward_hook(partial(after, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _padded(output: Any, batch_first: bool) -> Any:
    """Pads the packed sequences among the outputs, as the twin has them."""

    def is_packed(part):
        return is_a(part, "PackedSequence")

    def pad(part):
        if not is_packed(part):
            return part
        rnn = import_module("torch.nn.utils.rnn")
        return rnn.pad_packed_sequence(part, batch_first)[0]

    return jax.tree.map(pad, output, is_leaf=is_packed)


def named_outputs(name: str, call: int, output: Any) -> Iterator[tuple[str, Any]]:
    """Yields the arrays of one call of a module, by a name for each."""
    leaves = [leaf for leaf in jax.tree.leaves(output) if hasattr(leaf, "dtype")]
    name = (name or OUTPUT) + (f" (call {call})" if call > 1 else "")
    for i, leaf in enumerate(leaves):
        yield (f"{name}[{i}]" if len(leaves) > 1 else name), leaf


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().clone().numpy()


def _gradient(tensor: Any) -> np.ndarray:
    """Zeros where none came back, as behind `detach` or `torch.no_grad`."""
    return np.zeros(tensor.shape) if tensor.grad is None else _array(tensor.grad)


def _parameters(net: Any) -> Mapping[str, Any]:
    return dict(net.named_parameters())


def _statistics(net: Any, stage: str) -> Values:
    return {
        (stage, name): _array(value)
        for name, value in net.named_buffers()
        if value.is_floating_point() and name in net.state_dict()
    }


def _after_step(net: Any, optimizer: Any, stage: str) -> Values:
    parameters = _parameters(net)
    slots = {
        (stage, f"{name} {slot}"): _array(value)
        for name, parameter in parameters.items()
        for slot, value in optimizer.state.get(parameter, {}).items()
        if getattr(value, "shape", None) == parameter.shape and slot != "step"
    }
    after = {(stage, name): _array(value) for name, value in parameters.items()}
    return {**_statistics(net, stage), **slots, **after}
