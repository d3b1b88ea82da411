"""How a job comes to what ckptfs shows: through a mount, or through ckptfs.deepspeed, which mounts nothing."""
import contextlib
import functools
import os
import pathlib
import shutil
import tempfile

import mounting
import package
import ranks


class Mounted:
    """A mount of the source: what is loaded, and what is compared, lies below its mount point."""

    def __init__(self, mount):
        self.load = self.files = mount.path


class Hooked:
    """The source itself, loaded by ranks that have enabled the hook; to be compared, its view is written out."""

    def __init__(self, source, directory, options):
        self.load = source
        self._directory, self._options = directory, options

    @functools.cached_property
    def files(self):
        import ckptfs

        with ckptfs.open(self.load, **self._options) as tree:
            for folder, _, names in tree.walk():
                (self._directory / folder).mkdir(exist_ok=True)
                for name in names:
                    path = os.path.join(folder, name)
                    with tree.open(path) as file, open(self._directory / path, "wb") as copy:
                        shutil.copyfileobj(file, copy, 1 << 20)
        return str(self._directory)


@contextlib.contextmanager
def through_mount(source, world_size, **options):
    """Yields what a mount of `source` at `world_size` shows. `options`: keywords of ckptfs.open()."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with mounting.mounted(source, world_size, *words) as mount:
        yield Mounted(mount)


@contextlib.contextmanager
def through_hook(source, world_size, **options):
    """The same without a mount. The options and the world size that the hook goes by are the engine's own."""
    with tempfile.TemporaryDirectory(prefix="ckptfs-view-") as directory, ranks.beginning_with(enable_hook):
        yield Hooked(source, pathlib.Path(directory), {"world_size": world_size, **options})


def enable_hook():
    """The one line of a training script, and the one import."""
    import ckptfs.deepspeed

    ckptfs.deepspeed.enable(through="process")


WAYS = {"mount": through_mount, "hook": through_hook}


def prepare(names):
    """Before the first cell of these ways. Returns what is missing for one of them, or None."""
    if "mount" in names and not os.path.exists("/dev/fuse"):
        return "/dev/fuse is missing"
    if "hook" in names:
        print(f"the hook is that of {package.make_importable()}", flush=True)
    return None
