"""The sdist in dist/: what it holds is enough to build, install and use."""
import os
import sys
import tarfile

import compiler_cache
from conftest import ROOT
from test_installed import PROJECT_VERSION, SHARDS, run


def test_it_builds_and_what_it_builds_works(tmp_path):
    [archive] = (ROOT / "dist").glob("ckptfs-*.tar.gz")
    with tarfile.open(archive) as sdist:
        sdist.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    environment = {**os.environ, **compiler_cache.environment_of(source)}
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path / "built", "-C", "build-dir=build", ".", cwd=source, env=environment)
    run(sys.executable, "-m", "venv", tmp_path / "python")
    python = tmp_path / "python/bin/python"
    run(python, "-m", "pip", "install", "--no-index", *(tmp_path / "built").glob("*.whl"))
    assert run(tmp_path / "python/bin/ckptfs", "--version").stdout.split()[1] == PROJECT_VERSION
    listed = run(python, "-c", f"import ckptfs\nwith ckptfs.open({str(SHARDS)!r}, world_size=3) as tree:\n print(*tree.listdir('.'))", cwd="/").stdout
    assert "latest" in listed.split()
    shown = run(tmp_path / "python/bin/ckptfs", "run", SHARDS, "--world-size=3", "--", "sh", "-c", 'ls "$CKPTFS_VIEW"').stdout
    assert sorted(shown.split()) == sorted(listed.split())
