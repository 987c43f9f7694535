"""The log beside PyTorch's SummaryWriter, both as TensorBoard's own code reads them."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from jaxdl.tensorboard import EventLog


@pytest.fixture
def logs(tmp_path):
    """The opened log, and what reads both it and PyTorch's after the test's writing."""
    ours, theirs = EventLog(tmp_path / "ours"), SummaryWriter(tmp_path / "theirs")

    def read():
        ours.close()
        theirs.close()
        return [
            EventAccumulator(str(tmp_path / name)).Reload()
            for name in ("ours", "theirs")
        ]

    return ours, theirs, read


def test_numbers(logs, rng):
    ours, theirs, read = logs
    for step, value in enumerate(rng.normal(size=5)):
        ours.scalar("train/loss", value, step)
        theirs.add_scalar("train/loss", value, step)
    found, expected = (
        [(event.step, event.value) for event in run.Scalars("train/loss")]
        for run in read()
    )
    assert found == expected


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("whole", [True, False])
def test_pictures(logs, rng, channels, whole):
    ours, theirs, read = logs
    image = rng.random((5, 7, channels))
    image = (255 * image).astype(np.uint8) if whole else image
    ours.image("digits", image, 3)
    # PyTorch writes grey as RGB.
    theirs.add_image("digits", image.repeat(4 - channels, 2)[..., :3], 3, None, "HWC")
    events = [run.Images("digits")[0] for run in read()]
    found, expected = (pixels(event.encoded_image_string) for event in events)
    np.testing.assert_array_equal(found, expected)
    assert [(e.step, e.height, e.width) for e in events] == [(3, 5, 7)] * 2


def pixels(png):
    from io import BytesIO

    from PIL import Image

    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def test_histograms(logs, rng):
    ours, theirs, read = logs
    values = rng.normal(size=(40, 5))
    ours.histogram("weights", values, 2)
    theirs.add_histogram("weights", values, 2, bins=64)
    found, expected = (run.Histograms("weights")[0] for run in read())
    assert found.step == expected.step == 2
    for name in ("min", "max", "num", "sum", "sum_squares", "bucket_limit", "bucket"):
        ours_, theirs_ = (getattr(x.histogram_value, name) for x in (found, expected))
        np.testing.assert_allclose(ours_, theirs_, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # TensorBoard's
@pytest.mark.parametrize(
    "values", [[0.1, np.nextafter(0.1, 1)], [-1.7e308, 1.7e308]], ids=["narrow", "wide"]
)
def test_a_range_that_cannot_be_cut_is_one_bin(tmp_path, values):
    with EventLog(tmp_path) as log:
        log.histogram("weights", np.array(values), 0)
    (event,) = EventAccumulator(str(tmp_path)).Reload().Histograms("weights")
    assert event.histogram_value.bucket_limit == values
    assert event.histogram_value.bucket == [0, 2]


def test_words(logs):
    ours, theirs, read = logs
    ours.text("config", "**wörtlich**", 1)
    theirs.add_text("config", "**wörtlich**", 1)
    runs = read()
    events = [runs[0].Tensors("config")[0], runs[1].Tensors("config/text_summary")[0]]
    found, expected = (event.tensor_proto.string_val[0] for event in events)
    assert found == expected
    plugins = [
        run.SummaryMetadata(tag).plugin_data.plugin_name
        for run, tag in zip(runs, ("config", "config/text_summary"), strict=True)
    ]
    assert plugins == ["text", "text"]


def test_two_logs_of_a_moment_have_two_files(tmp_path):
    for step in range(3):
        log = EventLog(tmp_path, step)
        log.scalar("loss", 1.0, step)
        log.close()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_log_opened_again_replaces_the_steps_that_it_repeats(tmp_path):
    for first, values in ((0, [1.0, 2.0, 3.0]), (2, [5.0, 6.0])):
        log = EventLog(tmp_path, first)
        for step, value in enumerate(values, first):
            log.scalar("loss", value, step)
        log.close()
    run = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in run.Scalars("loss")] == [1, 2, 5, 6]


def test_it_imports_neither_pytorch_nor_tensorflow(tmp_path):
    code = f"""
import sys
import numpy as np
from jaxdl.tensorboard import EventLog
log = EventLog({str(tmp_path)!r})
log.scalar("a", 1.0, 0)
log.text("b", "c")
log.histogram("d", np.arange(4.0), 0)
log.image("e", np.zeros((2, 2, 3)), 0)
assert not {{"torch", "tensorflow"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.ones((4, 4)), r"image 'i' has shape \(4, 4\); expected"),
        (np.ones((3, 8, 8)), r"shape \(3, 8, 8\); expected \(height, width, 1 or 3\)"),
        (np.full((4, 4, 3), 128, np.int32), "int32 from 128 to 128, not from 0 to 1"),
        (np.full((4, 4, 1), np.nan), "float64 from nan to nan, not from 0 to 1"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, image, message, unchecked):
    with EventLog(tmp_path) as log, pytest.raises(ValueError, match=message):
        log.image("i", image, 0)


def test_histograms_leave_out_what_is_not_finite(tmp_path):
    with EventLog(tmp_path) as log:
        log.histogram("some", np.array([1.0, np.nan, 2.0, np.inf]), 0)
        log.histogram("none", np.array([np.nan]), 0)
    run = EventAccumulator(str(tmp_path)).Reload()
    assert run.Histograms("some")[0].histogram_value.num == 2
    assert run.Tags()["histograms"] == ["some"]


def test_arrays_of_jax_are_written_too(tmp_path):
    with EventLog(tmp_path) as log:
        log.scalar("loss", jnp.float32(1.5), 1)
        log.scalar("loss", np.array(2.5), 2)
        log.image("grey", jnp.ones((3, 4, 1)), 1)
        log.histogram("weights", jnp.arange(5.0), 1)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in events.Scalars("loss")] == [1.5, 2.5]
    assert events.Images("grey")[0].width == 4
    assert events.Tags()["histograms"] == ["weights"]
