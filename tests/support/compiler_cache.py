"""What builds of the same sources in another directory need, to take from the compiler's cache what other tests have compiled."""
import os
import shutil
import subprocess


def environment_of(sources):
    """Variables for a build of the copy of the repository at `sources`; none where there is no ccache."""
    if not shutil.which("ccache"):
        return {}
    where = subprocess.run(["ccache", "--get-config", "cache_dir"], capture_output=True, text=True, check=True).stdout.strip()
    # By this name CMake finds the compiler, and by its name the cache knows it.
    return {"CXX": "c++", "CMAKE_CXX_COMPILER_LAUNCHER": "ccache", "CCACHE_BASEDIR": str(sources), "CCACHE_NOHASHDIR": "1", "CCACHE_DIR": where}
