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


def test_lists_and_dictionaries_come_back(rng, tmp_path):
    tree = {
        "a": [rng.normal(size=3), {"b": np.arange(4, dtype=np.uint8)}],
        "c": np.float64(2.5),
    }
    checkpoint.save(tmp_path / "tree", tree, {"words": ["x", None], "n": 3})
    saved = checkpoint.load_any(tmp_path / "tree")
    assert_same_bits(saved.tree, tree)
    assert saved.note == {"words": ["x", None], "n": 3}


def test_what_is_there_is_replaced(pair, tmp_path):
    for number in range(3):
        new = pair._replace(b=pair.b + number)
        checkpoint.replace(tmp_path / "pair", new)
        assert_same_bits(checkpoint.load(tmp_path / "pair", pair), new)
    assert [path.name for path in tmp_path.iterdir()] == ["pair"]


def test_a_kill_between_the_old_and_the_new_loses_nothing(pair, tmp_path):
    checkpoint.save(tmp_path / "pair.old", pair)
    checkpoint.save(tmp_path / "pair.new", pair)
    with pytest.raises(ValueError, match="only numbers can be saved"):
        checkpoint.replace(tmp_path / "pair", {"w": "word"})
    assert_same_bits(checkpoint.load(tmp_path / "pair", pair), pair)


def test_numbers_of_python_come_back_as_arrays(tmp_path):
    tree = {"rate": 0.1, "steps": 3, "on": True, "w": jnp.ones(2)}
    checkpoint.save(tmp_path / "tree", tree)
    found = checkpoint.load(tmp_path / "tree", tree)
    assert_same_bits(found, jax.tree.map(jnp.asarray, tree))


def run_code(code, *arguments):
    """In a process of its own, since orbax leaves coroutines behind when it fails."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )


FLIP = """
import sys
from pathlib import Path
import numpy as np
from jaxdl import checkpoint
directory, wrong = Path(sys.argv[1]), []
tree = {"w": np.random.default_rng(0).normal(size=(40, 7)), "b": np.arange(3)}
checkpoint.save(directory, tree, {"epoch": 3})
like = {"w": np.zeros((40, 7)), "b": np.arange(3)}
files = [path for path in directory.rglob("*") if path.is_file()]
noticed = 0
for file in files:
    whole = file.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 7).astype(int) if whole else ():
        damaged = bytearray(whole)
        damaged[place] ^= 4
        file.write_bytes(damaged)
        try:
            found, note = checkpoint.load_any(directory)
            same = all((found[name] == tree[name]).all() for name in tree)
            if not (same and note == {"epoch": 3}):
                wrong.append((file.name, int(place)))
        except (ValueError, FileNotFoundError) as error:
            noticed += 1
        file.write_bytes(whole)
print(len(files), noticed, wrong)
"""


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path):
    done = run_code(FLIP, tmp_path / "flipped")
    files, noticed, wrong = done.stdout.split(maxsplit=2)
    assert (int(files) > 5, int(noticed) > 20, wrong.strip()) == (True, True, "[]")


DAMAGE = """
import sys, warnings
from pathlib import Path
import jax.numpy as jnp
from jaxdl.checkpoint import Checkpoints
directory = Path(sys.argv[1])
saves = Checkpoints(directory, keep=3)
for step in (1, 2, 3):
    saves.save(step, {"state": jnp.full(4, step), "log": jnp.ones(step)}, {"at": step})
saves.wait()
for step in map(int, sys.argv[2:]):
    for file in (directory / str(step) / "state" / "d").iterdir():
        file.write_bytes(file.read_bytes()[:20])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    saved = Checkpoints(directory).latest({"state": jnp.zeros(4, int)})
