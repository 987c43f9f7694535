import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tfds_dir() -> Path:
    """A directory in which tensorflow-datasets has prepared mnist and fashion_mnist."""
    candidates = [REPOSITORY.parent / "shared" / "data" / "tfds"]
    if os.environ.get("TFDS_DATA_DIR"):
        candidates.insert(0, Path(os.environ["TFDS_DATA_DIR"]))
    for directory in candidates:
        if all((directory / name).is_dir() for name in ("mnist", "fashion_mnist")):
            return directory
    pytest.skip(
        "mnist and fashion_mnist are not in TFDS_DATA_DIR or ../shared/data/tfds"
    )
