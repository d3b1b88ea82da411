"""A training script for the Hugging Face Trainer with DeepSpeed: the runs of test_transformers.py.

It knows nothing of ckptfs, and needs no stand-in. A step has the same samples at every world size that divides them.
"""
from dataclasses import dataclass
import warnings

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import launch

GLOBAL_BATCH = 24
SAMPLES = 2 * GLOBAL_BATCH  # two steps an epoch
VOCABULARY, SEQUENCE = 61, 5


@dataclass(frozen=True)
class Job:
    """One run of the script: up to `last_step`, saved every two steps."""

    world_size: int
    stage: int
    output_dir: str
    last_step: int
    resume: object = None  # resume_from_checkpoint; True: of what is in output_dir, if anything is
    save_loaded: str = None  # where DeepSpeed saves straight after the load
    dtype: str = "bf16"
    keep: int = None  # save_total_limit
    best: str = ""  # "keep": evaluate before each save, and hold the first for the best; "load": load it at the end
    save_best: str = None  # where DeepSpeed saves at the end, when the best is loaded


@dataclass(frozen=True)
class Report:
    """What a rank saw."""

    step_at_start: int
    epoch_at_start: float
    losses: tuple  # per step, the mean over the ranks
    learning_rates: tuple
    best: str  # best_model_checkpoint at the end


class Samples(torch.utils.data.Dataset):
    def __init__(self, count, seed):
        self._ids = torch.randint(0, VOCABULARY, (count, SEQUENCE), generator=torch.Generator().manual_seed(seed))

    def __len__(self):
        return len(self._ids)

    def __getitem__(self, index):
        return {"input_ids": self._ids[index], "labels": (self._ids[index] * 3 + 1) % VOCABULARY}


def make_model():
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=27, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1,
        eos_token_id=2))


class Watch(TrainerCallback):
    def __init__(self, job):
        self.job, self.trainer = job, None
        self.start, self.losses, self.learning_rates = None, [], []

    def on_train_begin(self, arguments, state, control, **_):
        self.start = state.global_step
        if self.job.save_loaded:
            self.trainer.deepspeed.save_checkpoint(self.job.save_loaded)

    def on_step_begin(self, arguments, state, control, **_):
        self.epoch_at_start = getattr(self, "epoch_at_start", state.epoch)

    def on_step_end(self, arguments, state, control, **_):
        loss = self.trainer.last_loss.double()
        torch.distributed.all_reduce(loss)
        self.losses.append((loss / arguments.world_size).item())
        self.learning_rates.append(self.trainer.lr_scheduler.get_last_lr()[0])


class WatchedTrainer(Trainer):
    def training_step(self, *arguments, **options):
        self.last_loss = super().training_step(*arguments, **options).detach()
        return self.last_loss


def run(job, log=None):
    """Returns the ranks' Reports."""
    return launch.run(job.world_size, lambda rank: _train(job), log=log)


def _train(job):
    watch = Watch(job)
    trainer = WatchedTrainer(model=make_model(), args=arguments_of(job), train_dataset=Samples(SAMPLES, 1),
                             eval_dataset=Samples(GLOBAL_BATCH, 2), callbacks=[watch],
                             compute_metrics=lambda _: {"minus_step": -watch.trainer.state.global_step})
    watch.trainer = trainer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resume = get_last_checkpoint(job.output_dir) is not None if job.resume is True else job.resume
        trainer.train(resume_from_checkpoint=resume)
    if job.save_best:
        trainer.deepspeed.save_checkpoint(job.save_best)
    return Report(watch.start, watch.epoch_at_start, tuple(watch.losses), tuple(watch.learning_rates),
                  trainer.state.best_model_checkpoint)


def arguments_of(job):
    deepspeed = {"train_micro_batch_size_per_gpu": "auto", "train_batch_size": "auto", "gradient_accumulation_steps": "auto",
                 "gradient_clipping": "auto", "bf16": {"enabled": "auto"}, "zero_allow_untested_optimizer": True,
                 "zero_optimization": {"stage": job.stage}}
    evaluate = dict(eval_strategy="steps", eval_steps=2, metric_for_best_model="minus_step", greater_is_better=True,
                    load_best_model_at_end=job.best == "load") if job.best else {}
    return TrainingArguments(
        output_dir=job.output_dir, use_cpu=True, ddp_backend="gloo", deepspeed=deepspeed, bf16=job.dtype == "bf16",
        per_device_train_batch_size=GLOBAL_BATCH // job.world_size, max_steps=job.last_step, save_strategy="steps", save_steps=2,
        save_total_limit=job.keep, learning_rate=1e-2, lr_scheduler_type="constant_with_warmup", warmup_steps=20, weight_decay=0.1,
        seed=0, report_to="none", disable_tqdm=True, logging_steps=1000, **evaluate)
