"""LM heads that one checkpoint stores and the other leaves to its embeddings: averaged as transformers loads them."""

import json
import os

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support.adapters import make_adapter
from support.checkpoints import make_checkpoint, pickled, tiny_llama
from support.engines import become, engine
from support.merges import assert_same_weights, merge, run, weights
from support.recipes import wise_ft
from transformers import AutoModelForCausalLM

from wise_merge.checkpoints.architecture import check_same_model
from wise_merge.checkpoints.headers import read_headers
from wise_merge.checkpoints.heads import separate_head, stand_ins
from wise_merge.errors import WiseMergeError

HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
KINDS = ("none", "equal", "own", "alone")


def store_head(directory, kind, embeddings=EMBEDDINGS):
    """Have a tied checkpoint store its head not at all, equal to its embeddings, of its own, or in place of them."""
    file = directory / "model.safetensors"
    tensors = load_file(file)
    torch.manual_seed(len(str(directory)))
    if kind == "alone":
        tensors[HEAD] = tensors.pop(embeddings)
    elif kind != "none":
        tensors[HEAD] = tensors[embeddings] + (kind == "own") * torch.randn_like(tensors[embeddings])
    save_file(tensors, file, metadata={"format": "pt"})


def pair(folder, early, late, config=None, embeddings=EMBEDDINGS):
    """checkpoint-1 and checkpoint-2, whose configs tie the head, with heads of two kinds."""
    for seed, kind in enumerate((early, late), start=1):
        made = make_checkpoint(
            folder / f"checkpoint-{seed}", seed=seed, config=config or tiny_llama(tie_word_embeddings=True)
        )
        store_head(made, kind, embeddings)
    return folder


@torch.no_grad()
def logits(model):
    return model.eval()(torch.arange(4, 20)[None]).logits


def average(folder, alpha):
    """Logits of the average of what transformers loads, weight by weight, with a head apart from the embeddings."""
    models = [AutoModelForCausalLM.from_pretrained(folder / f"checkpoint-{number}") for number in (1, 2)]
    states = [model.state_dict() for model in models]
    models[0].config.tie_word_embeddings = False
    merged = AutoModelForCausalLM.from_config(models[0].config)
    merged.load_state_dict({name: (1 - alpha) * states[0][name] + alpha * states[1][name] for name in states[0]})
    return logits(merged)


@pytest.mark.parametrize("early", KINDS)
@pytest.mark.parametrize("late", KINDS)
def test_the_merge_is_the_average_of_what_transformers_loads(early, late, tmp_path):
    """By wise-merge, by the engine of a sweep, and by mergekit-yaml, or one line; the config says what is stored."""
    pair(tmp_path, early, late)
    recipe = wise_ft(tmp_path, alpha=0.3)
    expected = average(tmp_path, 0.3)
    result = run(recipe, tmp_path / "ours")
    assert result.exit_code == 0, result.output
    stored = weights(tmp_path / "ours")
    apart = HEAD in stored and EMBEDDINGS in stored and not torch.equal(stored[HEAD], stored[EMBEDDINGS])
    assert apart == ("own" in (early, late))
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["tie_word_embeddings"] is not apart
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values())
    # The same sums, of which float64 or float32 rounds the last bit.
    assert torch.allclose(logits(model), expected, atol=1e-5)
    # A merge that only one of the two has a part in says so.
    assert ("Warning: " in result.output) == ((early, late) in {
        ("none", "own"), ("own", "none"), ("alone", "own"), ("own", "alone"), ("none", "alone"), ("alone", "none"),
        ("equal", "alone"), ("alone", "equal"),
    })  # fmt: skip

    replaced = engine(tmp_path)
    become(replaced, tmp_path, recipe)
    assert torch.allclose(logits(replaced.model), expected, atol=1e-5)

    theirs = merge(recipe, tmp_path / "theirs")
    if "alone" in (early, late):
        assert theirs.exit_code == 1
        assert EMBEDDINGS in theirs.output.splitlines()[-1]
        assert "`wise-merge merge` averages" in theirs.output.splitlines()[-1]
    else:
        assert theirs.exit_code == 0, theirs.output
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "theirs")
        assert torch.allclose(logits(model), expected, atol=1e-5)
        assert model.config.tie_word_embeddings is not apart
        if apart:
            assert_same_weights(tmp_path / "ours", tmp_path / "theirs")


