"""A model that is not whole is not published, and one that is whole is not refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.architectures import make_model
from support.checkpoints import character_tokenizer, make_checkpoint, tiny_llama

from wise_merge.errors import WiseMergeError
from wise_merge.publish import whole
from wise_merge.publish.whole import check_whole

LATE_WEIGHT = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def model(tmp_path):
    """A tiny Llama in one file."""
    return make_checkpoint(tmp_path / "model", seed=1)


@pytest.fixture
def sharded(tmp_path):
    """A tiny Llama in several shards with an index."""
    folder = make_checkpoint(tmp_path / "sharded", seed=1, max_shard_size="40KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    return folder


def change(folder, **tensors):
    """Replace tensors of a model in one file, or remove those that are None."""
    path = folder / "model.safetensors"
    kept = {name: tensor for name, tensor in {**load_file(path), **tensors}.items() if tensor is not None}
    save_file(kept, path, metadata={"format": "pt"})


def configure(folder, file="config.json", **settings):
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def index_of(folder):
    return json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]


def refused(folder, message):
    with pytest.raises(WiseMergeError, match=message) as error:
        check_whole(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("tied", [True, False])
def test_whole_models_pass(tmp_path, tied):
    """In one file and in shards, with an LM head and without one of its own."""
    config = tiny_llama(tie_word_embeddings=tied)
    for size in ("1GB", "20KB"):
        folder = make_checkpoint(tmp_path / size, seed=1, config=config, max_shard_size=size, dtype="bfloat16")
        check_whole(folder)
    assert ("lm_head.weight" in load_file(tmp_path / "1GB" / "model.safetensors")) is not tied


@pytest.mark.parametrize(
    "architecture",
    [
        "GPT2LMHeadModel",
        "MixtralForCausalLM",
        "Qwen3MoeForCausalLM",
        "BloomForCausalLM",
        "Qwen2VLForConditionalGeneration",
    ],
)
def test_weights_that_transformers_calls_otherwise_are_there(tmp_path, architecture):
    """Prefixes, experts that become one tensor, and a model that sees pictures too."""
    folder = tmp_path / "model"
    make_model(folder, architecture, seed=1)
    character_tokenizer().save_pretrained(folder)
    check_whole(folder)
    name = next(name for name in load_file(folder / "model.safetensors") if "norm" in name or "ln_" in name)
    change(folder, **{name: None})
    refused(folder, "lack .*which would start at random")


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_weights_are_checked_too(model, zipped):
    """In the format of today's torch and in that of before 1.6."""
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    torch.save(tensors, model / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    check_whole(model)
    tensors[LATE_WEIGHT][-1, -1] = float("nan")
    torch.save(tensors, model / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    refused(model, f"{LATE_WEIGHT} holds NaN")
    content = (model / "pytorch_model.bin").read_bytes()
    (model / "pytorch_model.bin").write_bytes(content[: len(content) // 2])
    refused(model, "pytorch_model.bin is not a whole file of tensors")


def test_a_pickle_that_would_run_code_is_not_read(model):
    """Neither by us nor by transformers."""
    (model / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1), "b": character_tokenizer}, model / "pytorch_model.bin")
    refused(model, "pytorch_model.bin is not a file of tensors .*it was not read")


def test_a_missing_shard(sharded):
    """The index names it."""
    name = sorted(set(index_of(sharded).values()))[1]
    (sharded / name).unlink()
    refused(sharded, f"{name} is missing, but the index of .* names it")


def test_a_truncated_shard(sharded):
    """Some bytes short, as after a full disk."""
    path = sharded / sorted(set(index_of(sharded).values()))[-1]
    path.write_bytes(path.read_bytes()[:-3])
    refused(sharded, f"{path.name} is not a whole safetensors file")


def test_an_index_that_names_what_its_file_lacks(sharded):
    """The tensor is not there, though the file is."""
    weights = index_of(sharded)
    path = sharded / weights[LATE_WEIGHT]
    tensors = load_file(path)
    del tensors[LATE_WEIGHT]
    save_file(tensors, path, metadata={"format": "pt"})
    refused(sharded, f"lacks tensor {LATE_WEIGHT}")


def test_an_index_without_metadata(sharded):
    """Transformers does not load such a model, and says why in a word."""
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index_of(sharded)}))
    refused(sharded, "does not load with transformers: KeyError 'metadata'")


