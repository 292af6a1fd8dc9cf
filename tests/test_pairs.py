"""What is odd about a pair: equal weights, swapped roles, different runs."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import make_checkpoint

from wise_merge.checkpoints.equality import same_weights
from wise_merge.checkpoints.folder import step_of
from wise_merge.checkpoints.pairs import first_disagreement, pair_warnings


def state(directory, step, losses=()):
    """Write trainer_state.json with a step and logged losses."""
    log = [{"step": at, "loss": loss} for at, loss in losses]
    (directory / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": log}))


@pytest.fixture
def pair(tmp_path, tiny_run):
    """A copy of the run that may be changed."""
    for name in ("checkpoint-1", "checkpoint-2"):
        shutil.copytree(tiny_run / name, tmp_path / name)
    return tmp_path / "checkpoint-1", tmp_path / "checkpoint-2"


def test_an_ordinary_pair_gives_no_warning(pair):
    """The negative control: other weights, steps in order, one log."""
    early, late = pair
    state(early, 1, [(1, 2.0)])
    state(late, 2, [(1, 2.0), (2, 1.0)])
    assert pair_warnings(early, late) == []


def test_equal_weights_are_named_with_both_steps(pair):
    """A copy of the early checkpoint in the late one's place."""
    early, late = pair
    shutil.copy(early / "model.safetensors", late)
    state(early, 25)
    state(late, 600)
    (warning,) = pair_warnings(early, late)
    assert "same weights" in warning
    assert "checkpoint-1 (step 25)" in warning
    assert "checkpoint-2 (step 600)" in warning


def test_links_to_one_file_are_the_same_without_reading_it(pair, tmp_path):
    """Hard and symbolic links, even to a file that cannot be parsed."""
    early, late = pair
    (early / "model.safetensors").write_bytes(b"nothing to read here")
    for link in (os.link, os.symlink):
        (late / "model.safetensors").unlink()
        link(early / "model.safetensors", late / "model.safetensors")
        assert same_weights(early, late)


@pytest.mark.parametrize("place", [0, -1])
def test_one_bit_makes_the_difference(place, pair):
    """In the first or the last byte of a tensor."""
    early, late = pair
    tensors = load_file(early / "model.safetensors")
    save_file(tensors, late / "model.safetensors", metadata={"format": "pt", "note": "other bytes in the header"})
    assert same_weights(early, late) is True
    raw = tensors["model.norm.weight"].view(torch.uint8)
    raw[place] ^= 1
    save_file(tensors, late / "model.safetensors")
    assert same_weights(early, late) is False


def test_the_split_into_files_does_not_matter(tmp_path):
    """One file against shards; other dtypes are other weights."""
    make_checkpoint(tmp_path / "single", seed=0)
    make_checkpoint(tmp_path / "sharded", seed=0, max_shard_size="20kB")
    make_checkpoint(tmp_path / "narrow", seed=0, dtype="bfloat16")
    assert same_weights(tmp_path / "single", tmp_path / "sharded") is True
    assert same_weights(tmp_path / "single", tmp_path / "narrow") is False


def test_pickled_files_can_only_be_told_equal(pair):
    """Bytes of a pickle may differ although the tensors agree."""
    early, late = pair
    for folder, source in ((early, early), (late, early)):
        torch.save(load_file(source / "model.safetensors"), folder / "pytorch_model.bin")
    assert same_weights(early, late) is False  # safetensors come first
    for folder in pair:
        (folder / "model.safetensors").unlink()
    assert same_weights(early, late) is True
    torch.save({"other": torch.zeros(1)}, late / "pytorch_model.bin")
    assert same_weights(early, late) is None


def test_swapped_roles_are_named(pair):
    """By trainer_state.json, and by the names of the folders where there is none."""
    early, late = pair
    (warning,) = pair_warnings(late, early)
    assert "swapped" in warning
    assert "step 2" in warning
    assert "step 1" in warning
    state(early, 600)
    state(late, 25)
    (warning,) = pair_warnings(early, late)
    assert "swapped" in warning
    assert "step 600" in warning
    assert "step 25" in warning


def test_different_runs_are_told_by_their_logs(pair):
    """The first step with two losses is named; steps of one log alone and NaN in both say nothing."""
    early, late = pair
    nan = float("nan")
    state(early, 20, [(5, nan), (10, 2.0), (20, 1.5)])
    state(late, 40, [(5, nan), (10, 2.0), (20, 1.25), (40, 1.0)])
    (warning,) = pair_warnings(early, late)
    assert "different runs" in warning
    assert "step 20" in warning
    assert "1.5" in warning
    assert "1.25" in warning
    assert first_disagreement({}, json.loads((late / "trainer_state.json").read_text())) is None


@pytest.mark.parametrize(
    ("name", "step"), [("checkpoint-25", 25), ("step_7", 7), ("global_step50", 50), ("epoch_3", None), ("base", None)]
)
def test_steps_are_read_from_names(name, step, tmp_path):
    """Only where the folder has no trainer_state.json."""
    assert step_of(tmp_path / name, {}) == step
    assert step_of(tmp_path / name, {"global_step": 9}) == 9
