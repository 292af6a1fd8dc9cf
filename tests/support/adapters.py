"""LoRA adapters with random weights."""

import json

import torch

from wise_merge.checkpoints.adapters import read_adapter


def make_adapter(directory, base, *, seed=0, dtype=None, **settings):
    """Save a LoRA adapter whose every trained weight is random, so that its product is far from nothing."""
    import peft
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    settings = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "down_proj"], **settings}
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    if dtype:
        model.to(getattr(torch, dtype))
    model.save_pretrained(directory)
    return directory


def recorded(adapter, base):
    """Write another base into adapter_config.json."""
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": base}))
    return read_adapter(adapter)
