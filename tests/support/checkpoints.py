"""Tiny checkpoints, their tokenizer, and ways to damage them."""

import shutil
from pathlib import Path


def make_checkpoint(directory: Path, *, seed: int, config=None, dtype="float32", max_shard_size="1GB") -> Path:
    """Save a random tiny Llama (or the model of `config`) with a character tokenizer that loads by itself."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config or tiny_llama()).to(getattr(torch, dtype))
    # Transformers starts normalisations at 1, the same in every model: a merge of equals shows nothing.
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(directory, max_shard_size=max_shard_size)
    character_tokenizer().save_pretrained(directory)
    return directory


def tiny_llama(**changes):
    """The configuration of a Llama with 0.03 M parameters."""
    from transformers import LlamaConfig

    settings = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 99,
        "max_position_embeddings": 8192,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
    }
    return LlamaConfig(**{**settings, **changes})


def character_tokenizer():
    """A fast tokenizer over the printable ASCII characters and the newline."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = ["<pad>", "<eos>", "<unk>", "\n", *map(chr, range(32, 127))]
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def pickled(source, target, **settings):
    """Copy a model of one safetensors file with its weights in a .bin file."""
    import torch
    from safetensors.torch import load_file

    shutil.copytree(source, target)
    (target / "model.safetensors").unlink()
    torch.save(load_file(source / "model.safetensors"), target / "pytorch_model.bin", **settings)
    return target


def change(**changes):
    """A case that changes keys of the recipe; `...` removes a key."""

    def apply(recipe, run):
        for key, value in changes.items():
            if value is ...:
                del recipe[key]
            else:
                recipe[key] = value(run) if callable(value) else value

    return apply


def replace_late(make):
    """A case in which checkpoint-2 is a copy that `make` has changed."""

    def apply(recipe, run):
        late = run / "changed"
        shutil.copytree(run / "checkpoint-2", late)
        make(late)
        recipe["models"] = [{"model": str(late)}]

    return apply


def truncate(directory):
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def with_value(value):
    from safetensors.torch import load_file, save_file

    def apply(directory):
        tensors = load_file(directory / "model.safetensors")
        tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})

    return apply


def without_tensor(directory):
    from safetensors.torch import load_file, save_file

    tensors = load_file(directory / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
