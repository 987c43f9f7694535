"""The two READMEs say the same."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = (
    (ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md")
)


@pytest.mark.parametrize("kind", ["bash", "python"])
def test_they_have_the_same_code(kind):
    blocks = [re.findall(rf"```{kind}\n.*?```", t, re.S) for t in (ENGLISH, CHINESE)]
    assert blocks[0] == blocks[1]


def test_they_have_the_same_results():
    tables = [re.findall("<!-- results -->.*<!-- end -->", t, re.S)
              for t in (ENGLISH, CHINESE)]  # fmt: skip
    assert tables[0] == tables[1]
    assert len(tables[0]) == 1


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_links_lead_somewhere(text):
    for target in re.findall(r"\]\(([^)#:]+)[)#]", text):
        assert (ROOT / target).exists(), target
