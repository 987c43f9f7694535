"""Names of operations: the scopes that JAX notes down, made unique and tidy."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax.extend.core import JaxprEqn

Scope = tuple[str, ...]

GRADIENTS = ("gradients",)


def scope_of(equation: "JaxprEqn") -> Scope:
    """Returns the scopes that an equation was traced in, relative to its jaxpr.

    They come from `jax.named_scope`, which Flax enters for every method of a module;
    private methods, the ways of a module within itself, are left out. The first is
    "gradients" where the equation transposes another's.
    """
    names: list[str] = []
    within, backward = "", False
    # JAX keeps scopes and transformations, such as jvp and vmap, in one stack.
    for entry in _without_repetition(equation.source_info.name_stack.stack):
        if _is_transform(entry):
            backward |= entry.name == "transpose"
            continue
        # Flax calls the method `encode` of the module `net` "net.encode".
        module, _, method = entry.name.rpartition(".")
        parts = entry.name.split("/")
        if module and (method.isidentifier() or method == "<lambda>"):
            parts = [] if within == module else [module]
            parts += [] if method.startswith("_") else [method]
            within = module
        else:
            within = parts[-1]
        names.extend(part for part in parts if part)
    return (*(GRADIENTS if backward else ()), *names)


def _without_repetition(stack: Sequence[Any]) -> list[Any]:
    """Drops what JAX writes twice where it transposes a derivative given by hand.

    There a stack begins once more from a transformation on: jvp, net, norm, jvp, net,
    norm.
    """
    kept: list[Any] = []
    for entry in stack:
        kept.append(entry)
        for size in range(1, len(kept) // 2 + 1):
            before, last = kept[-2 * size : -size], kept[-size:]
            if before == last and _is_transform(last[0]):
                del kept[-size:]
                break
    return kept


def _is_transform(entry: Any) -> bool:
    return type(entry).__name__ == "Transform"


def join_scopes(outer: Scope, inner: Scope) -> Scope:
    """Returns the scope of what lies in `inner` of a function called in `outer`."""
    bare = [s[1:] if s[:1] == GRADIENTS else s for s in (outer, inner)]
    backward = bare != [outer, inner]
    return (*(GRADIENTS if backward else ()), *bare[0], *bare[1])


class ScopeNames:
    """Gives each of several calls of one function in one scope a scope of its own."""

    def __init__(self) -> None:
        self._calls: Counter[Scope] = Counter()

    def inner(self, scope: Scope, name: str) -> Scope:
        """Returns the scope of one more call of `name` in `scope`."""
        inner = (*scope, clean(name))
        self._calls[inner] += 1
        return (*scope, clean(name) + suffix(self._calls[inner] - 1))


def unique_names(paths: Sequence[Scope]) -> list[str]:
    """Returns each path as a name, no two alike and none the scope of another."""
    cleaned = [tuple(map(clean, path)) for path in paths]
    taken = {"/".join(path[:k]) for path in cleaned for k in range(1, len(path))}
    tried: Counter[str] = Counter()
    names = []
    for path in cleaned:
        base = "/".join(path)
        while (name := base + suffix(tried[base])) in taken:
            tried[base] += 1
        taken.add(name)
        names.append(name)
    return names


def suffix(number: int) -> str:
    """Returns "", "_b", ..., "_z", "_ba", ...: letters, since digits make a series.

    TensorBoard folds five operations of one kind whose names differ by a number.
    """
    letters = ""
    while number:
        number, digit = divmod(number, 26)
        letters = chr(ord("a") + digit) + letters
    return f"_{letters}" if letters else ""


def clean(name: str) -> str:
    """Returns a name without the characters that separate names in a graph."""
    return re.sub(r"[^\w.\-]", "_", name, flags=re.ASCII) or "_"
