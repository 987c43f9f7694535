"""Known differences between the frameworks, each as a fault to put into PyTorch.

Where PyTorch with the fault agrees with Flax, Flax has it.
"""

import copy
import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from jaxdl.parity.report import Cause
from jaxdl.parity.torch_side import is_a

# fault(module, sizes) changes the module and says how, or returns None if it cannot;
# `sizes` are those of the last map before it.
Faulty = Callable[..., str | None]


class Trap(NamedTuple):
    """A name, the classes of the modules it is found in, and why it is one."""

    name: str
    layers: tuple[str, ...]
    explanation: str
    faults: Sequence[Faulty]

    def applies_to(self, module: Any) -> bool:
        return is_a(module, *self.layers)


def _setting(attribute: str, value: Any) -> Faulty:
    """The attribute has another value; a function makes it of what it is."""

    def fault(module, sizes):
        old = getattr(module, attribute)
        new = value(old) if callable(value) and old is not None else value
        if new == old or callable(new):
            return None
        setattr(module, attribute, new)
        return f"{attribute} {new!r} in Flax, {old!r} in PyTorch"

    return fault


def _biased_variance(module: Any, sizes: tuple[int, ...]) -> str | None:
    if module.running_var is None or module.momentum is None:
        return None

    def before(module, inputs):
        module.variance_before = module.running_var.clone()

    def after(module, inputs, output):
        if module.training:
            n = inputs[0].numel() / inputs[0].shape[1]
            kept = (1 - module.momentum) * module.variance_before
            moved = (module.running_var - kept) * (n - 1) / n
            module.running_var = kept + moved  # the backward pass wants the old

    module.register_forward_pre_hook(before)
    module.register_forward_hook(after)
    return "divided by n in Flax, by n - 1 in PyTorch"


