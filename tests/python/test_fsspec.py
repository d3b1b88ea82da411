"""Views through fsspec, and through what takes fsspec."""
import errno
import json
import os
import pickle

import ckptfs
import fsspec
import pytest
from ckptfs.fsspec import CkptfsFileSystem
from conftest import TAG

MODEL = f"{TAG}/mp_rank_00_model_states.pt"


@pytest.fixture
def fs():
    return fsspec.filesystem("ckptfs")


@pytest.fixture
def url(source):
    return f"ckptfs://{source}!/world-size-3"


def test_it_is_registered():
    assert fsspec.get_filesystem_class("ckptfs") is CkptfsFileSystem
    import importlib.metadata
    assert [entry.name for entry in importlib.metadata.entry_points(group="fsspec.specs") if "ckptfs" in entry.value]


def test_open(url, tree):
    with fsspec.open(f"{url}/{MODEL}") as file:
        assert file.read() == tree.read_bytes(MODEL)
    with fsspec.open(f"{url}/latest", "rt") as file:
        assert file.read() == TAG
    with fsspec.open(f"{url}/nested/deep er/f,i\\le", compression=None) as file:
        assert file.seek(0, 2) == 140000
    with fsspec.open_files(f"{url}/{TAG}/*model_states.pt")[0] as file:
        assert file.read() == tree.read_bytes(MODEL)


def test_names_and_infos(fs, url, tree):
    name = url.removeprefix("ckptfs://")
    assert sorted(fs.ls(url, detail=False)) == sorted(f"{name}/{entry}" for entry in tree.listdir())
    infos = {info["name"]: info for info in fs.ls(f"{url}/")}
    assert infos[f"{name}/{TAG}"]["type"] == "directory" and infos[f"{name}/latest"]["type"] == "file"
    assert infos[f"{name}/dangling"] | {"type": "other", "islink": True, "destination": "nowhere"} == infos[f"{name}/dangling"]
    assert infos[f"{name}/last.ckpt"]["type"] == "directory" and infos[f"{name}/last.ckpt"]["islink"]
    assert infos[f"{name}/latest"] == fs.info(f"{url}/latest")
    assert fs.ls(f"{url}/latest", detail=False) == [f"{name}/latest"]
    assert fs.size(f"{url}/{MODEL}") == tree.stat(MODEL).st_size
    assert fs.exists(f"{url}/latest") and not fs.exists(f"{url}/absent") and not fs.exists("ckptfs:///nowhere!/weights")
    assert fs.isdir(f"{url}/{TAG}") and fs.isfile(f"{url}/{MODEL}") and not fs.isfile(f"{url}/absent")
    assert fs.modified(f"{url}/{MODEL}").timestamp() == pytest.approx(tree.stat(MODEL).st_mtime)
    assert fs.created(f"{url}/{MODEL}").timestamp() == pytest.approx(tree.stat(MODEL).st_ctime)
    assert fs.ukey(f"{url}/{MODEL}") != fs.ukey(f"{url}/latest")
    assert fs.unstrip_protocol(name) == url
    with pytest.raises(FileNotFoundError):
        fs.ls(f"{url}/absent")
    with pytest.raises(FileNotFoundError):
        fs.info(f"{url}/absent")


def test_walking(fs, url, tree):
    name = url.removeprefix("ckptfs://")
    expected = {f"{name}/{os.path.join(top, file)}" for top, _, files in tree.walk() for file in files
                if tree.isfile(os.path.join(top, file))}
    assert {path for path in fs.find(url) if "last.ckpt/" not in path} - {f"{name}/dangling"} == expected
    assert fs.glob(f"{url}/*/mp_rank*") == [f"{name}/{MODEL}"]
    assert fs.glob(f"ckptfs://{name.rpartition('/')[0]}/world-size-3/lat*") == [f"{name}/latest"]
    assert fs.du(f"{url}/{TAG}") == sum(tree.stat(os.path.join(TAG, each)).st_size for each in tree.listdir(TAG))
    assert fs.exists(fs._parent(name)) and fs._parent(name).endswith("!")


def test_reading(fs, url, tree, tmp_path):
    content = tree.read_bytes(MODEL)
    assert fs.cat_file(f"{url}/{MODEL}") == fs.cat(f"{url}/{MODEL}") == content
    assert fs.cat_file(f"{url}/{MODEL}", start=3, end=50) == content[3:50]
    assert fs.cat_file(f"{url}/{MODEL}", start=-9, end=-2) == content[-9:-2]
    assert fs.cat_ranges([f"{url}/{MODEL}"] * 2, [0, 5], [4, 9]) == [content[:4], content[5:9]]
    assert fs.head(f"{url}/{MODEL}", 7) == content[:7] and fs.tail(f"{url}/{MODEL}", 7) == content[-7:]
    fs.get(f"{url}/{TAG}", str(tmp_path / "copy"), recursive=True)
    assert sorted(os.listdir(tmp_path / "copy")) == sorted(tree.listdir(TAG))
    assert (tmp_path / "copy" / "mp_rank_00_model_states.pt").read_bytes() == content
    mapper = fsspec.get_mapper(f"{url}/nested")
    assert mapper["deep er/f,i\\le"] == b"content" * 20000


