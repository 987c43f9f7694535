"""One network on one device, on many, and on many hosts: the same numbers.

The devices are virtual ones of the CPU, and the hosts are processes of this machine.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxdl.sharding import (
    gather,
    make_mesh,
    run_on,
    shard_batch,
    shard_state,
    shard_step,
    shardings,
    start_hosts,
)
from tests.oracle import assert_same_bits

ROOT = Path(__file__).parents[1]
HOST_TIMEOUT = 10


def start(file, devices, *options, **environment):
    """Starts the program in float64, with so many devices."""
    flags = (
        f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    )
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sharding_program", str(file), *options],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags, "JAX_ENABLE_X64": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(*processes):
    """Leaves none of them behind."""
    with ExitStack() as stack:
        for process in processes:
            stack.enter_context(process)
            stack.callback(process.kill)
        yield processes


def run_to_their_end(*processes):
    """Waits for programs to end well, and returns what the last one printed."""
    with running(*processes):
        for process in processes:
            said, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
    return said


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_two_hosts(file, *options):
    address = f"127.0.0.1:{free_port()}"
    return [
        start(file, 4, *options, "--hosts", address, "2", str(index))
        for index in range(2)
    ]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What all modes end with: 8 devices in one process, and 4 in each of two."""
    directory = tmp_path_factory.mktemp("sharding")
    single, hosts = directory / "single.npz", directory / "hosts.npz"
    run_to_their_end(
        start(single, 8), *start_two_hosts(hosts, "--modes", "data", "layer")
    )
    by_hosts = {f"hosts_{name}": array for name, array in np.load(hosts).items()}
    return dict(np.load(single)) | by_hosts


def of_mode(found, mode):
    return {
        name.removeprefix(f"{mode}:"): array
        for name, array in found.items()
        if name.startswith(f"{mode}:")
    }


@pytest.mark.parametrize(
    ("mode", "reference", "devices", "shard"),
    [
        ("data", "one", 8, (5, 8)),
        ("layer", "one", 8, (5, 4)),
        ("devices", "one", 2, (5, 8)),
        ("fit_split", "fit_one", 8, (5, 4)),
        ("hosts_data", "one", 8, (5, 8)),
        ("hosts_layer", "one", 8, (5, 4)),
    ],
)
def test_the_numbers_are_those_of_one_device(found, mode, reference, devices, shard):
    """Losses and the whole state: sums in another order differ by rounding only."""
    one, many = of_mode(found, reference), of_mode(found, mode)
    assert many.pop("devices") == devices
    assert tuple(many.pop("shard")) == shard
    assert len(one["losses"]) == (3 if mode == "fit_split" else 10)
    assert {"params/front/kernel", "model_state/var", "losses"} <= many.keys()
    for name, array in many.items():
        np.testing.assert_allclose(array, one[name], 1e-12, 1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("array", "shard"),
    [("state", (2, 3)), ("rows", (2, 2)), ("columns", (2, 3)), ("measured", (2, 2))],
)
def test_a_step_divides_what_nobody_has_placed(found, array, shard):
    assert tuple(found[f"unplaced:{array}"]) == shard


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("mesh", "a mesh of {'data': 3} does not take up the 8 devices"),
        ("negative", "a mesh of {'data': -2, 'model': -4} does not take up the 8"),
        ("rows", "x of shape (6, 2) does not split over 4 devices: its rows must be a"),
        ("scalar", "the batch of shape () does not split over 4 devices"),
        ("data", "the mesh has ('model',), and no axis 'data' for rows"),
        ("step", "the mesh has ('model',), and no axis 'data' for rows"),
        ("pattern", "'*bias' matches none of fc/kernel"),
        ("axis", "of fc/kernel: 'modell' is not among data, model"),
        ("axes", "fc/kernel of shape (6, 3) has fewer axes than P"),
        ("columns", "fc/kernel of shape (6, 3) does not split by P"),
        ("both", "6 is no multiple of 8"),
        ("place", "'*bias' matches none of fc/kernel"),
    ],
)
def test_mistakes_are_named(found, mistake, message):
    assert message in str(found[f"mistakes:{mistake}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:1", 2), "index missing: give all of coordinator, count, index"),
        ((None, 2), "coordinator, index missing: give all"),
        (("localhost:1", 2, 2), "index=2 is not below count=2"),
        (("localhost:1", 2, -1), "index=-1 is not below count=2"),
        (("localhost", 2, 0), "coordinator='localhost' is not address:port"),
    ],
)
def test_wrong_hosts_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        start_hosts(*arguments)


def test_hosts_start_before_jax():
    jax.devices()
    with pytest.raises(RuntimeError, match="must be called before"):
        start_hosts(f"127.0.0.1:{free_port()}", 1, 0)


def test_no_cluster_is_named():
    code = "from jaxdl.sharding import start_hosts; start_hosts()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "ValueError: no cluster is found" in done.stderr
    assert "give coordinator, count, index" in done.stderr