print(saved.tree["state"][0], saved.tree["log"].shape, saved.note)
print([str(w.message)[-60:] for w in caught if "tried" in str(w.message)])
"""


def test_the_checkpoint_before_a_damaged_one_is_used(tmp_path):
    done = run_code(DAMAGE, tmp_path, 2, 3)
    assert done.stdout.startswith("1 (1,) {'at': 1}\n"), done.stderr
    assert done.stdout.count("the one before it is tried") == 2


def test_all_checkpoints_damaged(tmp_path):
    done = run_code(DAMAGE, tmp_path, 1, 2, 3)
    assert "ValueError: no checkpoint can be read:" in done.stderr


def test_the_newest_are_kept(tmp_path):
    saves = checkpoint.Checkpoints(tmp_path / "saves", keep=2)
    assert saves.latest({}) is None
    for step in (3, 7, 12, 40):
        saves.save(step, {"w": np.full(2, step)}, {})
    saves.wait()
    assert saves.steps == [12, 40]
    np.testing.assert_array_equal(saves.latest({}).tree["w"], [40, 40])


def test_what_a_kill_left_behind_is_cleared_away(tmp_path):
    saves = checkpoint.Checkpoints(tmp_path)
    saves.save(1, {"w": np.ones(2)}, {})
    saves.wait()
    for name in ("2.orbax-checkpoint-tmp", "deleted-0", "notes"):
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.iterdir())
    saves = checkpoint.Checkpoints(tmp_path)
    assert saves.latest({}).note == {}
    assert sorted(tmp_path.iterdir()) == before  # another process may be writing them
    saves.clean()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "notes"]


def test_what_is_deleted_while_it_is_read_is_no_damage(tmp_path):
    """Another process saves newer ones meanwhile."""
    saves = checkpoint.Checkpoints(tmp_path, keep=1)
    saves.save(1, {"w": np.ones(2)}, {})
    saves.wait()

    def slowly(found):
        if saves.steps == [1]:
            saves.save(2, {"w": np.zeros(2)}, {})
            saves.wait()
        return found

    assert not checkpoint.Checkpoints(tmp_path).newest(slowly).tree["w"].any()


def test_a_folder_that_is_no_checkpoint(tmp_path):
    (tmp_path / "2026").mkdir()
    saves = checkpoint.Checkpoints(tmp_path)
    with (
        pytest.warns(UserWarning, match="2026 (holds no checkpoint|cannot be read)"),
        pytest.raises(ValueError, match="no checkpoint can be read"),
    ):
        saves.latest({})


FULL = """
import sys
import numpy as np
from jaxdl.checkpoint import Checkpoints
saves = Checkpoints(sys.argv[1])
saves.save(1, {"w": np.ones(2)}, {})
saves.wait()
try:
    saves.save(2, {"w": np.random.default_rng(0).normal(size=1_000_000)}, {})
    saves.wait()
except OSError as error:
    print(error)
print(saves.latest({}).tree["w"], saves.steps)
"""


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_the_checkpoint_before(small_disk):
    done = run_code(FULL, small_disk)
    assert "the checkpoint of step 2 cannot be written to" in done.stdout, done.stderr
    assert "step 1 is kept" in done.stdout
    assert done.stdout.endswith("[1. 1.] [1]\n")


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        ("a", r"\['b'\] has dtype <U1: only numbers can be saved"),
        (np.zeros((0, 3)), r"\['b'\] has shape \(0, 3\): there is nothing to save"),
    ],
)
def test_what_cannot_be_saved_is_named(tmp_path, leaf, message):
    with pytest.raises(ValueError, match=message):
        checkpoint.save(tmp_path / "c", {"a": np.ones(2), "b": leaf})
    assert not (tmp_path / "c").exists()


def test_two_arrays_of_one_path_are_not_saved(tmp_path):
    tree = {"a/b": np.ones(2), "a": {"b": np.zeros(3)}}
    with pytest.raises(ValueError, match="two parameters have the path 'a/b'"):
        checkpoint.save(tmp_path / "c", tree)
    with pytest.raises(ValueError, match=r"would be the file a\.b: a name holds"):
        checkpoint.save(tmp_path / "c", {"a": {"b": np.ones(2)}, "a.b": np.zeros(3)})
    assert not (tmp_path / "c").exists()


def test_a_tree_without_arrays_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="the tree holds no arrays: there is nothing"):
        checkpoint.save(tmp_path / "c", {"a": (), "b": None})


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_keys_come_back_as_keys(tmp_path, kind):
    keys = jax.random.split(jax.random.key(3, impl=kind), 4)
    tree = {"keys": keys, "x": jnp.ones(2)}
    checkpoint.save(tmp_path / "c", tree)
    for like in (tree, jax.eval_shape(lambda: tree)):
        loaded = checkpoint.load(tmp_path / "c", like)
        assert loaded["keys"].dtype == keys.dtype
        assert_same_bits(
            jax.random.normal(loaded["keys"][1]), jax.random.normal(keys[1])
        )
    numbers = checkpoint.load_any(tmp_path / "c").tree["keys"]
    np.testing.assert_array_equal(numbers, jax.random.key_data(keys))
    with pytest.raises(ValueError, match=r"keys: wanted uint32\[\d\], found uint32\[4"):
        checkpoint.load(tmp_path / "c", tree | {"keys": keys[0]})


def test_a_key_does_not_come_back_as_one_of_another_kind(tmp_path):
    """Keys of rbg and unsafe_rbg have the same numbers and draw others."""
    keys = {
        kind: {"key": jax.random.key(3, impl=kind)} for kind in ("rbg", "unsafe_rbg")
    }
    checkpoint.save(tmp_path / "c", keys["rbg"])
    message = r"key: wanted key<urbg>, found key<rbg>"
    with pytest.raises(ValueError, match=message):
        checkpoint.load(tmp_path / "c", keys["unsafe_rbg"])
    runs = checkpoint.Checkpoints(tmp_path / "runs")
    runs.save(1, {"state": keys["rbg"]}, {})
    runs.wait()
    with pytest.raises(ValueError, match=f"state/{message}"):
        runs.latest({"state": keys["unsafe_rbg"]})
    # What was saved as numbers may become any key.
    numbers = jax.tree.map(jax.random.key_data, keys["rbg"])
    checkpoint.save(tmp_path / "numbers", numbers)
    checkpoint.load(tmp_path / "numbers", keys["unsafe_rbg"])
