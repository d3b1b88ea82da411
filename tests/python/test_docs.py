"""The blocks of docs/python.md marked `python` are one session, run where the text says.

A block whose first line is `# takes: PACKAGE` is run where that package is installed.
"""
import importlib.util
import pathlib
import re

import pytest
from conftest import ROOT

TEXT = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def blocks():
    return [(TEXT.count("\n", 0, found.start()) + 2, found[1]) for found in re.finditer(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)]


def test_the_session_runs(sample, monkeypatch, capsys):
    monkeypatch.chdir(sample.parent)
    names = {}
    assert len(blocks()) > 8
    for line, block in blocks():
        needed = re.match(r"# takes: (\w+)\n", block)
        if needed and importlib.util.find_spec(needed[1]) is None:
            continue
        exec(compile("\n" * (line - 1) + block, "docs/python.md", "exec"), names)  # noqa: S102
    assert (sample.parent / "exported" / "latest").read_text() == "global_step3"


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)", TEXT))))
def test_links_lead_somewhere(link):
    assert pathlib.Path(ROOT / "docs" / link).exists()
