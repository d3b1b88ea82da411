"""Completion, in the shells themselves: bash's compgen of a command line, and what zsh shows on a terminal after a Tab."""
import os
import pathlib
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import time

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("CKPTFS_BINARY", REPOSITORY / "build" / "ckptfs"))


def script(shell):
    return subprocess.run([BINARY, "help", f"--completion={shell}"], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def place(tmp_path):
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "config.json").touch()
    (tmp_path / "complete.bash").write_text(script("bash"), encoding="ascii")
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "_ckptfs").write_text(script("zsh"), encoding="ascii")
    return tmp_path


def completed(place, *words, breaks=" \t\n\"'><=;|&(:"):
    """What bash offers for the last of `words`, which it has broken as it breaks command lines."""
    listed = " ".join(shlex.quote(word) for word in words)
    text = f"""
        COMP_WORDBREAKS={shlex.quote(breaks)}
        source complete.bash
        COMP_WORDS=({listed})
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _ckptfs ckptfs
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """
    done = subprocess.run(["bash", "--norc", "-u", "-c", text], cwd=place, capture_output=True, text=True, check=False)
    assert done.stderr == "" and done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1] if done.stdout != "\n" else []


def test_bash_completes_commands_and_directories(place):
    assert completed(place, "ckptfs", "insp") == ["inspect"]
    assert set(completed(place, "ckptfs", "c")) >= {"ckpt", "cat", "check"}
    assert completed(place, "ckptfs", "inspect", "c") == ["ckpt"]
    assert completed(place, "ckptfs", "help", "ver") == ["verify"]


def test_bash_completes_options_of_the_command(place):
    assert completed(place, "ckptfs", "inspect", "--js") == ["--json"]
    assert completed(place, "ckptfs", "ckpt", "--js") == []
    assert completed(place, "ckptfs", "--wor") == ["--world-size="]
    assert "--in-place" in completed(place, "ckptfs", "run", "ckpt", "--")


def commands_of_help():
    """Those that `ckptfs --help` names."""
    text = subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=True).stdout
    [block] = re.findall(r"^Other commands:\n((?:  .*\n)+)", text, re.MULTILINE)
    return set(re.findall(r"\bckptfs ([a-z]+) ", block))


def test_bash_completes_every_command_of_help(place):
    assert commands_of_help() > {"run", "diff", "list", "status", "umount", "help"}
    assert set(completed(place, "ckptfs", "help", "")) == commands_of_help()


def test_bash_completes_every_option_of_every_help(place):
    for command in ("", *sorted(commands_of_help())):
        words = [command] * bool(command)
        text = subprocess.run([BINARY, *words, "--help"], capture_output=True, text=True, check=True).stdout
        options = re.findall(r"^  (?:-\w,)?(--[a-z-]+) ", text, re.MULTILINE)
        offered = [word.rstrip("=") for word in completed(place, "ckptfs", *words, "--")]
        assert len(options) >= 2 and set(options) == set(offered), command


def test_bash_completes_values(place):
    assert completed(place, "ckptfs", "ckpt", "--view", "=", "li") == ["lightning"]
    assert completed(place, "ckptfs", "ckpt", "--view", "lig") == ["lightning"]
    assert completed(place, "ckptfs", "ckpt", "--io", "=") == ["auto", "cached", "direct"]
    assert completed(place, "ckptfs", "ckpt", "--dtype", "=", "b") == ["bf16"]
    for words in (["ckpt"], ["run", "ckpt"], ["status", "ckpt"]):
        assert completed(place, "ckptfs", *words, "--log-level", "=", "") == ["debug", "info", "warning", "error"]
    assert completed(place, "ckptfs", "ckpt", "--ds-config", "=", "con") == ["config.json"]
    assert completed(place, "ckptfs", "ckpt", "--view=li", breaks=" \t\n") == ["--view=lightning"]
    assert completed(place, "ckptfs", "ckpt", "--world-size", "=", "") == []


