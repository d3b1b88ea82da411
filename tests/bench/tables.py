"""Looks at the tables that a benchmark wrote."""
import re

TINY = ["--layers=1", "--width=48", "--vocabulary=100", "--repetitions=1"]


def document(directory, name):
    """A document with an empty section of that name."""
    path = directory / "performance.md"
    path.write_text(f"before\n<!-- {name} -->\nold\n<!-- end of {name} -->\nafter\n", encoding="utf-8")
    return path


def section(path, name):
    """What was written there; nothing else of the document may have changed."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"before\n<!-- {name} -->\n") and text.endswith(f"\n<!-- end of {name} -->\nafter\n")
    found = text.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- end of {name}")[0]
    assert "old" not in found.splitlines()
    return found


def table(text, title):
    """{label: cells} of the table whose head begins with `title`; every row has as many cells as the head."""
    lines = text.splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith(f"| {title} | "))
    rows = {}
    for line in lines[start + 2:]:
        if not line.startswith("| "):
            break
        label, *cells = (cell.strip() for cell in line[1:-1].split(" | "))
        assert len(cells) + 1 == len(lines[start].split(" | ")) and label not in rows, line
        rows[label] = cells
    return rows


def ratio(cell):
    """The number before the brackets that hold both sides."""
    number, _, _ = re.fullmatch(r"([\d.]+) \(([\d.]+) of ([\d.]+) [GM]B/s\)", cell).groups()
    assert float(number) > 0
    return float(number)
