"""The documentation's site builds without a warning."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_site_builds_strictly(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "api" / "training" / "index.html").read_text()
    assert "make_train_step" in page
    assert "one optimisation step" in page


def test_every_public_module_has_its_reference():
    """Strict building sees that every page is in the navigation."""
    pages = "".join(p.read_text() for p in (ROOT / "docs" / "api").glob("*.md"))
    for path in sorted((ROOT / "jaxdl").glob("*.py")):
        if not path.stem.startswith("_") and path.stem != "progress":
            assert f"::: jaxdl.{path.stem}\n" in pages, path.stem
    for path in sorted((ROOT / "jaxdl" / "models").glob("[!_]*.py")):
        if path.stem not in ("inputs", "images"):
            assert f"::: jaxdl.models.{path.stem}\n" in pages, path.stem