@pytest.mark.parametrize("form", ["shards", "bin", "bfloat16"])
def test_heads_are_found_in_every_form_of_files(form, tmp_path):
    """In shards, where head and embeddings are in different ones; pickled; in bfloat16."""
    pair(tmp_path, "none", "own")
    late = tmp_path / "checkpoint-2"
    if form == "bin":
        for number in (1, 2):
            pickled(tmp_path / f"checkpoint-{number}", tmp_path / f"bin-{number}")
            (tmp_path / f"checkpoint-{number}").rename(tmp_path / f"safe-{number}")
            (tmp_path / f"bin-{number}").rename(tmp_path / f"checkpoint-{number}")
    elif form == "shards":
        tensors = load_file(late / "model.safetensors")
        (late / "model.safetensors").unlink()
        for number, names in enumerate(({HEAD}, tensors.keys() - {HEAD}), start=1):
            save_file({name: tensors[name] for name in names}, late / f"model-{number}.safetensors")
        places = {name: f"model-{1 if name == HEAD else 2}.safetensors" for name in tensors}
        (late / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    else:
        for number in (1, 2):
            file = tmp_path / f"checkpoint-{number}" / "model.safetensors"
            save_file({name: t.bfloat16() for name, t in load_file(file).items()}, file, metadata={"format": "pt"})
    expected = average(tmp_path, 0.5)
    result = run(wise_ft(tmp_path), tmp_path / "out", "--out-dtype", "float32")
    assert result.exit_code == 0, result.output
    assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out")), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "gemma", "opt", "smollm3"])
def test_other_names_and_architectures_that_mergekit_knows_otherwise(name, tmp_path):
    """Heads that mergekit does not know (Gemma), or of which it does not know the tie (OPT), are no traceback there."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 99}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config, embeddings = {
        "gpt2": (transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=99), "transformer.wte.weight"),
        "gemma": (transformers.GemmaConfig(**sizes, **heads, head_dim=16), EMBEDDINGS),
        "opt": (
            transformers.OPTConfig(
                hidden_size=32, word_embed_proj_dim=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2,
                vocab_size=99, max_position_embeddings=64,
            ),
            "model.decoder.embed_tokens.weight",
        ),
        "smollm3": (
            transformers.SmolLM3Config(**sizes, **heads, tie_word_embeddings=True, pad_token_id=0), EMBEDDINGS,
        ),
    }[name]  # fmt: skip
    pair(tmp_path / "apart", "none", "own", config, embeddings)
    pair(tmp_path / "equal", "none", "equal", config, embeddings)
    for kind in ("apart", "equal"):
        folder = tmp_path / kind
        recipe, expected = wise_ft(folder), average(folder, 0.5)
        assert run(recipe, folder / "ours").exit_code == 0
        assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(folder / "ours")), expected, atol=1e-5)
        theirs = merge(recipe, folder / "theirs")
        if name == "gpt2" or kind == "equal":
            assert theirs.exit_code == 0, theirs.output
            assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(folder / "theirs")), expected, atol=1e-5)
        else:
            assert theirs.exit_code == 1
            assert "lm_head.weight" in theirs.output.splitlines()[-1]
            assert not (folder / "theirs" / "config.json").exists()


def test_a_head_apart_from_its_embeddings_is_not_left_out_of_gemma_by_mergekit(tmp_path):
    """It knows no head of Gemma's, and would drop that of both checkpoints."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 99, "head_dim": 16}
    config = transformers.GemmaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2)
    pair(tmp_path, "own", "own", config)
    theirs = merge(wise_ft(tmp_path), tmp_path / "theirs")
    assert (theirs.exit_code, "mergekit would leave it out" in theirs.output) == (1, True)
    assert run(wise_ft(tmp_path), tmp_path / "ours").exit_code == 0


