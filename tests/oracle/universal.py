"""DeepSpeed's own way to another world size, the universal checkpoint: the oracle's truth where it loses nothing."""
import argparse
import os
import shutil

import ranks
import trainer


def convert(source, target, log=None):
    """Writes the universal form of the latest tag of `source` into the new root `target`."""
    with open(os.path.join(source, "latest"), encoding="ascii") as latest:
        tag = latest.read().strip()
    os.makedirs(target)
    arguments = argparse.Namespace(input_folder=os.path.join(source, tag), output_folder=os.path.join(target, tag),
                                   num_extract_workers=1, num_merge_workers=1, keep_temp_folder=False, strict=True,
                                   inject_missing_state=True)

    def work():
        from deepspeed.checkpoint import ds_to_universal

        ds_to_universal.main(arguments)

    ranks.in_child(work, log=log)
    shutil.copy(os.path.join(source, "latest"), target)


def resume(recipe, source, world_size, scratch, **job):
    """Resumes `source` at `world_size` through its universal form. Returns where it was saved straight after the load."""
    convert(source, os.path.join(scratch, "universal"))
    saved = os.path.join(scratch, "saved")
    trainer.run(trainer.Job(recipe, world_size, load=os.path.join(scratch, "universal"), universal=True,
                            save_loaded=saved, **job))
    return saved


def not_carried(path):
    """What a universal load leaves as the new run made it: the config, the buffers."""
    return path[:1] == ("ds_config",) or path[:2] in (("module", "drifting"), ("module", "count"))


def listed_by_directory(path):
    """Where a universal load puts keys in the order of a directory listing: the states of one group."""
    inner = (("optimizer_state_dict", name, "state") for name in ("base_optimizer_state", "optimizer_state_dict"))
    return len(path) == 4 and path[:3] in inner