def test_views_by_name_and_by_option(source, tree):
    fs = fsspec.filesystem("ckptfs")
    assert "world-size-2" in {path.rpartition("/")[2] for path in fs.ls(f"{source}!", detail=False)} | {"world-size-2"}
    assert fs.isfile(f"{source}!/weights/model.safetensors") and fs.isdir(f"{source}!/world-size-48/{TAG}")
    at_three = fsspec.filesystem("ckptfs", world_size=3)
    assert at_three.cat(f"{source}!/{MODEL}") == tree.read_bytes(MODEL)
    with fsspec.open(f"ckptfs://{source}!/{MODEL}", world_size=3, ds_config={}) as file:
        assert file.read() == tree.read_bytes(MODEL)
    with pytest.raises(TypeError, match="worldsize"):
        fsspec.filesystem("ckptfs", worldsize=3)


def test_names_of_sources(source, monkeypatch, fs):
    monkeypatch.chdir(source.parent)
    assert fs.cat("ckptfs://source!/weights/latest") == TAG.encode()
    os.rename(source, "wow!er")
    assert fs.cat(f"{source.parent}/wow!er!/weights/latest") == TAG.encode()
    with pytest.raises(ValueError, match="source is empty"):
        fs.info("ckptfs://!/weights")
    with pytest.raises(FileNotFoundError, match="names no view"):
        fs.info(f"ckptfs://{source.parent}/wow")


@pytest.mark.parametrize("change", [
    lambda fs, path: fs.open(path, "wb"), lambda fs, path: fs.open(path, "ab"), lambda fs, path: fs.pipe(path, b"x"),
    lambda fs, path: fs.rm(path), lambda fs, path: fs.rm_file(path), lambda fs, path: fs.mkdir(path + "/new"),
    lambda fs, path: fs.makedirs(path + "/new"), lambda fs, path: fs.touch(path), lambda fs, path: fs.mv(path, path + "2"),
    lambda fs, path: fs.cp_file(path, path + "2"), lambda fs, path: fs.put_file(__file__, path),
    lambda fs, path: fs.rmdir(path), lambda fs, path: fs.put(__file__, path)])
def test_nothing_can_be_changed(fs, url, change):
    with pytest.raises(ckptfs.Error, match="read-only") as raised:
        change(fs, f"{url}/latest")
    assert raised.value.errno == errno.EROFS and isinstance(raised.value, ValueError)


def test_other_processes_get_it(fs, url):
    copy = pickle.loads(pickle.dumps(fs))
    assert copy.cat(f"{url}/latest") == TAG.encode()
    assert pickle.loads(pickle.dumps(fsspec.open(f"{url}/latest"))).open().read() == TAG.encode()


def test_many_sources_stay_within_bounds(fs, source, monkeypatch):
    import ckptfs.fsspec as module
    monkeypatch.setattr(module, "_MAX_TREES", 2)
    for number in range(4):
        (source.parent / f"link{number}").symlink_to(source)
        assert fs.cat(f"{source.parent}/link{number}!/weights/latest") == TAG.encode()
    assert len(fs._trees) <= 2


@pytest.mark.parametrize("cache", ["simplecache", "filecache"])
def test_chained_with_a_cache(url, tree, tmp_path, cache):
    options = {cache: {"cache_storage": str(tmp_path / "cache")}}
    for _ in range(2):
        with fsspec.open(f"{cache}::{url}/{MODEL}", **options) as file:
            assert file.read() == tree.read_bytes(MODEL)
    assert os.listdir(tmp_path / "cache")


def test_chained_with_zip(url, tree):
    fs, _ = fsspec.core.url_to_fs(f"zip://::{url}/{MODEL}")
    assert any(name.endswith("data.pkl") for name in fs.find(""))


def test_pandas(source, url):
    pandas = pytest.importorskip("pandas")
    (source / "state.json").write_text(json.dumps([{"loss": 1.5}, {"loss": 0.5}]))
    assert list(pandas.read_json(f"{url}/state.json").loss) == [1.5, 0.5]


def test_safetensors_and_torch(source, url):
    import safetensors.torch
    import torch
    with fsspec.open(f"ckptfs://{source}!/weights-fp32/model.safetensors") as file:
        assert safetensors.torch.load(file.read())["embedding.weight"].dtype == torch.float32
    with fsspec.open(f"{url}/{MODEL}") as file:
        assert torch._C.PyTorchFileReader(file).has_record("data.pkl")


def test_torch_distributed_reads_what_is_beside_the_tags(source, url):
    """A distributed checkpoint of torch that lies beside the tags, through its reader for fsspec."""
    import torch
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint._fsspec_filesystem import FsspecReader
    checkpoint.save({"a": torch.arange(7)}, checkpoint_id=str(source / "dcp"), no_dist=True)
    loaded = {"a": torch.zeros(7, dtype=torch.int64)}
    checkpoint.load(loaded, storage_reader=FsspecReader(f"{url}/dcp"), no_dist=True)
    assert loaded["a"].tolist() == list(range(7))