@pytest.mark.parametrize(
    "settings",
    [{}, {"modules_to_save": ["lm_head"]}, {"modules_to_save": ["embed_tokens"]}, {"target_modules": ["lm_head"]}],
    ids=str,
)
def test_an_adapter_on_a_base_with_a_head_of_its_own(settings, tmp_path):
    """The head, trained or not, is that of PEFT, and the config says that it is there."""
    import peft

    base = pair(tmp_path, "own", "none") / "checkpoint-1"
    adapter = make_adapter(tmp_path / "adapter", base, **settings)
    recipe = wise_ft(tmp_path, alpha=0.3) | {"models": [{"model": f"{base}+{adapter}"}]}
    result = run(recipe, tmp_path / "out")
    assert result.exit_code == 0, result.output
    plain = AutoModelForCausalLM.from_pretrained(base)
    with_adapter = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    late = with_adapter.merge_and_unload().state_dict()
    merged = weights(tmp_path / "out")
    for name, early in plain.state_dict().items():
        assert torch.allclose(merged[name], torch.lerp(early, late[name], 0.3), atol=1e-6), name
    assert torch.equal(merged[HEAD], weights(base)[HEAD]) == ("lm_head" not in str(settings))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False


def test_the_engine_of_a_sweep_goes_from_tied_to_untied_and_back(tmp_path):
    """Its head is written with every average, once it has memory of its own."""
    pair(tmp_path / "tied", "none", "none")
    pair(tmp_path / "apart", "none", "own")
    model = engine(tmp_path / "tied")
    for folder in ("tied", "apart", "tied"):
        become(model, tmp_path / folder, wise_ft(tmp_path / folder, alpha=0.3))
        assert torch.allclose(logits(model.model), average(tmp_path / folder, 0.3), atol=1e-5), folder


@pytest.mark.parametrize(
    ("size", "words"),
    [((104, 32), ["lm_head.weight has shape (99, 32) in", "(104, 32) in"]), ((99, 16), ["(99, 32)", "(99, 16)"])],
)
def test_a_head_of_another_shape_than_the_embeddings_is_an_error(size, words, tmp_path):
    """Padded, or of another width: nothing that could stand for it in the other checkpoint."""
    pair(tmp_path, "none", "none")
    file = tmp_path / "checkpoint-2" / "model.safetensors"
    save_file({**load_file(file), HEAD: torch.randn(size)}, file, metadata={"format": "pt"})
    with pytest.raises(WiseMergeError) as error:
        check_same_model(tmp_path / "checkpoint-1", tmp_path / "checkpoint-2")
    assert all(word in str(error.value) for word in words)
    result = run(wise_ft(tmp_path), tmp_path / "out")
    assert (result.exit_code, os.path.exists(tmp_path / "out")) == (1, False)


def test_a_head_that_nothing_stands_for_is_missing(tmp_path):
    """Where the config ties nothing, a head cannot be left to the embeddings."""
    pair(tmp_path, "none", "own", tiny_llama(tie_word_embeddings=True))
    for number in (1, 2):
        file = tmp_path / f"checkpoint-{number}" / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "tie_word_embeddings": False}))
    with pytest.raises(WiseMergeError, match=r"lm_head\.weight of .*checkpoint-2 is missing in .*checkpoint-1"):
        check_same_model(tmp_path / "checkpoint-1", tmp_path / "checkpoint-2")


def test_equal_is_bit_by_bit_and_one_bit_is_enough(tmp_path):
    """Of the last element of the last row."""
    pair(tmp_path, "none", "equal")
    late = tmp_path / "checkpoint-2"
    folders = (tmp_path / "checkpoint-1", late)
    headers = (read_headers(folders[0]), read_headers(late))
    assert separate_head(late) is None
    assert stand_ins(folders, headers) == [{}, {}]
    tensors = load_file(late / "model.safetensors")
    tensors[HEAD].view(torch.int32)[-1, -1] ^= 1
    save_file(tensors, late / "model.safetensors", metadata={"format": "pt"})
    assert separate_head(late) == HEAD
    assert stand_ins(folders, headers) == [{HEAD: EMBEDDINGS}, {}]
