"""The manual pages: clean for groff and for mandoc, and as they are shown they name every option that --help names."""
import os
import pathlib
import re
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("CKPTFS_BINARY", REPOSITORY / "build" / "ckptfs"))
PAGES = {"ckptfs": "CKPTFS(1)", "mount.ckptfs": "MOUNT.CKPTFS(8)"}


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(params=PAGES)
def page(request, tmp_path):
    path = tmp_path / request.param
    path.write_text(run(BINARY, "help", f"--manual={request.param}"), encoding="ascii")
    return path


def shown(path):
    return run("mandoc", "-T", "utf8", "-O", "width=1000", path).replace("\b", "\0")


def plain(text):
    return re.sub(r".\0", "", text)  # what is bold is printed twice


def test_groff_has_nothing_to_say(page):
    assert run("groff", "-ww", "-man", "-Tutf8", "-z", page) == ""


def test_mandoc_has_nothing_to_say(page):
    assert run("mandoc", "-T", "lint", "-W", "warning", page) == ""


def test_mandoc_complains_where_there_is_something_to_say(tmp_path):
    """Else its silence would say nothing."""
    wrong = tmp_path / "page"
    wrong.write_text('.TH X 1 "" ""\n.SH NAME\n.BOGUS\n', encoding="ascii")
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", wrong], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "BOGUS" in done.stdout + done.stderr


def test_man_shows_it(page):
    text = run("man", "-l", page, env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "100", "LC_ALL": "C"})
    assert PAGES[page.name] in text


def commands():
    listed = re.findall(r"^  ckptfs ([a-z]+)", run(BINARY, "--help"), re.MULTILINE)
    assert {"run", "inspect", "verify", "check", "ls", "export", "help"} <= set(listed)
    return sorted(set(listed) | {"cat"})


def test_it_says_what_help_says(tmp_path):
    """By the texts that a user sees, apart from the data that both are made of."""
    path = tmp_path / "page"
    path.write_text(run(BINARY, "help", "--manual=ckptfs"), encoding="ascii")
    sections = re.split(r"^   (?=ckptfs [a-z]+$)", plain(shown(path)), flags=re.MULTILINE)
    assert [section.split("\n")[0].split()[1] for section in sections[1:]] == sections_in_order()
    for command in ["", *commands()]:
        help_text = run(BINARY, *[command] * bool(command), "--help")
        section = sections[0] if not command else next(one for one in sections if one.startswith(f"ckptfs {command}\n"))
        options = re.findall(r"^  (?:-\w,)?(--[a-z-]+|-[a-z]) ", help_text, re.MULTILINE)
        assert "--help" in options
        for option in options:
            assert re.search(rf"^ +(-\w, )?{option}\b", section, re.MULTILINE), f"{command} {option}"


def sections_in_order():
    return re.findall(r"^\.SS ckptfs ([a-z]+)$", run(BINARY, "help", "--manual=ckptfs"), re.MULTILINE)


def test_every_command_has_a_section():
    assert set(sections_in_order()) == set(commands())


def test_exit_statuses_are_those_of_the_reference():
    reference = (REPOSITORY / "docs" / "cli.md").read_text(encoding="utf-8").split("## Exit status")[1]
    rows = [(status, re.sub(r" \(\[.*?\]\(.*?\)\)", "", text)) for status, text in re.findall(r"^\| (\d+) \| (.*) \|$", reference, re.MULTILINE)]
    page = run(BINARY, "help", "--manual=ckptfs")
    for plain_text, escaped in (("\\-", "-"), ("\\(ga", "`"), ("\\(aq", "'")):
        page = page.replace(plain_text, escaped)
    assert len(rows) == 9
    for status, text in rows:
        assert f".TP\n.B {status}\n{text}\n" in page


def test_its_date_is_the_one_that_is_asked_for():
    page = run(BINARY, "help", "--manual=ckptfs", env={**os.environ, "SOURCE_DATE_EPOCH": "86400"})
    assert re.search(r"^\.TH CKPTFS 1 1970-01-02 ", page, re.MULTILINE)
    done = subprocess.run([BINARY, "help", "--manual=ckptfs"], env={**os.environ, "SOURCE_DATE_EPOCH": "x"}, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 2 and "SOURCE_DATE_EPOCH is 'x'" in done.stderr
