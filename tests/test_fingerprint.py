"""Fingerprints of weights: the same for the same, another for anything else."""

import hashlib
import os
import shutil

import pytest
import torch
from torch import nn

from wise_merge.checkpoints import fingerprint
from wise_merge.errors import WiseMergeError

DTYPES = [
    getattr(torch, name)
    for name in ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8", "uint8", "bool")
    if hasattr(torch, name)
]


class Weights(nn.Module):
    """A module that holds these tensors under these names, in this order."""

    def __init__(self, **tensors):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def of(**tensors):
    return fingerprint.of_module(Weights(**tensors))


def flipped(tensor, bit):
    """A copy with one bit changed."""
    copy = tensor.clone()
    raw = copy.reshape(-1).view(torch.uint8)
    raw[bit // 8] ^= 1 << bit % 8
    return copy


def numbers(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_bit_makes_another_fingerprint(dtype):
    """Of any dtype, wherever the bit is; a copy keeps it."""
    weight = (10 * numbers(3, 4)).to(dtype)
    whole = of(weight=weight)
    assert whole == of(weight=weight.clone())
    bits = [0] if dtype == torch.bool else range(0, 8 * weight.nbytes, 5)
    changed = [of(weight=flipped(weight, bit)) for bit in bits]
    assert len({whole, *changed}) == 1 + len(changed)


def test_names_shapes_and_dtypes_count():
    """The same bytes under another name, of another shape or dtype, and swapped between two names, are others."""
    a, b = numbers(4), 2 * numbers(4)
    found = [
        of(a=a, b=b),
        of(a=b, b=a),
        of(a=a, c=b),
        of(a=a.reshape(2, 2), b=b),
        of(a=a.view(torch.int32), b=b),
        of(a=a),
        of(ab=torch.cat([a, b])),
        of(),
    ]
    assert len(set(found)) == len(found)


def test_the_order_of_names_does_not_count():
    """Nor does the layout in memory."""
    a, b = numbers(4, 3), numbers(5)
    assert of(a=a, b=b) == of(b=b, a=a)
    assert of(a=a, b=b) == of(a=a.T.contiguous().T, b=torch.stack([b, b], 1)[:, 0])


def test_zero_and_minus_zero_differ_and_not_a_number_equals_itself():
    """It is bytes that are compared, not numbers."""
    assert of(a=torch.tensor(0.0)) != of(a=torch.tensor(-0.0))
    assert of(a=torch.tensor(torch.nan)) == of(a=torch.tensor(torch.nan))


def test_empty_tensors_and_scalars_have_a_fingerprint():
    """Also a module without any."""
    assert len({of(a=torch.empty(0, 3)), of(a=torch.empty(3, 0)), of(a=torch.tensor(3)), of(a=torch.tensor([3]))}) == 4


def test_tied_weights_are_those_of_the_model(tiny_run):
    """A model read twice has one fingerprint, tied or not; training one step makes another."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_run / "checkpoint-1")
    again = AutoModelForCausalLM.from_pretrained(tiny_run / "checkpoint-1")
    other = AutoModelForCausalLM.from_pretrained(tiny_run / "checkpoint-2")
    whole = fingerprint.of_module(model)
    assert len(whole) == 32
    assert fingerprint.of_module(again) == whole
    assert fingerprint.of_module(other) != whole
    again.set_output_embeddings(again.get_input_embeddings())
    tied = fingerprint.of_module(again)
    with torch.no_grad():
        again.get_input_embeddings().weight[0, 0] += 1
    assert len({whole, tied, fingerprint.of_module(again)}) == 3


def test_nothing_of_the_module_changes():
    """Devices, dtypes, gradients and values stay."""
    module = nn.Linear(3, 2).to(torch.bfloat16)
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    fingerprint.of_module(module)
    assert all(torch.equal(before[name], weight) for name, weight in module.state_dict().items())
    assert all(weight.requires_grad and weight.dtype == torch.bfloat16 for weight in module.parameters())


def test_weights_that_are_not_in_memory_are_refused():
    """As with offloading: two such models could not be told apart."""
    with pytest.raises(WiseMergeError, match=r"weight and 1 further weights are not in memory"):
        fingerprint.of_module(nn.Linear(3, 2, device="meta"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_device_does_not_count():
    """On a GPU it is the same."""
    module = nn.Linear(3, 2)
    assert fingerprint.of_module(module) == fingerprint.of_module(module.to("cuda"))


# --- stored weights ---------------------------------------------------------------------------------


def test_stored_weights_are_the_same_however_they_are_split_and_whatever_lies_beside(tiny_run, tmp_path):
    """Shards and torch's own format, another tokenizer, other settings; another checkpoint of the run has others."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    checkpoint = tiny_run / "checkpoint-1"
    whole = fingerprint.of_weights(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    torch.save(load_file(checkpoint / "model.safetensors"), pickled / "pytorch_model.bin")
    assert fingerprint.of_weights(tmp_path / "sharded") == fingerprint.of_weights(pickled) == whole
    assert len(whole) == 32
    assert fingerprint.of_weights(tiny_run / "checkpoint-2") != whole


def test_one_bit_and_one_name_make_other_stored_weights(folder):
    """The bit of one weight, and two tensors of one shape that changed places."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    found = {fingerprint.of_weights(folder)}
    name = min(weights)
    save_file({**weights, name: flipped(weights[name], 1)}, path, metadata={"format": "pt"})
    found.add(fingerprint.of_weights(folder))
    one, other = (f"model.layers.0.self_attn.{part}_proj.weight" for part in "kv")
    assert weights[one].shape == weights[other].shape
    save_file({**weights, one: weights[other], other: weights[one]}, path, metadata={"format": "pt"})
    found.add(fingerprint.of_weights(folder))
    assert len(found) == 3


# --- folders ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tiny_run, tmp_path):
    return shutil.copytree(tiny_run / "checkpoint-1", tmp_path / "copy")


def test_a_copy_elsewhere_is_the_same_checkpoint(tiny_run, folder):
    """Names of folders and dates do not count."""
    for file in folder.iterdir():
        os.utime(file, (0, 0))
    assert fingerprint.of_folder(folder) == fingerprint.of_folder(tiny_run / "checkpoint-1")
    assert fingerprint.of_folder(folder) != fingerprint.of_folder(tiny_run / "checkpoint-2")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"])
def test_a_changed_weight_tokenizer_or_setting_is_another_checkpoint(folder, name):
    """One byte is enough; so is another name, and one file more or less."""
    whole = fingerprint.of_folder(folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    changed = fingerprint.of_folder(folder)
    (folder / name).rename(folder / f"other-{name}")
    renamed = fingerprint.of_folder(folder)
    (folder / f"other-{name}").unlink()
    assert len({whole, changed, renamed, fingerprint.of_folder(folder)}) == 4


@pytest.mark.parametrize("name", ["chat_template.jinja", "adapter_model.bin", "vocab.txt", "modeling_own.py"])
def test_a_file_that_samples_depend_on_counts(folder, name):
    """A chat template, an adapter, a vocabulary, code of the model's own."""
    whole = fingerprint.of_folder(folder)
    (folder / name).write_text("x")
    assert fingerprint.of_folder(folder) != whole


def test_what_training_and_evaluation_leave_is_passed_over(folder):
    """Optimizer, scheduler, random states, logs, results, pictures and folders within."""
    whole = fingerprint.of_folder(folder)
    for name in (
        *("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "rng_state_0.pt", "trainer_state.json"),
        *("training_args.bin", "README.md", "readme.txt", "LICENSE.txt", "all_results.json", "mergekit_config.yml"),
        *("results_2026-11-21T10-00-00.json", "samples_gsm8k.jsonl", "loss.png", ".gitattributes"),
    ):
        (folder / name).write_text(name)
    (folder / "global_step600").mkdir()
    (folder / "global_step600" / "model.pt").write_text("x")
    (folder / "onnx.json").mkdir()
    assert fingerprint.of_folder(folder) == whole


def test_links_are_followed(folder, tmp_path):
    """The Hub's cache keeps files under their hashes and links to them."""
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for number, file in enumerate(folder.iterdir()):
        blob = file.rename(tmp_path / f"blob-{number}")
        (snapshot / file.name).symlink_to(blob)
    shutil.copytree(snapshot, folder, dirs_exist_ok=True)
    assert fingerprint.of_folder(snapshot) == fingerprint.of_folder(folder)


@pytest.mark.parametrize("what", ["missing", "empty", "a file", "a dangling link"])
def test_a_place_without_a_checkpoint_is_refused(tmp_path, what):
    """In one line with its name."""
    place = tmp_path / "place"
    if what == "empty":
        place.mkdir()
    elif what == "a file":
        place.touch()
    elif what == "a dangling link":
        place.mkdir()
        (place / "model.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(WiseMergeError, match=str(place)):
        fingerprint.of_folder(place)


@pytest.mark.parametrize("size", [0, 1, 6, 7, 8, 14, 20])
def test_the_sum_of_a_file_does_not_depend_on_how_much_is_read_at_once(size, tmp_path, monkeypatch):
    """Empty, shorter than a piece, whole pieces, and a rest."""
    monkeypatch.setattr(fingerprint, "_CHUNK", 7)
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert fingerprint.file_sha256(tmp_path / "file") == hashlib.sha256(content).digest()