def test_a_weight_that_neither_index_nor_file_has(model):
    """Transformers would start it at random, and say so to nobody."""
    change(model, **{LATE_WEIGHT: None, "model.norm.weight": None})
    refused(model, f"lack {LATE_WEIGHT} and 1 more, which its architecture has")


def test_a_weight_of_another_shape(model):
    """Config and weights are of different models."""
    configure(model, intermediate_size=128)
    refused(model, "does not load with transformers")


def test_no_weights_and_two_models(model, sharded):
    """A single file beside an index is a stale one or the index is."""
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").unlink()
    refused(model, "no weights")
    (sharded / "model.safetensors").write_bytes(content)
    refused(sharded, "two models.*delete the one that is stale")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_single_number_that_is_none(model, monkeypatch, value, dtype):
    """The last of a tensor that is looked at in pieces, the last of which is short."""
    monkeypatch.setattr(whole, "_BLOCK", 1000)
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(model / "model.safetensors").items()}
    change(model, **tensors)
    check_whole(model)
    weight = tensors[LATE_WEIGHT]
    assert weight.numel() % 1000
    weight[-1, -1] = value
    change(model, **{LATE_WEIGHT: weight})
    refused(model, rf"model\.safetensors: {LATE_WEIGHT} holds NaN or infinity")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_numbers_of_8_bits(model, dtype):
    """They have NaN too, and little arithmetic of their own."""
    weight = load_file(model / "model.safetensors")[LATE_WEIGHT].to(dtype)
    change(model, **{LATE_WEIGHT: weight})
    check_whole(model)
    weight.view(torch.uint8)[0, 0] = 0x7F  # NaN in both
    change(model, **{LATE_WEIGHT: weight})
    refused(model, f"{LATE_WEIGHT} holds NaN")


def test_nan_in_a_later_shard(sharded):
    """Every shard is read, and the bar sees each."""
    names = sorted(set(index_of(sharded).values()))
    seen = []

    def watch(paths):
        for path in paths:
            seen.append(path.name)
            yield path

    check_whole(sharded, watch=watch)
    assert seen == names
    path = sharded / names[-1]
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[-1] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    refused(sharded, f"{names[-1]}: .* holds NaN")


def test_no_tokenizer(model):
    """Neither its settings nor a vocabulary."""
    for path in model.glob("tokenizer*"):
        path.unlink()
    refused(model, "has no tokenizer; copy that of one of its checkpoints")


@pytest.mark.parametrize("content", ["{", "{}", '{"model": {"type": "BPE"}}'])
def test_a_broken_tokenizer(model, content):
    """No JSON, or not that of a tokenizer."""
    (model / "tokenizer.json").write_text(content)
    refused(model, "the tokenizer of .* does not load")


@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "LlamaTokenizer", "Qwen2Tokenizer", "GPT2Tokenizer"])
def test_a_tokenizer_without_its_vocabulary(model, kind):
    """Some classes of transformers load without one, and then make nothing of every text."""
    (model / "tokenizer.json").unlink()
    configure(model, "tokenizer_config.json", tokenizer_class=kind)
    refused(model, "tokenizer of .* (does not load|lacks its vocabulary)")


def test_a_tokenizer_of_bytes_has_no_vocabulary_to_lack(model):
    """There is no file beside its settings."""
    (model / "tokenizer.json").unlink()
    configure(model, "tokenizer_config.json", tokenizer_class="ByT5Tokenizer")
    check_whole(model)


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_does_not_run(model, tmp_path, where):
    """Its weights are read all the same."""
    proof = tmp_path / "ran"
    (model / "own.py").write_text(f"open({str(proof)!r}, 'w')\nclass Own: pass\n")
    if where == "config.json":
        configure(
            model, where, model_type="own", auto_map=dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "own.Own")
        )
    else:
        configure(model, where, tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]})
    check_whole(model)
    weight = load_file(model / "model.safetensors")[LATE_WEIGHT]
    weight[0, 0] = float("nan")
    change(model, **{LATE_WEIGHT: weight})
    refused(model, f"{LATE_WEIGHT} holds NaN")
    assert not proof.exists()


def test_a_config_that_nobody_knows(model):
    """An architecture that this transformers does not have."""
    configure(model, model_type="from_the_future", architectures=["FutureForCausalLM"])
    refused(model, "does not load with transformers")


def test_looking_says_nothing(model, capfd):
    """What transformers reports while it loads is for those who use the model."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    configure(model, "config.json", tie_word_embeddings=True)  # the head that is stored is not used
    check_whole(model)
    assert capfd.readouterr() == ("", "")
    assert logging.get_verbosity() == before