def _same_padding(module: Any, sizes: tuple[int, ...]) -> str | None:
    pad = import_module("torch").nn.functional.pad

    def per_axis(value, axes):
        return (value,) * axes if isinstance(value, int) else tuple(value)

    axes = next(n for n in (1, 2, 3) if is_a(module, f"Conv{n}d", f"MaxPool{n}d"))
    kernel = per_axis(module.kernel_size, axes)
    stride = per_axis(module.stride, axes)
    dilation = per_axis(module.dilation, axes)
    if max(stride) == 1 or isinstance(module.padding, str):
        return None
    fill = -math.inf if is_a(module, "_MaxPoolNd") else 0.0

    def before(module, inputs):
        x, *rest = inputs
        pads: list[int] = []
        geometry = zip(x.shape[-axes:], kernel, stride, dilation, strict=True)
        for size, k, s, d in geometry:
            total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
            pads = [total // 2, total - total // 2, *pads]
        return (pad(x, pads, value=fill), *rest)

    old, module.padding = module.padding, (0,) * axes
    module.register_forward_pre_hook(before)
    return f"padding 'SAME' in Flax, {old} in PyTorch"


def _flattened(module: Any, sizes: tuple[int, ...]) -> str | None:
    features = module.in_features
    if len(sizes) < 2 or features % sizes[0] or features == sizes[0]:
        return None
    channels = sizes[0]
    if math.prod(sizes) != features:  # pooled since, by a function
        sizes = (channels, features // channels)

    def before(module, inputs):
        x = inputs[0]
        rows = x.reshape(*x.shape[:-1], channels, -1)
        return (rows.transpose(-1, -2).reshape(x.shape), *inputs[1:])

    module.register_forward_pre_hook(before)
    return f"it reads a flattened map: {sizes}"


def _merged_bias(module: Any, sizes: tuple[int, ...]) -> str | None:
    if not module.bias:
        return None
    torch = import_module("torch")
    inner = copy.deepcopy(module)

    def merged(*args, **kwargs):
        parameters = dict(module.named_parameters())
        for name in [name for name in parameters if name.startswith("bias_hh")]:
            gates, candidate = parameters[name].tensor_split([2 * module.hidden_size])
            zero = torch.zeros_like
            outside = torch.cat([zero(gates), candidate])
            parameters[name] = torch.cat([gates, zero(candidate)])
            own = name.replace("hh", "ih")
            parameters[own] = parameters[own] + outside
        return torch.func.functional_call(inner, parameters, args, kwargs)

    module.forward = merged
    return "b_hn is outside of r · (...) in Flax, inside in PyTorch"


BATCH_NORM = ("_BatchNorm",)
STRIDED = tuple(f"{kind}{n}d" for kind in ("Conv", "MaxPool") for n in (1, 2, 3))
TRAPS = (
    Trap(
        "batch-norm momentum",
        BATCH_NORM,
        "PyTorch's momentum is the share of the new batch, Flax's decay that of the old"
        " statistics: decay = 1 - momentum, and the defaults are 0.1 and 0.99",
        [
            _setting("momentum", value)
            for value in (lambda m: 1 - m, 0.01, 0.1, 0.99, 0.9)
        ],
    ),
    Trap(
        "batch-norm eps",
        BATCH_NORM,
        "give both sides the same; PyTorch's default is 1e-5, timm and Keras differ",
        [_setting("eps", value) for value in (1e-5, 1e-3, 1e-6, 1e-4, 1e-12)],
    ),
    Trap(
        "biased running variance",
        BATCH_NORM,
        "PyTorch stores n/(n-1) times the variance that it divides by, flax.linen"
        " the variance itself: use jaxdl.layers.BatchNorm",
        [_biased_variance],
    ),
    Trap(
        "SAME padding at stride 2",
        STRIDED,
        "'SAME' pads less in front than behind: give the numbers, as padding=1",
        [_same_padding],
    ),
    Trap(
        "flatten order",
        ("Linear",),
        "PyTorch flattens channels first, Flax channels last: name the layer and the"
        " map's (channels, *sizes) in `flattened`",
        [_flattened],
    ),
    Trap(
        "merged GRU bias",
        ("GRU", "GRUCell"),
        "the candidate is tanh(W_in x + b_in + r · (W_hn h + b_hn)), with two biases:"
        " use jaxdl.layers.GRU",
        [_merged_bias],
    ),
    Trap(
        "tanh GELU",
        ("GELU",),
        "jax.nn.gelu approximates by tanh unless told approximate=False",
        [_setting("approximate", lambda old: "none" if old == "tanh" else "tanh")],
    ),
    Trap(
        "LayerNorm or GroupNorm eps",
        ("LayerNorm", "GroupNorm"),
        "PyTorch's default is 1e-5, flax.linen's 1e-6: give both sides the same",
        [_setting("eps", value) for value in (1e-6, 1e-5, 1e-12, 1e-3)],
    ),
    Trap(
        "count_include_pad",
        ("_AvgPoolNd",),
        "padding is counted in the mean by default, in PyTorch and in Flax",
        [_setting("count_include_pad", lambda old: not old)],
    ),
)


def _decay_everything(optimizer: Any, net: Any) -> str | None:
    decays = [group.get("weight_decay", 0) for group in optimizer.param_groups]
    if len(set(decays)) == 1:
        return None
    for group in optimizer.param_groups:
        group["weight_decay"] = max(decays)
    return "all decayed in Flax, not all in PyTorch"


def _without_decay(spares: Callable[[str, Any], bool]) -> Callable[..., str | None]:
    def fault(optimizer, net):
        names = {id(p): name for name, p in net.named_parameters()}
        if not any(group.get("weight_decay") for group in optimizer.param_groups):
            return None
        for group in list(optimizer.param_groups):
            parts: dict[bool, list[Any]] = {True: [], False: []}
            for p in group["params"]:
                parts[spares(names[id(p)], p)].append(p)
            group["params"] = parts[False]
            spared = {**group, "params": parts[True], "weight_decay": 0}
            optimizer.param_groups.append(spared)
        return "decayed in PyTorch, not in Flax"

    return fault


# Of the optimiser: fault(optimizer, net).
DECAY = Trap(
    "weight decay on biases",
    (),
    "torch.optim decays all that it is given, biases and norms too, and optax what its"
    " mask lets through: spare the same ones (jaxdl.optimizers.param_groups)",
    [
        _decay_everything,
        _without_decay(lambda name, p: name.endswith("bias")),
        _without_decay(lambda name, p: p.ndim < 2),
    ],
)

# What shows without a fault in PyTorch.
FLOAT32 = Cause(
    "computed in float32",
    "Flax",
    "the module has a dtype of its own, and limits are 1e-4 from here on; compare with"
    " dtype=None",
)
ONE_BIAS = Cause(
    "merged GRU bias",
    "weights",
    "PyTorch has two biases for each gate. One cannot stand for both in a GRU's"
    " candidate, and elsewhere learns at half the rate: use jaxdl.layers",
)
