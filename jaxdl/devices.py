"""Devices by name, and the CPU where there is no GPU."""

import jax


def try_gpu(i: int = 0) -> jax.Device:
    """Returns this host's GPU number `i` if there is one, else its CPU.

    Raises:
      ValueError: `i` is below 0, or JAX_PLATFORMS hides the CPU that is to be returned.

    >>> x = jax.device_put(jax.numpy.ones(3), try_gpu())
    """
    if i < 0:
        raise ValueError(f"i={i} is below 0")
    gpus = _devices("gpu")
    return gpus[i] if i < len(gpus) else find_device("cpu")


def try_all_gpus() -> list[jax.Device]:
    """Returns all GPUs of this host, or its CPU alone where there are none."""
    return _devices("gpu") or [find_device("cpu")]


def find_device(name: str) -> jax.Device:
    """Returns the device of a name such as "cpu", "gpu", "gpu:1" or "tpu:0".

    The number counts this host's devices of the kind, and is 0 where it is missing.
    `with jax.default_device(find_device("gpu:1")):` computes there.

    Raises:
      ValueError: there is no such device; the message lists those there are.

    >>> find_device("cpu").platform
    'cpu'
    """
    kind, colon, _ = name.partition(":")
    numbered = name if colon else f"{kind}:0"
    there = {
        f"{kind}:{i}": device
        for kind in ("cpu", "gpu", "tpu")
        for i, device in enumerate(_devices(kind))
    }
    if numbered not in there:
        raise ValueError(f"there is no device {name!r}; there are {', '.join(there)}")
    return there[numbered]


def _devices(kind: str) -> list[jax.Device]:
    try:
        return jax.local_devices(backend=kind)
    except RuntimeError:  # JAX's answer where it has no such backend
        return []
