"""Trainers of transformers and TRL on rows of toy text."""

import torch

from support.checkpoints import character_tokenizer, tiny_llama
from wise_merge.training import bang_trainer

TEXTS = [f"{a} + {b} = {a * b + b}" for a in range(8) for b in range(9, 12)]


def host_classes(host):
    """The trainer and its configuration; TRL takes seconds to import."""
    if host == "Trainer":
        from transformers import Trainer, TrainingArguments

        return Trainer, TrainingArguments
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer, SFTConfig


def make_trainer(host, output, *, batch=4, accumulate=1, steps=3, smoothing=0.1, mixup=0.4, config=None, **settings):
    """A BANG trainer, or a plain one with smoothing None, on rows of different lengths."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq

    trainer_class, config_class = host_classes(host)
    model_config = settings.pop("model_config", None) or tiny_llama()
    torch.manual_seed(0)
    tokenizer = character_tokenizer()
    ids = tokenizer(TEXTS)["input_ids"]
    data = Dataset.from_dict({"input_ids": ids, "labels": [[-100] * 4 + row[4:] for row in ids]})
    if smoothing is not None:
        trainer_class = bang_trainer(trainer_class, label_smoothing=smoothing, mixup=mixup)
    defaults = {
        "output_dir": str(output),
        "max_steps": steps,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulate,
        "learning_rate": 1e-2,
        "optim": "sgd",  # so that a wrong scale of the loss shows
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
    }
    if host == "Trainer":
        settings.setdefault("data_collator", DataCollatorForSeq2Seq(tokenizer))
    return trainer_class(
        model=AutoModelForCausalLM.from_config(model_config),
        args=config_class(**{**defaults, **(config or {})}),
        train_dataset=data,
        eval_dataset=data.select(range(5)),
        processing_class=tokenizer,
        **settings,
    )
