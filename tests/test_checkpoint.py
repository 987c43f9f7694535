import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import checkpoint
from jaxdl.training import init_state
from tests.oracle import assert_same_bits


class Pair(NamedTuple):
    w: jax.Array
    b: jax.Array


@pytest.fixture
def pair(rng):
    return Pair(
        jnp.asarray(rng.normal(size=(3, 2)), jnp.float32), jnp.arange(2, dtype=jnp.int8)
    )


def test_a_train_state_comes_back_bit_for_bit(rng, tmp_path):
    params = {"a": [jnp.asarray(rng.normal(size=5), jnp.bfloat16)], "b": jnp.ones(2)}
    state = init_state(params, optax.adam(0.1))
    checkpoint.save(tmp_path / "state", state)
    assert_same_bits(checkpoint.load(tmp_path / "state", state), state)


def test_shapes_are_enough_to_load(pair, tmp_path):
    checkpoint.save(tmp_path / "pair", pair)
    assert_same_bits(
        checkpoint.load(tmp_path / "pair", jax.eval_shape(lambda: pair)), pair
    )


def test_relative_paths(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint.save("pair", pair)
    assert_same_bits(checkpoint.load("pair", pair), pair)


def test_nothing_is_overwritten(pair, tmp_path):
    checkpoint.save(tmp_path / "pair", pair)
    with pytest.raises(FileExistsError, match="pair exists already"):
        checkpoint.save(tmp_path / "pair", pair._replace(b=pair.b + 1))
    assert_same_bits(checkpoint.load(tmp_path / "pair", pair), pair)


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (
            {"w": np.zeros((3, 3), np.float32)},
            r"w: wanted float32\[3, 3\], found float32",
        ),
        ({"b": np.zeros(2, np.int32)}, r"b: wanted int32\[2\], found int8\[2\]"),
        ({"c": np.zeros(2)}, r"c: wanted float64\[2\], found nothing"),
    ],
    ids=["shape", "dtype", "name"],
)
def test_differences_are_listed(pair, tmp_path, like, message):
    checkpoint.save(tmp_path / "pair", pair)
    with pytest.raises(ValueError, match=message):
        checkpoint.load(tmp_path / "pair", pair._asdict() | like)


def test_float64_is_not_cut_in_silence(tmp_path):
    with jax.enable_x64(True):
        wide = {"w": jnp.ones(2, jnp.float64)}
        checkpoint.save(tmp_path / "wide", wide)
    with pytest.raises(ValueError, match=r"w: wanted float64\[2\], found float32"):
        checkpoint.load(tmp_path / "wide", {"w": np.zeros(2)})


def test_a_directory_that_cannot_be(pair, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        checkpoint.save(tmp_path / "file" / "pair", pair)


def test_a_damaged_file(pair, tmp_path):
    """In a process of its own, since orbax leaves coroutines behind when it fails."""
    checkpoint.save(tmp_path / "pair", pair)
    for file in (tmp_path / "pair" / "state" / "d").iterdir():
        file.write_bytes(file.read_bytes()[:10])
    code = (
        "import numpy as np; from jaxdl import checkpoint\n"
        f"checkpoint.load({str(tmp_path / 'pair')!r}, {{'w': np.zeros(2)}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ValueError: " in done.stderr
    assert "pair cannot be read: " in done.stderr


def test_no_checkpoint(pair, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        checkpoint.load(tmp_path / "absent", pair)