def test_bash_completes_lists_of_mount_options(place):
    assert completed(place, "ckptfs", "ckpt", "ckpt", "-o", "world") == ["world-size="]
    assert completed(place, "ckptfs", "ckpt", "ckpt", "-o", "world-size=3,allow-o", breaks=" \t\n") == ["world-size=3,allow-other"]


def test_bash_completes_the_command_of_run(place):
    assert "torchrun-of-this-test" not in completed(place, "ckptfs", "run", "ckpt", "--", "tru")
    assert "true" in completed(place, "ckptfs", "run", "ckpt", "--", "tru")


def test_the_script_is_one_that_shells_read(place):
    subprocess.run(["bash", "-n", place / "complete.bash"], check=True)
    require_zsh()
    subprocess.run(["zsh", "-n", place / "functions" / "_ckptfs"], check=True)


def require_zsh():
    if not shutil.which("zsh"):
        assert os.environ.get("CI") != "true", "zsh is not there: mount_scripts/install_dependencies.sh --tests"
        pytest.skip("zsh is not there")


class Zsh:
    """A zsh on a terminal of its own."""

    def __init__(self, place):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(place)
            os.environ.update(PATH=f"{place}:{os.environ['PATH']}", ZDOTDIR=str(place), TERM="dumb", PS1="")
            os.execvp("zsh", ["zsh", "-f", "-i"])
        # Between two lines the terminal is the system's for a moment, which then would take ^U for its own.
        self.type("stty kill undef; PS1=; fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D; LISTMAX=0; unsetopt beep; "
                  "show() { zle -I; print -r -- \"<$BUFFER>\" }; zle -N show; bindkey '^Xs' show; print re''ady\n", "ready")

    def type(self, keys, expected):
        """All that is shown until `expected` is, an expression."""
        os.write(self.terminal, keys.encode())
        text, end = "", time.monotonic() + 60
        while not re.search(expected, text):
            if not select.select([self.terminal], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"{keys!r}: no {expected!r} in {text!r}")
            text += os.read(self.terminal, 4096).decode(errors="replace")
        return text

    def line_after(self, keys):
        """The command line that comes of `keys` on an empty one."""
        return re.search("<(.*)>", self.type(f"\x15{keys}\x18s", "<.*>"))[1]

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


@pytest.fixture
def zsh(place):
    require_zsh()
    (place / "ckptfs").symlink_to(BINARY)
    shell = Zsh(place)
    yield shell
    shell.close()


def test_zsh_completes_commands_options_and_values(zsh):
    assert zsh.line_after("ckptfs insp\t") == "ckptfs inspect "
    assert zsh.line_after("ckptfs inspect ck\t") == "ckptfs inspect ckpt/"
    assert zsh.line_after("ckptfs inspect ckpt --js\t") == "ckptfs inspect ckpt --json "
    assert zsh.line_after("ckptfs ckpt --vie\t") == "ckptfs ckpt --view="
    assert zsh.line_after("ckptfs ckpt --view=li\t") == "ckptfs ckpt --view=lightning "
    assert zsh.line_after("ckptfs inspect --ds-config=con\t") == "ckptfs inspect --ds-config=config.json "
    assert zsh.line_after("ckptfs help ver\t") == "ckptfs help verify "
    assert zsh.line_after("ckptfs status ckpt --log-level=d\t") == "ckptfs status ckpt --log-level=debug "
    assert zsh.line_after("ckptfs inspect --in-pl\t") == "ckptfs inspect --in-pl", "an option of run alone"
    assert zsh.line_after("ckptfs run ckpt --in-pl\t") == "ckptfs run ckpt --in-place "
    assert zsh.line_after("ckptfs run ckpt -- readli\t") == "ckptfs run ckpt -- readlink "
    assert zsh.line_after("ckptfs run ckpt -- cat ck\t").startswith("ckptfs run ckpt -- cat ckpt")


def test_zsh_lists_options_with_what_they_do(zsh):
    text = zsh.type("ckptfs ls ckpt --\t\t", "as paths")
    assert "--recursive" in text
