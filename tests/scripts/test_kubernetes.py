"""docs/kubernetes/*.yaml: what they say is consistent, and their commands do what they are there for, without Kubernetes.

Each command of a container of ckptfs is run as it is written, but for the paths of volumes, which are directories of the test.
"""
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest
import yaml  # of transformers, which needs it too

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "support"))
from descriptors import MNT_DETACH, unmount  # noqa: E402
from users import require_root  # noqa: E402

EXAMPLES = sorted((REPOSITORY / "docs" / "kubernetes").glob("*.yaml"))
BINARY = pathlib.Path(os.environ.get("CKPTFS_BINARY", REPOSITORY / "build" / "ckptfs"))
PATIENCE_S = 60


def objects(name):
    return list(yaml.safe_load_all((REPOSITORY / "docs" / "kubernetes" / f"{name}.yaml").read_text(encoding="utf-8")))


def pod(thing):
    return thing["spec"]["template"]["spec"]


def containers(thing):
    return [*pod(thing).get("initContainers", []), *pod(thing)["containers"]]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_they_say_is_consistent(path):
    assert len(EXAMPLES) == 3
    for thing in objects(path.stem):
        assert (thing["apiVersion"], thing["kind"]) in {("batch/v1", "Job"), ("apps/v1", "DaemonSet")}
        assert thing["metadata"]["name"]
        volumes = {volume["name"] for volume in pod(thing)["volumes"]}
        used = set()
        for container in containers(thing):
            assert container["image"] in ("ckptfs", "training")
            is_privileged = container.get("securityContext", {}).get("privileged", False)
            for mount in container["volumeMounts"]:
                used.add(mount["name"])
                assert mount["mountPath"].startswith("/")
                if mount.get("mountPropagation") == "Bidirectional":
                    assert is_privileged, "Kubernetes refuses it otherwise"
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            for word in " ".join(container["command"]).replace("=", " ").split():
                assert not word.startswith("/") or any(word == at or word.startswith(f"{at}/") for at in paths), word
        assert used == volumes
    if path.stem == "export":
        assert "privileged" not in path.read_text().replace("Nothing is privileged", "")


class Place:
    """Directories for volumes, and containers as processes."""

    def __init__(self, path):
        self.path, self.processes = path, []
        (path / "tools").mkdir()
        (path / "tools" / "ckptfs").symlink_to(BINARY)
        shutil.copytree(REPOSITORY / "mount_scripts" / "sample", path / "checkpoint")
        for name in ("scratch", "views"):
            (path / name).mkdir()
            (path / name).chmod(0o777)

    def here(self, text):
        for volume in ("/checkpoint", "/scratch", "/views", "/run/ckptfs"):
            text = text.replace(f" {volume}", f" {self.path}{volume}")
        return text

    def popen(self, words, user, **more):
        words = [self.here(f" {word}")[1:] for word in words]
        identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **identity,
                                env={"PATH": f"{self.path}/tools:/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY / "src" / "python")}, **more)

    def start(self, container, user=None):
        self.processes.append(self.popen(container["command"], user))
        return self.processes[-1]

    def run(self, words, user=None):
        process = self.popen(words, user)
        output, _ = process.communicate(timeout=PATIENCE_S)
        return process.returncode, output

    def wait_for_probe(self, container, user=None):
        words = container["startupProbe"]["exec"]["command"]
        for _ in range(container["startupProbe"]["failureThreshold"]):
            if self.run(words, user)[0] == 0:
                return
            subprocess.run(["sleep", "0.1"], check=True)
        raise AssertionError(f"{words} never succeeded")

    def mounts(self):
        points = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
        return [point for point in points if point.startswith(f"{self.path}/")]

    def end(self):
        for process in reversed(self.processes):
            process.terminate()
            output, _ = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, output
        self.processes = []


@pytest.fixture
def place():
    require_root()
    with tempfile.TemporaryDirectory(prefix="ckptfs-kubernetes-") as directory:
        os.chmod(directory, 0o755)
        made = Place(pathlib.Path(directory))
        try:
            yield made
            made.end()
            assert made.mounts() == []
        finally:
            for process in made.processes:
                process.kill()
            for point in made.mounts():
                with contextlib.suppress(OSError):
                    unmount(point, MNT_DETACH)


SHARDS = "ls {} | grep -c optim_states"


def test_the_export(place):
    [job] = objects("export")
    [export] = pod(job)["initContainers"]
    user = pod(job)["securityContext"]["runAsUser"]
    for _ in range(2):  # one that is started again has nothing to do
        code, output = place.run(export["command"], user)
        assert code == 0, output
    assert place.run(["sh", "-c", SHARDS.format("/scratch/view/global_step3")], user) == (0, "16\n")
    assert os.listdir(place.path / "scratch") == ["view"]


def test_the_side_car(place):
    [job] = objects("sidecar")
    [sidecar] = pod(job)["initContainers"]
    place.start(sidecar)
    place.wait_for_probe(sidecar)
    assert place.run(["sh", "-c", SHARDS.format("/views/run/global_step3")], user=1000) == (0, "16\n")


def test_the_descriptor(place):
    daemon_set, job = objects("descriptor")
    [mounter] = pod(daemon_set)["containers"]
    [sidecar] = pod(job)["initContainers"]
    user = pod(job)["securityContext"]["runAsUser"]
    (place.path / "run").mkdir()
    privileged = place.start(mounter)
    while not (place.path / "run" / "ckptfs" / "mounter.sock").exists() and privileged.poll() is None:
        subprocess.run(["sleep", "0.1"], check=True)
    place.start(sidecar, user)
    place.wait_for_probe(sidecar, user)
    view = sidecar["startupProbe"]["exec"]["command"][-1]
    assert place.run(["sh", "-c", SHARDS.format(f"{view}/global_step3")], user) == (0, "16\n")
    assert place.run(["sh", "-c", SHARDS.format(f"{view}/global_step3")], user + 1)[0] != 0
