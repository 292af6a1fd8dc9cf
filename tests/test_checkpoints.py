"""Reading configs and headers without reading weights."""

import json
import shutil

import pytest
from conftest import make_checkpoint, tiny_llama

from wise_merge.checkpoints import check_same_model, read_config, read_headers
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
