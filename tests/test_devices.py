"""Devices by name, on a machine with and without GPUs."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from jaxdl.devices import find_device, try_all_gpus, try_gpu


def gpus():
    return [device for device in jax.local_devices() if device.platform == "gpu"]


def test_the_gpu_or_else_the_cpu():
    cpu = jax.local_devices(backend="cpu")[0]
    assert try_gpu() == (gpus() or [cpu])[0]
    assert try_gpu(1000) == cpu
    assert try_all_gpus() == (gpus() or [cpu])


def test_there_is_no_gpu_below_0():
    with pytest.raises(ValueError, match="i=-1 is below 0"):
        try_gpu(-1)


def test_arrays_and_parameters_go_where_they_are_put():
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
    device = try_gpu()
    moved = jax.device_put(params, device)
    assert {leaf.device for leaf in jax.tree.leaves(moved)} == {device}


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])
def test_finds_a_device(name):
    assert find_device(name) == jax.local_devices(backend="cpu")[0]


@pytest.mark.parametrize(
    "name", ["tpu:7", "cpu:1000", "gpu:1000", "cpu:", "cpu:-1", "cpu:0:0", "cuda", ""]
)
def test_an_absent_device_is_named_and_so_are_those_there(name):
    with pytest.raises(ValueError, match=f"no device '{name}'; there are .*cpu:0"):
        find_device(name)


def test_counts_devices_of_a_kind():
    """Four CPU devices, which JAX has to be told of before it starts."""
    code = """if True:
        import jax
        from jaxdl.devices import find_device, try_all_gpus, try_gpu
        assert find_device("cpu:3") == jax.devices()[3] != find_device("cpu")
        assert try_all_gpus() == [try_gpu(2)] == jax.devices()[:1]
        try:
            find_device("gpu")
        except ValueError as error:
            print(error)
    """
    flags = "--xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = "there is no device 'gpu'; there are cpu:0, cpu:1, cpu:2, cpu:3\n"
    assert done.stdout == said
