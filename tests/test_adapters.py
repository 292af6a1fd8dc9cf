"""Adapters against bases, from headers alone; what PEFT merges exactly, by PEFT itself."""

import json
import shutil

import pytest
import torch
from support.adapters import make_adapter, recorded
from support.checkpoints import make_checkpoint, tiny_llama

from wise_merge.checkpoints.adapters import check_adapter, read_adapter
from wise_merge.errors import WiseMergeError


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Bases for reading: untied, of other weights, tied, with biases, and with modules of other names."""
    from transformers import GPT2Config, Qwen2Config

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 99}
    configs = {
        "base": tiny_llama(),
        "other": tiny_llama(),
        "tied": tiny_llama(tie_word_embeddings=True),
        "biased": Qwen2Config(**small, num_attention_heads=2, num_key_value_heads=2),
        "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=99, bos_token_id=1, eos_token_id=1),
    }
    root = tmp_path_factory.mktemp("bases")
    for seed, (name, config) in enumerate(configs.items()):
        make_checkpoint(root / name, seed=seed, config=config)
    return root


@pytest.fixture(scope="module")
def plain(bases):
    """An adapter of `base`, for reading."""
    return make_adapter(bases / "plain", bases / "base")


def check(adapter, base):
    return check_adapter(read_adapter(adapter), str(base), base)


EXACT = {
    "plain": ("base", {}),
    "rslora": ("base", {"use_rslora": True}),
    "dora": ("base", {"use_dora": True}),
    "ranks": ("base", {"rank_pattern": {"layers.0.self_attn.q_proj": 2}, "alpha_pattern": {"down_proj": 3}}),
    "pissa": ("base", {"init_lora_weights": "pissa"}),
    "olora": ("base", {"init_lora_weights": "olora"}),
    "saved": ("base", {"modules_to_save": ["lm_head", "norm"]}),
    "embeddings": ("base", {"target_modules": ["embed_tokens", "q_proj"]}),
    "head": ("base", {"target_modules": ["lm_head", "q_proj"]}),
    "tokens": ("base", {"trainable_token_indices": [3, 7]}),
    "tied": ("tied", {}),
    "tied-tokens": ("tied", {"trainable_token_indices": [3, 7]}),
    "tied-saved": ("tied", {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
    "biases": ("biased", {"bias": "all"}),
    "lora-bias": ("biased", {"lora_bias": True, "target_modules": ["q_proj"]}),
    "conv1d": ("gpt2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EXACT)
def test_what_passes_is_merged_exactly(name, bases, tmp_path):
    """Base with adapter beside it, and base with adapter merged into it, give the same logits."""
    import peft
    from transformers import AutoModelForCausalLM

    base, settings = bases / EXACT[name][0], EXACT[name][1]
    adapter = make_adapter(tmp_path / "adapter", base, **settings)
    assert check(adapter, base) == []
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad():
        beside = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))
        expected = beside(tokens).logits
        beside.merge_and_unload().save_pretrained(tmp_path / "merged")
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(tokens).logits
        without = AutoModelForCausalLM.from_pretrained(base)(tokens).logits
    # float32 through two layers; the adapter itself changes the logits by a hundred times as much.
    assert (merged - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (without - expected).abs().max() > 1e-3 * expected.abs().max()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("base", "settings", "message"),
    [
        ("base", {"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4.*cannot be done again"),
        ("base", {"alora_invocation_tokens": [5]}, "alora_invocation_tokens.*no dense product"),
        ("base", {"lora_bias": True}, r"has biases.*none in model\.layers"),
        ("tied", {"target_modules": ["embed_tokens"]}, r"trains model\.embed_tokens.*one weight"),
        ("tied", {"target_modules": ["lm_head"]}, r"trains lm_head.*one weight"),
        ("tied", {"target_modules": ["lm_head"], "ensure_weight_tying": True}, "one weight"),
        ("tied", {"modules_to_save": ["lm_head"]}, r"trains lm_head.*one weight"),
    ],
)
def test_what_cannot_be_merged_exactly_is_refused(base, settings, message, bases, tmp_path):
    """One line that says what and why."""
    adapter = make_adapter(tmp_path / "adapter", bases / base, **settings)
    with pytest.raises(WiseMergeError, match=message):
        check(adapter, bases / base)


def test_added_layers_are_refused(plain, bases, tmp_path):
    """layer_replication makes another architecture of the base."""
    shutil.copytree(plain, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "layer_replication": [[0, 2], [0, 2]]}))
    with pytest.raises(WiseMergeError, match=r"layer_replication.*adds layers"):
        check(tmp_path / "adapter", bases / "base")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 48}, r"lora_A\.weight has shape \[4, 32\] where the base needs \[4, 48\]"),
        ({"num_hidden_layers": 1}, r"model\.layers\.1\..* and 3 more fits nothing in it"),
        ({"num_hidden_layers": 3}, r"model\.layers\.2\..* and 3 more is missing in the adapter"),
    ],
)
def test_an_adapter_of_another_size_does_not_fit(changes, message, plain, tmp_path):
    """Of the misfits PEFT itself raises for the first alone, and takes the others in silence."""
    make_checkpoint(tmp_path / "base", seed=0, config=tiny_llama(**changes))
    shutil.copytree(plain, tmp_path / "adapter")
    recorded(tmp_path / "adapter", "base")
    with pytest.raises(WiseMergeError, match=rf"adapter is not an adapter for .*base: .*{message}"):
        check(tmp_path / "adapter", tmp_path / "base")


def test_an_adapter_of_another_architecture_does_not_fit(plain, bases, tmp_path):
    """Modules of other names."""
    shutil.copytree(plain, tmp_path / "adapter")
    recorded(tmp_path / "adapter", "gpt2")
    with pytest.raises(WiseMergeError, match=r"is not an adapter for .*gpt2 .*not found in the base"):
        check(tmp_path / "adapter", bases / "gpt2")


def test_further_rows_of_the_embeddings_are_named(bases, tmp_path):
    """Tokens were added in training, which the base does not have."""
    make_checkpoint(tmp_path / "grown", seed=0, config=tiny_llama(vocab_size=103))
    make_adapter(tmp_path / "adapter", tmp_path / "grown", modules_to_save=["embed_tokens"])
    recorded(tmp_path / "adapter", "base")
    with pytest.raises(WiseMergeError, match=r"has shape \[103, 32\] where the base needs \[99, 32\]"):
        check(tmp_path / "adapter", bases / "base")


def test_a_base_of_other_weights_is_an_error(plain, bases, tmp_path):
    """The recorded base is here and is not the one that was named; a copy of it is."""
    with pytest.raises(
        WiseMergeError, match=r"trained on .*base, whose weights are not those of .*other; name .*base\+"
    ):
        check(plain, bases / "other")
    shutil.copytree(bases / "base", tmp_path / "copy")
    assert check(plain, tmp_path / "copy") == []


def test_a_quantised_base_is_refused(plain, bases, tmp_path):
    """QLoRA trains on one; its adapter is added to the model itself."""
    shutil.copytree(bases / "base", tmp_path / "base-4bit")
    path = tmp_path / "base-4bit" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(WiseMergeError, match=r"base-4bit is quantised \(gptq\).*before quantisation"):
        check(plain, tmp_path / "base-4bit")


SNAPSHOT = "/cache/hub/models--meta-llama--Llama-3.1-8B/snapshots/0e9e39f249a16976918f6564b8830bc894c89659"


@pytest.mark.parametrize(
    ("trained_on", "named", "verdict"),
    [
        ("/gone/llama", "elsewhere/llama", "same"),
        ("meta-llama/Llama-3.1-8B", "mirror/llama-3.1-8b", "same"),
        ("meta-llama/Llama-3.1-8B", SNAPSHOT, "same"),
        (SNAPSHOT, "meta-llama/Llama-3.1-8B", "same"),
        ("unsloth/Llama-3.1-8B-bnb-4bit", "meta-llama/Llama-3.1-8B", "same"),
        ("/gone/llama", "llama-renamed", "unknown"),
        ("meta-llama/Llama-3.1-8B", "/somewhere/base", "unknown"),
        ("models/llama", "meta-llama/Llama-3.1-8B", "unknown"),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", "other"),
        ("meta-llama/Llama-3.1-8B-Instruct", SNAPSHOT, "other"),
        (None, "meta-llama/Llama-3.1-8B", "same"),
    ],
)
def test_names_of_bases_prove_something_or_nothing(trained_on, named, verdict, plain, tmp_path):
    """Certain contradictions are errors; folders that may have been renamed, warnings."""
    shutil.copytree(plain, tmp_path / "adapter")
    adapter = recorded(tmp_path / "adapter", trained_on)
    if verdict == "other":
        with pytest.raises(WiseMergeError, match=f"was trained on {trained_on}, not on"):
            check_adapter(adapter, named, None)
    else:
        warnings = check_adapter(adapter, named, None)
        assert len(warnings) == (verdict == "unknown")
        assert all(str(trained_on) in warning and named in warning for warning in warnings)


def test_folders_that_are_no_adapters_are_named(plain, bases, tmp_path):
    """Nothing there, a full model, another kind of adapter, no weights, weights that run code."""
    with pytest.raises(WiseMergeError, match="does not exist"):
        read_adapter(tmp_path / "none")
    with pytest.raises(WiseMergeError, match="full model: name it alone"):
        read_adapter(bases / "base")
    shutil.copytree(plain, tmp_path / "adapter")
    weights, config = tmp_path / "adapter" / "adapter_model.safetensors", tmp_path / "adapter" / "adapter_config.json"
    weights.unlink()
    with pytest.raises(WiseMergeError, match=r"adapter_config\.json but no weights"):
        read_adapter(tmp_path / "adapter")
    torch.save({"weight": pytest.raises}, weights.with_suffix(".bin"))
    with pytest.raises(WiseMergeError, match=r"adapter_model\.bin is not a file of tensors"):
        read_adapter(tmp_path / "adapter")
    config.write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(WiseMergeError, match="says peft_type IA3; only LORA"):
        read_adapter(tmp_path / "adapter")
    config.write_text("{")
    with pytest.raises(WiseMergeError, match="cannot be read as JSON"):
        read_adapter(tmp_path / "adapter")
