#!/usr/bin/env python3
"""The Hugging Face Trainer with DeepSpeed, begun and resumed at any number of GPUs by one command.

    ckptfs run --in-place ckpt --world-size=4 -- torchrun --nproc-per-node=4 train_transformers.py --output_dir=ckpt --max_steps=4
    ckptfs run --in-place ckpt --world-size=2 -- torchrun --nproc-per-node=2 train_transformers.py --output_dir=ckpt --max_steps=8

Nothing in it knows of ckptfs: the last checkpoint is found, save_total_limit deletes, and load_best_model_at_end would load, in output_dir.
"""
import argparse

helper = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
                                 usage="%(prog)s [-h] --output_dir=DIR --max_steps=N [OPTION ...]",
                                 epilog="Every OPTION is one of transformers.TrainingArguments, by its name there.")
helper.parse_known_args()  # --help takes neither a GPU nor what is imported below

import torch  # noqa: E402
from transformers import HfArgumentParser, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments  # noqa: E402
from transformers.trainer_utils import get_last_checkpoint  # noqa: E402

GLOBAL_BATCH = 24
DEEPSPEED = {"zero_optimization": {"stage": 2}, "bf16": {"enabled": "auto"}, "train_batch_size": "auto",
             "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto",
             "zero_allow_untested_optimizer": True}


class Sentences(torch.utils.data.Dataset):
    def __init__(self):
        self._ids = torch.randint(0, 61, (4 * GLOBAL_BATCH, 6), generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self._ids)

    def __getitem__(self, index):
        return {"input_ids": self._ids[index], "labels": self._ids[index]}


def main():
    parser = HfArgumentParser(TrainingArguments)
    parser.set_defaults(bf16=True, deepspeed=DEEPSPEED, save_steps=4, save_total_limit=2, report_to="none", disable_tqdm=True)
    [arguments] = parser.parse_args_into_dataclasses()
    arguments.per_device_train_batch_size = GLOBAL_BATCH // arguments.world_size
    model = LlamaForCausalLM(LlamaConfig(vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                                         num_attention_heads=2, num_key_value_heads=1, pad_token_id=0))
    trainer = Trainer(model=model, args=arguments, train_dataset=Sentences())
    trainer.train(resume_from_checkpoint=get_last_checkpoint(arguments.output_dir) is not None)
    if arguments.process_index == 0:
        print(f"at step {trainer.state.global_step} of {arguments.world_size} ranks")


if __name__ == "__main__":
    main()
