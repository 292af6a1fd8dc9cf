"""Reading configs and headers without reading weights."""

import json
import shutil

import pytest
from support.checkpoints import Trap, make_checkpoint, pickled, tiny_llama

from wise_merge.checkpoints.architecture import check_same_model
from wise_merge.checkpoints.files import read_config
from wise_merge.checkpoints.headers import read_headers
from wise_merge.errors import WiseMergeError


def test_headers_are_the_same_for_one_file_and_for_shards(tmp_path):
    """Names, shapes and dtypes do not depend on how a checkpoint is stored."""
    make_checkpoint(tmp_path / "single", seed=0, dtype="bfloat16")
    make_checkpoint(tmp_path / "sharded", seed=0, dtype="bfloat16", max_shard_size="20kB")
    headers = read_headers(tmp_path / "sharded")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    assert headers == read_headers(tmp_path / "single")
    assert (headers["model.norm.weight"].shape, headers["model.norm.weight"].dtype) == ((32,), "BF16")


def test_checkpoints_of_one_run_pass(tiny_run):
    """The negative control of the checks."""
    check_same_model(tiny_run / "checkpoint-1", tiny_run / "checkpoint-2")


def test_a_tied_head_may_be_stored_in_one_checkpoint_only(tmp_path):
    """Some writers store the tied LM head beside the embeddings, some do not."""
    from safetensors.torch import load_file, save_file

    for name in ("early", "late"):
        make_checkpoint(tmp_path / name, seed=0, config=tiny_llama(tie_word_embeddings=True))
    file = tmp_path / "late" / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, file, metadata={"format": "pt"})
    check_same_model(tmp_path / "early", tmp_path / "late")


def test_vocabularies_of_different_sizes_need_a_tokenizer_section(tmp_path):
    """Other rows of the embeddings are an error unless a tokenizer is laid over both."""
    make_checkpoint(tmp_path / "early", seed=0)
    make_checkpoint(tmp_path / "late", seed=0, config=tiny_llama(vocab_size=103))
    with pytest.raises(WiseMergeError, match=r"\(99, 32\).*\(103, 32\)"):
        check_same_model(tmp_path / "early", tmp_path / "late")
    check_same_model(tmp_path / "early", tmp_path / "late", ignore_vocabulary=True)


def test_an_adapter_is_told_from_a_model(tmp_path):
    """The message says how mergekit takes adapters."""
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(WiseMergeError, match=r"LoRA adapter.*BASE\+"):
        read_config(tmp_path)


def test_an_index_without_its_map_is_named(tiny_run, tmp_path):
    """A broken index is an error that names the file."""
    shutil.copytree(tiny_run / "checkpoint-1", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}}))
    with pytest.raises(WiseMergeError, match=r"index\.json has no weight_map"):
        read_headers(tmp_path / "model")


def test_headers_of_pickled_files_are_those_of_safetensors(tmp_path):
    """A .bin file, of today's format or that before torch 1.6, has the same names, shapes and dtypes."""
    make_checkpoint(tmp_path / "model", seed=0, dtype="bfloat16")
    headers = read_headers(tmp_path / "model")
    for form in (True, False):
        pickled(tmp_path / "model", tmp_path / f"bin-{form}", _use_new_zipfile_serialization=form)
        assert read_headers(tmp_path / f"bin-{form}") == headers


