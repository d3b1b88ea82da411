"""Where tests take the Python package from: the installed one, or, where there is none, the tree's, over the library that was built."""
import importlib.util
import os
import pathlib
import sys

import mounting


def make_importable():
    """From now on `import ckptfs` finds the package. Returns the directory that it is in."""
    found = importlib.util.find_spec("ckptfs")
    if found is None:
        directory = mounting.ROOT / "src" / "python"
        sys.path.insert(0, str(directory))
        os.environ.setdefault("CKPTFS_NATIVE", str(mounting.BINARY.parent))
        return directory
    return pathlib.Path(found.origin).parents[1]
