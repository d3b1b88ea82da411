"""docs/troubleshooting.md against the sources: every message of commands and mounts has a row, every row a message; every exit status, errno and refusal too."""
import pathlib
import re

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SOURCES = REPOSITORY / "src"
# What is said of the bytes of checkpoints has a few wordings, which have rows; its details are in the message alone.
OF_CHECKPOINTS = {"pt", "zero", "view", "report", "model", "safetensors", "verify", "torch", "extent", "c"}
BEGINS = re.compile(r"\bError\(\s*ErrorCode::(?P<code>\w+)|\bError\s+\w+\(ErrorCode::(?P<named>\w+)|return \{ErrorCode::(?P<listed>\w+)"
                    r"|\b(?P<helper>usage_error|refused)\(|\blog::(?P<level>info|warn|error)\(")


def literals(text, begin):
    """The string literals of the call that `begin` lies in, each piece that is not literal as "…"."""
    depth, out, at = 1, "", begin
    while depth > 0:
        letter = text[at]
        if letter == '"':
            end = at + 1
            while text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            out += text[at + 1:end]
            at = end
        elif letter in "({":
            depth += 1
        elif letter in ")}":
            depth -= 1
        elif letter == "+" and not out.endswith("…"):
            out += "…"
        at += 1
    return out.replace('\\"', '"').replace("\\\\", "\\")


def messages():
    """(file, kind, text) of everything that is said; what only passes on another message has no text."""
    found = []
    for path in sorted(SOURCES.rglob("*.cpp")):
        text = path.read_text(encoding="utf-8")
        for match in BEGINS.finditer(text):
            kind = next(value for value in match.groups() if value)
            said = literals(text, match.end())
            if len(re.findall(r"[a-z]", said)) >= 10:
                found.append((path.relative_to(SOURCES), kind, said))
    return found


def fragments(section=PAGE):
    """What stands in backquotes in the first column of the tables of messages, each a list of pieces around "…"."""
    found = []
    for line in section.splitlines():
        if line.startswith("| `"):
            cell = re.split(r"(?<!\\) \| ", line)[0]
            found += re.findall(r"`([^`]+)`", cell)
    return found


def fits(fragment, message):
    at = 0
    for piece in fragment.split("…"):
        at = message.find(piece.strip(), at)
        if at < 0:
            return False
        at += len(piece.strip())
    return True


def test_messages_are_found():
    found = messages()
    assert len(found) > 250
    assert any(kind == "usage_error" for _, kind, _ in found) and any(kind == "warn" for _, kind, _ in found)


def test_every_message_of_commands_and_mounts_has_a_row():
    known = fragments() + re.findall(r"`([^`]+)`", PAGE.split("### 70: a bug")[1].split("##")[0])
    assert all(len(re.findall("[A-Za-z]", fragment)) >= 3 for fragment in fragments()), "a row that fits everything says nothing"
    missing = [f"{path}: {kind}: {text}" for path, kind, text in messages()
               if path.parts[0] not in OF_CHECKPOINTS and kind != "internal" and not any(fits(fragment, text) for fragment in known)]
    assert missing == []


def test_every_row_has_a_message():
    everything = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES.rglob("*.cpp"))
    joined = re.sub(r'"\s*\n\s*"', "", everything).replace("\\\\", "\\")
    dead = [fragment for fragment in fragments() if not all(piece.strip() in joined for piece in fragment.split("…"))]
    assert dead == []


def test_every_exit_status_has_its_section():
    header = (SOURCES / "cli" / "exit_code.h").read_text(encoding="utf-8")
    statuses = re.findall(r"^    \w+ = (\d+),", header, re.MULTILINE)
    assert len(statuses) == 9
    for status in statuses:
        assert re.search(rf"^\| {status} \|", PAGE, re.MULTILINE)
        assert status == "0" or re.search(rf"^### {status}: ", PAGE, re.MULTILINE)


def test_every_errno_that_a_mount_answers_with_is_explained():
    said = set()
    for layer in ("fs", "fuse", "io"):
        for path in (SOURCES / layer).glob("*.cpp"):
            said |= set(re.findall(r"\bE[A-Z]{2,}\b", path.read_text(encoding="utf-8")))
    # Of calls that are made again, or answered with another.
    said -= {"EINTR", "EAGAIN", "ECONNABORTED", "ESHUTDOWN", "EWOULDBLOCK", "END", "EOF"}
    assert {"EIO", "ESTALE", "EROFS", "ENOTCONN"} <= said
    assert {name for name in said if not re.search(rf"\b{name}\b", PAGE.split("## It trained")[0])} == set()


def test_every_refusal_is_named():
    table = (REPOSITORY / "docs" / "support.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| ([^|]+) \| [^|]+ \|", table, re.MULTILINE)[2:]
    assert len(names) >= 8
    for name in names:
        assert name in PAGE


@pytest.mark.parametrize("words", ["It trained from scratch", "What a reader sees when a save happens"])
def test_sections_that_readers_come_for(words):
    assert f"## {words}\n" in PAGE