def test_one_device_is_a_mesh_too():
    mesh = make_mesh()
    assert dict(mesh.shape) == {"data": jax.device_count()}
    tree = {"x": jnp.arange(6.0).reshape(2, 3), "n": 1}
    for there in (
        shard_state(tree, mesh),
        shard_state(tree, mesh, {"n": PartitionSpec()}),
    ):
        jax.tree.map(np.testing.assert_array_equal, gather(there), tree)
    rows = 2 * jax.device_count()
    batch = shard_batch({"x": np.ones((rows, 3))}, mesh)
    assert batch["x"].sharding.spec == PartitionSpec("data")


def test_parameters_are_made_where_they_belong():
    mesh = make_mesh()

    def init(key):
        return {"kernel": jax.random.normal(key, (2, 8 * jax.device_count()))}

    key = jax.random.key(0)
    specs = {"kernel": PartitionSpec(None, "data")}
    out = shardings(jax.eval_shape(init, key), mesh, specs)
    params = jax.jit(init, out_shardings=out)(key)
    assert params["kernel"].sharding == out["kernel"]
    np.testing.assert_array_equal(params["kernel"], init(key)["kernel"])


def test_a_function_of_one_device_has_gradients():
    device = jax.devices()[-1]
    square = run_on(device, lambda w, x: (w * x) ** 2)
    value, gradient = jax.value_and_grad(square)(3.0, 2.0)
    assert (value, gradient) == (36.0, 24.0)
    assert value.devices() == {device}


def wait_for(path, processes):
    while not path.exists():
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("mode", ["data", "layer"])
def test_a_host_dies_and_the_run_goes_on_with_other_devices(tmp_path, victim, mode):
    saved, whole, resumed = (tmp_path / name for name in ("saved", "whole", "resumed"))
    modes = ("--modes", mode, "--checkpoints")
    hosts = start_two_hosts(whole, *modes, str(saved), "--timeout", str(HOST_TIMEOUT))
    with running(*hosts):
        wait_for(saved / "3", hosts)
        killed = time.monotonic()
        hosts[victim].kill()
        survivor = hosts[1 - victim]
        _, errors = survivor.communicate(timeout=120)
        seconds = time.monotonic() - killed
    assert survivor.returncode == -signal.SIGABRT
    assert "another task died" in errors
    assert seconds < HOST_TIMEOUT + 5

    devices = {"data": 2, "layer": 8}[mode]
    said = run_to_their_end(start(f"{resumed}.npz", devices, *modes, str(saved)))
    assert "from step 0\n" not in said
    run_to_their_end(start(f"{whole}.npz", 8, "--modes", "one"))
    ours, reference = np.load(f"{resumed}.npz"), np.load(f"{whole}.npz")
    done = len(ours[f"{mode}:losses"])
    assert 0 < done <= 7  # of 10
    for name in reference:
        array, there = ours[name.replace("one:", f"{mode}:")], reference[name]
        if name == "one:losses":
            there = there[-done:]
        if name not in ("one:devices", "one:shard"):
            np.testing.assert_allclose(array, there, 1e-12, 1e-12, err_msg=name)


@pytest.mark.slow
def test_slurm_tells_the_hosts(tmp_path):
    job = free_port() - (65535 - 2**12 + 1)  # of which JAX makes the port again
    processes = [
        start(
            tmp_path / "found.npz",
            4,
            *("--modes", "data", "--hosts"),
            SLURM_JOB_ID=str(job % 2**12),
            SLURM_STEP_NODELIST="localhost",
            SLURM_NTASKS="2",
            SLURM_PROCID=str(index),
            SLURM_LOCALID=str(index),
            SLURM_STEP_NUM_NODES="1",
        )
        for index in range(2)
    ]
    run_to_their_end(*processes)
    assert np.load(tmp_path / "found.npz")["data:devices"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_host_that_is_alone_gives_up(tmp_path, index):
    begun = time.monotonic()
    host = start(
        tmp_path / "found.npz",
        4,
        *("--modes", "data", "--timeout", "3"),
        *("--hosts", f"127.0.0.1:{free_port()}", "2", str(index)),
    )
    with running(host):
        _, errors = host.communicate(timeout=120)
    assert host.returncode == -signal.SIGABRT
    assert "DEADLINE_EXCEEDED" in errors
    assert time.monotonic() - begun < 30


def test_a_mesh_of_explicit_axes_is_named():
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    with pytest.raises(ValueError, match=r"types \(Explicit,\): shardings follow by"):
        shard_step(lambda state, batch, key: (state, {}), mesh)


def test_a_number_in_a_batch_is_whole_on_each_device():
    mesh = make_mesh({"data": 1})
    step = lambda state, batch, key: (state, {"sum": batch["w"] * batch["x"].sum()})
    batch = {"x": jnp.ones(3), "w": 2.0}
    _, metrics = jax.jit(shard_step(step, mesh))(jnp.zeros(()), batch, None)
    assert metrics["sum"] == 6


def test_keys_are_gathered_and_stay_keys():
    keys = jax.random.split(jax.random.key(0), 2)
    found = gather({"keys": keys, "x": jnp.ones(2)})
    assert isinstance(found["x"], np.ndarray)
    assert_same_bits(found["keys"], keys)
