"""Trains tiny Hugging Face models with DeepSpeed, and says what the engine that saved computes."""
from dataclasses import dataclass
import warnings

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Trainer

import launch
from transformers_job import SAMPLES, SEQUENCE, VOCABULARY, Job, Samples, arguments_of


@dataclass(frozen=True)
class ModelJob:
    architecture: str  # "llama", "gpt2": the embeddings of the second are tied
    stage: int
    dtype: str
    output_dir: str
    world_size: int = 2


def make_model(architecture):
    torch.manual_seed(1)
    if architecture == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=16, n_layer=2, n_head=2,
                                          bos_token_id=1, eos_token_id=2))
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=27, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1,
        eos_token_id=2))


def inputs():
    return torch.arange(2 * SEQUENCE).reshape(2, SEQUENCE) % VOCABULARY


def run(job, log=None):
    """Trains two steps and saves. Returns the logits of the engine on inputs(), as numbers."""
    return launch.run(job.world_size, lambda rank: _train(job), log=log)[0]


def _train(job):
    arguments = arguments_of(Job(job.world_size, job.stage, job.output_dir, 2, dtype=job.dtype))
    trainer = Trainer(model=make_model(job.architecture), args=arguments, train_dataset=Samples(SAMPLES, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    engine = trainer.deepspeed
    engine.eval()
    with torch.no_grad():
        return engine(input_ids=inputs()).logits.float().tolist()