def test_pickled_shards_are_read_by_their_index(tmp_path):
    """As transformers wrote them before safetensors; a missing one is named."""
    import torch

    pickled(make_checkpoint(tmp_path / "model", seed=0), tmp_path / "bin")
    tensors = torch.load(tmp_path / "bin" / "pytorch_model.bin", weights_only=True)
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[:5], names[5:]), start=1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: tensors[name] for name in part}, tmp_path / "bin" / file)
        weight_map |= dict.fromkeys(part, file)
    (tmp_path / "bin" / "pytorch_model.bin").unlink()
    (tmp_path / "bin" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert read_headers(tmp_path / "bin") == read_headers(tmp_path / "model")
    (tmp_path / "bin" / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(WiseMergeError, match=r"pytorch_model-00002-of-00002\.bin is missing"):
        read_headers(tmp_path / "bin")


@pytest.mark.parametrize("form", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(form, tmp_path):
    """Neither in a zip nor in the old format; the plain unpickler, as negative control, falls for it."""
    import pickle

    import torch

    make_checkpoint(tmp_path / "model", seed=0)
    (tmp_path / "model" / "model.safetensors").unlink()
    file, sprung = tmp_path / "model" / "pytorch_model.bin", tmp_path / "sprung"
    torch.save({"weight": Trap(sprung)}, file, _use_new_zipfile_serialization=form)
    with pytest.raises(WiseMergeError, match=r"pytorch_model\.bin is not a file of tensors .*io\.open.*could run code"):
        read_headers(tmp_path / "model")
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a whole file of tensors"),
        (b"PK\x03\x04 cut short", "not a whole file of tensors"),
        ({"state_dict": {}}, "must hold a dictionary of tensors"),
        ([1], "must hold a dictionary of tensors"),
    ],
)
def test_pickled_files_without_tensors_are_named(content, message, tmp_path):
    """Empty, truncated, or with something else within."""
    import torch

    make_checkpoint(tmp_path / "model", seed=0)
    (tmp_path / "model" / "model.safetensors").unlink()
    file = tmp_path / "model" / "pytorch_model.bin"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(WiseMergeError, match=rf"pytorch_model\.bin {'is ' if 'whole' in message else ''}{message}"):
        read_headers(tmp_path / "model")


def test_a_truncated_pickle_is_named(tmp_path):
    """Half of a real file."""
    pickled(make_checkpoint(tmp_path / "model", seed=0), tmp_path / "bin")
    file = tmp_path / "bin" / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(WiseMergeError, match=r"pytorch_model\.bin is not a whole file of tensors"):
        read_headers(tmp_path / "bin")


def test_links_out_of_the_directory_are_followed(tmp_path):
    """As in the Hub's cache, where snapshots link to blobs; a link to nothing is named."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "rev"
    make_checkpoint(blobs, seed=0)
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    assert read_headers(snapshot) == read_headers(blobs)
    (blobs / "model.safetensors").unlink()
    with pytest.raises(WiseMergeError, match=r"model\.safetensors is a link to a file that is not there"):
        read_headers(snapshot)


def test_two_models_in_one_folder_are_refused(tmp_path):
    """A single file beside the index of others: mergekit and transformers would read different ones."""
    make_checkpoint(tmp_path / "model", seed=0, max_shard_size="20kB")
    read_headers(tmp_path / "model")
    make_checkpoint(tmp_path / "other", seed=1)
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "model")
    with pytest.raises(WiseMergeError, match="two models"):
        read_headers(tmp_path / "model")


def test_a_tensor_that_its_shard_lacks_is_named(tmp_path):
    """The index promises a tensor that is not in the file."""
    make_checkpoint(tmp_path / "model", seed=0, max_shard_size="20kB")
    index = tmp_path / "model" / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.extra"] = content["weight_map"]["model.norm.weight"]
    index.write_text(json.dumps(content))
    with pytest.raises(WiseMergeError, match=r"lacks tensor model\.extra"):
        read_headers(tmp_path / "model")


def test_tied_and_untied_do_not_meet(tmp_path):
    """Even where both store an LM head: one config would throw it away."""
    make_checkpoint(tmp_path / "early", seed=0)
    make_checkpoint(tmp_path / "late", seed=1)
    config = tmp_path / "late" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "tie_word_embeddings": True}))
    with pytest.raises(WiseMergeError, match=r"late/config\.json ties .*early/config\.json does not"):
        check_same_model(tmp_path / "early", tmp_path / "late")


def test_other_layers_are_no_vocabulary(tmp_path):
    """A tokenizer section excuses rows of tokens and nothing else."""
    make_checkpoint(tmp_path / "early", seed=0)
    make_checkpoint(tmp_path / "late", seed=0, config=tiny_llama(intermediate_size=48))
    with pytest.raises(WiseMergeError, match="must be checkpoints of one run"):
        check_same_model(tmp_path / "early", tmp_path / "late", ignore_vocabulary=True)


def test_shards_of_other_programs_come_with_a_remedy(tmp_path):
    """DeepSpeed leaves a script beside its shards that makes a model of them."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "zero_to_fp32.py").touch()
    with pytest.raises(WiseMergeError, match=r"no weights.*zero_to_fp32\.py"):
        read_headers(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["pytorch_model_fsdp_0/.metadata"], r"FSDP's .*`accelerate merge-weights \S+/pytorch_model_fsdp_0 \S+`"),
        (["pytorch_model_fsdp_1/__0_0.distcp"], r"`accelerate merge-weights \S+/pytorch_model_fsdp_1 \S+`"),
        (["__0_0.distcp", "__1_0.distcp", ".metadata"], r"`accelerate merge-weights"),
        (["pytorch_model_fsdp.bin"], r"name it pytorch_model\.bin"),
        (["zero_to_fp32.py"], r"zero_to_fp32\.py"),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            r"2 files such as model-00001.*no index",
        ),
        (["pytorch_model-00001-of-00002.bin"], r"no index.*copy pytorch_model\.bin\.index\.json"),
        (["consolidated.safetensors", "training_args.bin"], r"consolidated\.safetensors has none of these names"),
    ],
)
def test_weights_in_other_forms_come_with_a_remedy(files, message, tmp_path):
    """With a config or, as FSDP and DeepSpeed leave them, without."""
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    if "consolidated.safetensors" not in files and "model-00001" not in files[0]:
        with pytest.raises(WiseMergeError, match=f"no config.*{message}"):
            read_config(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WiseMergeError, match=f"no weights.*{message}"):
        read_headers(tmp_path)


def test_an_empty_folder_is_called_empty(tmp_path):
    """Such as a mount point of which nothing is mounted."""
    with pytest.raises(WiseMergeError, match="the folder is empty"):
        read_config(tmp_path)


def test_a_quantised_checkpoint_is_called_quantised_whichever_it_is(tiny_run, tmp_path):
    """Its tensors have other names and shapes, which are not the fault."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_run, tmp_path / "run")
    folders = [tmp_path / "run" / f"checkpoint-{number}" for number in (1, 2)]
    config = json.loads((folders[1] / "config.json").read_text())
    (folders[1] / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    tensors = load_file(folders[1] / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.qweight"] = tensors.pop("model.layers.0.mlp.up_proj.weight")
    save_file(tensors, folders[1] / "model.safetensors", metadata={"format": "pt"})
    for pair in (folders, folders[::-1]):
        with pytest.raises(WiseMergeError, match=r"checkpoint-2 is quantised"):
            check_same_model(*pair)
