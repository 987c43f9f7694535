"""Parameter groups, chosen by path."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from jaxdl.params import first_matches, paths


def param_groups(
    groups: Mapping[str, optax.GradientTransformation],
) -> optax.GradientTransformation:
    """Updates every parameter by the transformation of the first pattern it matches.

    Patterns are those of `jaxdl.params`; "*" as the last one takes the rest:

        param_groups({"features/*": frozen(), "*/bias*": sgd(0.1),
                      "*": sgd(0.1, weight_decay=1e-4)})

    Recurrent layers call their biases `bias_ih_l0` and the like, and their weights
    `weight_ih_l0`, where others have a `kernel`; embeddings have an `embedding`.

    Each transformation sees its own parameters only. So clipping that is chained before
    the groups counts every gradient, those of frozen parameters too. PyTorch, where
    frozen parameters have no gradients, does not count them:

        param_groups({"features/*": frozen(),
                      "*": optax.chain(clip_grad_norm(1.0), sgd(0.1))})

    and groups may hold groups, where several share the clipping.

    Raises:
      ValueError: from `init`: a parameter matches no pattern, or a pattern matches none
        that is not matched before it.

    >>> optimizer = param_groups({"bias": frozen(), "*": optax.sgd(0.5)})
    >>> ones = {"kernel": jnp.ones(2), "bias": jnp.ones(2)}
    >>> updates, state = optimizer.update(ones, optimizer.init(ones), ones)
    >>> optax.apply_updates(ones, updates)["kernel"]
    Array([0.5, 0.5], dtype=float32)
    """

    def labels(params):
        first = first_matches(params, groups)
        left = [path for path in paths(params) if path not in first]
        if left:
            raise ValueError(f"none of {list(groups)} matches {', '.join(left)}")
        return jax.tree.unflatten(jax.tree.structure(params), first.values())

    return optax.partition(groups, labels)


def frozen() -> optax.GradientTransformation:
    """Leaves parameters as they are, to the bit, and keeps no state for them.

    Under jit, what only their gradients would need is not computed either, as after
    PyTorch's `requires_grad_(False)`.

    >>> optimizer = frozen()
    >>> updates, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))
    >>> optax.apply_updates(jnp.array([1.5, 2.5]), updates)
    Array([1.5, 2.5], dtype=float32)
    """
    # -0 and not 0 is what addition leaves everything by: -0 + 0 is 0.
    return optax.stateless_with_tree_map(lambda g, _: jnp.full_like(g, -0.0))
