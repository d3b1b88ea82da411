"""The recipe of docs/recipes.md that uploads a view to a hub, as it is written there, against a hub of the test's own."""
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
from fake_hub import hub
from mounting import BINARY, ROOT, mounted

SAMPLE = ROOT / "mount_scripts" / "sample"
TEXT = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").split("## Upload to a hub")[1]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "ckptfs").symlink_to(BINARY)
    shutil.copytree(SAMPLE, tmp_path / "checkpoints")
    return tmp_path


def test_the_recipe_uploads_the_weights_and_nothing_else(place):
    [command] = re.findall(r"^ckptfs run .* hf upload .*$", TEXT, re.M)
    command = command.replace("hf upload", "hf upload --token hf_nobody")
    with hub() as there:
        done = subprocess.run(shlex.split(command), cwd=place, capture_output=True, text=True, timeout=300, check=False,
                              env={**os.environ, "PATH": f"{place}/tools:{os.environ['PATH']}", "HF_ENDPOINT": there.address, "HF_HUB_OFFLINE": "0",
                                   "HF_HUB_DISABLE_XET": "1", "HF_HOME": f"{place}/home", "HF_HUB_DISABLE_TELEMETRY": "1"})
        assert done.returncode == 0, done.stdout + done.stderr
    assert list(there.files) == ["model.safetensors"]
    with mounted(SAMPLE, None, "--view=weights") as view:
        assert there.files["model.safetensors"] == pathlib.Path(view, "model.safetensors").read_bytes()
    assert sorted(path.name for path in (place / "checkpoints").iterdir()) == sorted(os.listdir(SAMPLE))


def test_links_to_a_view_take_notes_beside_them(place):
    """What the folder of `upload-large-folder` is made with."""
    [making] = re.findall(r"cp -rs \S+ upload", TEXT)
    with mounted(SAMPLE, None, "--view=weights") as view:
        subprocess.run(["sh", "-e", "-c", making], cwd=place, env={**os.environ, "CKPTFS_VIEW": str(view)}, check=True)
        upload = place / "upload"
        (upload / ".cache" / "huggingface").mkdir(parents=True)
        assert (upload / "model.safetensors").read_bytes() == pathlib.Path(view, "model.safetensors").read_bytes()
        assert (upload / "latest").is_symlink() and (upload / "global_step3").is_dir() and not (upload / "global_step3").is_symlink()
