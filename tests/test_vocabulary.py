"""Tokens of two checkpoints, compared by number."""

import json

import pytest
from support.checkpoints import character_tokenizer

from wise_merge.checkpoints.vocabulary import compare_tokens, has_tokenizer, token_ids
from wise_merge.errors import WiseMergeError


def saved(directory, *added):
    """Save a tokenizer with further tokens."""
    tokenizer = character_tokenizer()
    tokenizer.add_tokens(list(added))
    tokenizer.save_pretrained(directory)
    return directory


def test_ids_are_those_of_transformers(tmp_path):
    """Added tokens among them."""
    from transformers import AutoTokenizer

    saved(tmp_path, "<think>", "</think>")
    assert token_ids(tmp_path) == AutoTokenizer.from_pretrained(tmp_path).get_vocab()


@pytest.mark.parametrize("kind", ["Unigram", "BPE"])
def test_other_kinds_of_tokenizers_are_read(kind, tmp_path):
    """Unigram stores a list of tokens and scores, BPE a map."""
    from tokenizers import Tokenizer, models

    vocabulary = [("<unk>", 0.0), ("a", -1.0), ("b", -2.0)]
    model = (
        models.Unigram(vocabulary, unk_id=0)
        if kind == "Unigram"
        else models.BPE({token: number for number, (token, _) in enumerate(vocabulary)}, [])
    )
    backend = Tokenizer(model)
    backend.add_tokens(["<new>"])
    backend.save(str(tmp_path / "tokenizer.json"))
    assert token_ids(tmp_path) == backend.get_vocab() == {"<unk>": 0, "a": 1, "b": 2, "<new>": 3}


def test_older_files_are_read(tmp_path):
    """vocab.json and added_tokens.json of slow tokenizers; what has neither is unknown."""
    assert token_ids(tmp_path) is None
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<new>": 1}))
    assert token_ids(tmp_path) == {"a": 0, "<new>": 1}


def test_equal_tokens_pass(tmp_path):
    """The negative control, with files that are not equal byte by byte."""
    early, late = saved(tmp_path / "early", "<a>"), saved(tmp_path / "late", "<a>")
    file = late / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=None))
    assert file.read_bytes() != (early / "tokenizer.json").read_bytes()
    assert compare_tokens(early, late) == []


def test_one_token_with_two_numbers_is_an_error(tmp_path):
    """The same tokens, added in another order: the first is named."""
    early, late = saved(tmp_path / "early", "<a>", "<b>"), saved(tmp_path / "late", "<b>", "<a>")
    with pytest.raises(WiseMergeError, match=r"token '<a>' is number 99 in .*early but 100 in .*late.*source: union"):
        compare_tokens(early, late)


def test_a_token_of_one_checkpoint_is_a_warning(tmp_path):
    """Embeddings may have rows to spare, so that shapes do not tell."""
    early, late = saved(tmp_path / "early"), saved(tmp_path / "late", "<a>", "<b>")
    (warning,) = compare_tokens(early, late)
    assert "'<a>' (number 99) and 1 more" in warning
    assert f"unknown to {early}" in warning


@pytest.mark.parametrize(
    ("files", "has"),
    [
        ({}, False),
        ({"tokenizer_config.json": "{}"}, False),
        ({"tokenizer_config.json": '{"tokenizer_class": "LlamaTokenizer"}', "merges.txt": ""}, False),
        ({"tokenizer_config.json": '{"tokenizer_class": "ByT5Tokenizer"}'}, True),
        ({"tokenizer_config.json": '{"auto_map": {"AutoTokenizer": ["own.Own", null]}}'}, True),
        *(
            ({name: ""}, True)
            for name in ("tokenizer.json", "tokenizer.model", "vocab.txt", "tekken.json", "q.tiktoken")
        ),
    ],
)
def test_a_tokenizer_is_a_vocabulary_or_needs_none(files, has, tmp_path):
    """Its settings alone are no tokenizer, but of those of bytes and of code."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert has_tokenizer(tmp_path) is has
