"""Views by their names, and the catalogue of them at the root of a mount that was asked for none."""
import os
import subprocess

import pytest
from mount_fixtures import binary

TAG = "global_step2"
ADVICE = "choose world-size-N in this directory"


def files_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_a_world_size_is_a_view_like_others(source, mounted):
    by_size = mounted(source, "--world-size=3")
    expected = files_of(by_size.path / TAG)
    assert len(expected) >= 4
    assert files_of(mounted(source, "--view=world-size-3").path / TAG) == expected
    assert files_of(mounted(source, "-o", "view=dp-size-3").path / TAG) == expected
    assert files_of(mounted(source).path / "world-size-3" / TAG) == expected


def test_the_catalogue_lists_views_and_finds_every_name(source, mounted):
    root = mounted(source).path
    assert "world-size-4" in os.listdir(root)
    assert len(list((root / "world-size-48" / TAG).glob("*optim_states.pt"))) == 48
    for absent in ("world-size-0", "weights-fp8", "nothing"):
        assert not (root / absent).exists()


@pytest.mark.parametrize("latest", ["latest", "latest_universal"])
def test_whoever_loads_from_the_root_is_told_what_to_choose(source, mounted, latest):
    root = mounted(source).path
    tag = (root / latest).read_text()
    assert tag == ADVICE
    for directory in (tag, "pytorch_model"):
        assert (root / directory).is_dir()
        names = os.listdir(root / directory)
        assert {"mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt"} <= set(names)
        for name in names:
            with pytest.raises(FileNotFoundError) as failure:
                (root / directory / name).open("rb")
            assert directory in str(failure.value)


def test_what_is_no_view_is_refused_before_mounting(source, tmp_path):
    for options, said in ((["--view=weight"], "no view 'weight'"), (["--view=weights", "--world-size=3"], "--view"),
                          (["--world-size=3", "--trainable-only"], "--trainable-only says nothing")):
        ended = subprocess.run([binary(), source, tmp_path / "mount", *options], capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert said in ended.stderr
