"""Signatures added to a model and taken off again: the formula, in every place where a method can be used."""

import json
import re
import shutil
from fractions import Fraction

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import make_checkpoint, tiny_llama
from support.merges import assert_same_weights
from support.merges import merge as by_mergekit
from support.merges import run as by_wise_merge

from wise_merge.kernels.signatures import added, dequantised, quantised
from wise_merge.recipes.models import Ingredients
from wise_merge.tensor_files.contents import read_contents, write
from wise_merge.tensor_files.stored import ScaledTensor
from wise_merge.tensors.in_memory import OpenCheckpoint, OpenModels

#: Of which no file has a signature.
UNTOUCHED = ("model.norm.weight", "lm_head.weight")


def write_signature(path, model, *, seed, numbers="float16", change=None, **metadata):
    """A signature for a model, of random numbers as large as its weights; in int8 with random scales.

    `numbers` is their dtype, and what the file says of it unless `metadata` has another one.
    """
    drawn = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in load_file(model / "model.safetensors").items():
        if name in UNTOUCHED:
            continue
        if numbers == "int8":
            tensors[name] = torch.randint(-127, 128, tensor.shape, generator=drawn).to(torch.int8)
            tensors[f"{name}.scale"] = torch.rand((*tensor.shape[:-1], 1), generator=drawn) / 500
        else:
            tensors[name] = (0.1 * torch.randn(tensor.shape, generator=drawn)).to(getattr(torch, numbers))
    if change:
        change(tensors)
    facts = {"architecture": "LlamaForCausalLM", "tied": "false", "dtype": numbers, **metadata}
    write(path, facts.pop("kind", "signature"), tensors, facts)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model in bfloat16 and a signature in each dtype."""
    folder = tmp_path_factory.mktemp("signatures")
    make_checkpoint(folder / "model", seed=0, dtype="bfloat16")
    for seed, dtype in enumerate(("float16", "int8", "float32")):
        write_signature(folder / f"{dtype}.safetensors", folder / "model", seed=seed, numbers=dtype)
    return folder


def recipe(place, *, model=None, **parameters):
    """For the model with signatures, given as dtypes of the files or as paths."""
    for name, value in parameters.items():
        if name.startswith("signature") and (place / f"{value}.safetensors").exists():
            parameters[name] = str(place / f"{value}.safetensors")
    return {
        "merge_method": "weight_signature",
        "models": [{"model": str(model or place / "model")}],
        "parameters": parameters,
    }


def exact(path):
    """What a file says, in float64."""
    stored = load_file(path)
    scaled = {name: stored[f"{name}.scale"].double() for name in stored if f"{name}.scale" in stored}
    return {name: stored[name].double() * scaled.get(name, 1) for name in stored if not name.endswith(".scale")}


def refusal(recipe, folder):
    """The one line with which both commands refuse a recipe; neither writes anything."""
    done = by_wise_merge(recipe, folder / "ours")
    assert done.exit_code == 1, done.output
    assert not (folder / "ours").exists()
    (line,) = done.output.strip().splitlines()
    theirs = by_mergekit(recipe, folder / "theirs")
    assert theirs.exit_code == 1, theirs.output
    assert not list((folder / "theirs").glob("*.safetensors"))
    return line, theirs.output


# --- arithmetic -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_sum_is_off_by_one_rounding_at_most(dtype):
    """Against fractions, which round nothing."""
    drawn = torch.Generator().manual_seed(3)
    tensor = torch.randn(300, generator=drawn).to(dtype)
    signatures = [torch.randn(300, generator=drawn).half(), torch.randn(300, generator=drawn)]
    strengths = (0.3, -1.7)
    found = added(tensor, list(zip(signatures, strengths, strict=True)))
    assert found.dtype == dtype
    bound = Fraction(3, 2**22 if dtype.itemsize == 2 else 2**50)
    for out, start, *parts in zip(*(one.tolist() for one in (found, tensor, *signatures)), strict=True):
        terms = [Fraction(start)] + [Fraction(k) * Fraction(part) for k, part in zip(strengths, parts, strict=True)]
        one = torch.tensor(out, dtype=dtype)
        up, down = (torch.nextafter(one, torch.tensor(sign * torch.inf, dtype=dtype)).item() for sign in (1, -1))
        half = max(Fraction(up) - Fraction(out), Fraction(out) - Fraction(down)) / 2
        assert abs(Fraction(out) - sum(terms)) <= half + bound * max(map(abs, terms))


def test_strength_0_leaves_every_bit():
    """The sign of zero, too, and whatever the signature holds; the negative control is another strength."""
    tensor = torch.tensor([-0.0, 1.0, -2.5]).bfloat16()
    nothing = torch.full((3,), torch.nan)
    for signatures in ([], [(nothing, 0.0)]):
        assert torch.equal(added(tensor, signatures).view(torch.int16), tensor.view(torch.int16))
    assert not torch.equal(added(tensor, [(torch.ones(3), 0.5)]), tensor)


def test_large_tensors_are_added_in_blocks(monkeypatch):
    """The same bits in one block and in many."""
    drawn = torch.Generator().manual_seed(0)
    tensor, one, other = torch.randn(3, 70_001, generator=drawn).bfloat16()
    whole = added(tensor, [(one, 0.5), (other, -3.0)])
    monkeypatch.setattr("wise_merge.kernels.blocks.BLOCK", 1 << 10)
    assert torch.equal(whole, added(tensor, [(one, 0.5), (other, -3.0)]))


def test_int8_is_off_by_half_a_step_of_its_row():
    """The largest number of a row becomes 127 steps, 0 stays 0, and a row of zeros has no scale."""
    drawn = torch.Generator().manual_seed(1)
    rows = torch.randn(6, 50, generator=drawn, dtype=torch.float64) * 10.0 ** torch.arange(-6, 6, 2)[:, None]
    rows[3] = 0
    rows[:, 7] = 0
    numbers, scale = quantised(rows)
    assert (numbers.dtype, scale.dtype, tuple(scale.shape)) == (torch.int8, torch.float32, (6, 1))
    assert [abs(row).max().item() for row in numbers.int()] == [127, 127, 127, 0, 127, 127]
    assert not numbers[:, 7].any()
    assert scale[3] == 0
    # Half a step, and the rounding of the scale to float32 at up to 127 steps.
    assert ((dequantised(numbers, scale).double() - rows).abs() <= scale.double() * (0.5 + 127 * 2**-22)).all()


def test_numbers_that_no_float32_holds_are_no_numbers_in_int8():
    """Not 0 / 0."""
    numbers, scale = quantised(torch.full((1, 3), 1e-60, dtype=torch.float64))
    assert not numbers.any()
    assert scale == 0


def test_a_part_of_an_int8_tensor_is_that_part_of_the_whole(place):
    """Whether it begins and ends within a row or not."""
    contents = read_contents(place / "int8.safetensors", "signature")
    name = "model.layers.0.mlp.up_proj.weight"
    tensor = ScaledTensor(contents, name, f"{name}.scale")
    whole = tensor.read(None, 0)
    assert torch.equal(whole.double(), exact(place / "int8.safetensors")[name].float().double())
    for start, count in ((0, 1), (0, 32), (5, 20), (30, 3), (31, 100), (64, 64), (0, whole.numel()), (2047, 1)):
        assert torch.equal(tensor.read(start, count), whole.reshape(-1)[start : start + count])


# --- merges -----------------------------------------------------------------------------------------

LAYERS = [{"filter": "mlp", "value": [0.2, 0.8]}, {"value": -0.5}]


def strength_of(name, setting):
    """What `LAYERS` says of a tensor of two layers, by hand."""
    if not isinstance(setting, list):
        return setting
    return (0.8 if ".1." in name else 0.2) if "mlp" in name else -0.5


@pytest.mark.parametrize(
    ("parameters", "more"),
    [
        ({"signature": "float16", "strength": 0.5}, {}),
        ({"signature": "int8", "strength": LAYERS}, {}),
        ({"signature": "float32", "strength": 1, "signature_3": "int8", "strength_3": -2}, {"dtype": "float32"}),
        ({"signature": "int8", "strength": 0.5, "signature_2": "float16", "strength_2": LAYERS}, {"dtype": "float16"}),
    ],
    ids=["float16", "int8", "two of them", "by layer"],
)
def test_the_merge_is_the_formula_in_both_hosts(parameters, more, place, tmp_path):
    """`wise-merge merge` writes that of float64, rounded, and `mergekit-yaml` the same bits; the rest stays."""
    asked = recipe(place, **parameters) | more
    done = by_wise_merge(asked, tmp_path / "out")
    assert done.exit_code == 0, done.output
    before, after = load_file(place / "model/model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    for name, tensor in after.items():
        if name in UNTOUCHED:
            assert torch.equal(tensor, before[name].to(tensor.dtype))
            continue
        terms = [before[name].double()]
        for number in ("", "_2", "_3"):
            if f"signature{number}" in parameters:
                strength = strength_of(name, parameters[f"strength{number}"])
                terms.append(strength * exact(place / f"{parameters[f'signature{number}']}.safetensors")[name])
        largest = torch.stack(terms).abs().amax(0)
        spacing = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 2**-24}[tensor.dtype]
        # Near 0 float16 has a spacing of 2^-24, to which the model is rounded before, and the result after.
        least = 2**-24 if tensor.dtype == torch.float16 else 0
        # Half the spacing of the result, and what float32 arithmetic (or scales in float32) add where terms cancel.
        allowed = spacing * sum(terms).abs() + 2**-21 * largest + least
        assert ((tensor.double() - sum(terms)).abs() <= allowed).all(), name
    assert by_mergekit(asked, tmp_path / "mergekit").exit_code == 0
    assert_same_weights(tmp_path / "out", tmp_path / "mergekit")


def test_the_record_names_the_files(place, tmp_path):
    """With their hashes, as it does the model's; and --force deletes none of them."""
    shutil.copy(place / "float16.safetensors", tmp_path)
    asked = recipe(tmp_path, model=place / "model", signature="float16", strength=1)
    assert by_wise_merge(asked, tmp_path / "out").exit_code == 0
    (entry,) = json.loads((tmp_path / "out/wise_merge.json").read_text())["parameter_files"]
    assert entry["file"] == str(tmp_path / "float16.safetensors")
    assert entry["bytes"] == (tmp_path / "float16.safetensors").stat().st_size
    shutil.move(tmp_path / "float16.safetensors", tmp_path / "out")
    asked["parameters"]["signature"] = str(tmp_path / "out/float16.safetensors")
    assert "--force would delete" in by_wise_merge(asked, tmp_path / "out", "--force").output


def test_blocks_of_a_stream_begin_anywhere_in_a_row(place, tmp_path, monkeypatch):
    """The same bits with blocks of 50 elements as with whole tensors."""
    asked = recipe(place, signature="int8", strength=0.7)
    assert by_wise_merge(asked, tmp_path / "whole").exit_code == 0
    monkeypatch.setattr("wise_merge.merge.stream._BLOCK_OF_MANY", 50)
    monkeypatch.setattr("wise_merge.merge.stream._PORTION", 375)
    # The buffers of a thread are as large as its first block.
    monkeypatch.setattr("wise_merge.merge.stream._of_this_thread", __import__("threading").local())
    assert by_wise_merge(asked, tmp_path / "blocks").exit_code == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "blocks")


def test_a_running_engine_gets_the_same_bits(place, tmp_path):
    """Strengths are points of a sweep: the weights in memory are replaced by one merge after the other."""
    name = str(place / "model")
    models = OpenModels([OpenCheckpoint(place / "model")], Ingredients(None, (name,)))
    places = {one: torch.empty_like(tensor) for one, tensor in load_file(place / "model/model.safetensors").items()}
    for number, strength in enumerate((0.5, -0.25)):
        asked = recipe(place, signature="int8", strength=strength)
        models.merge_into(asked, places.get)
        assert by_wise_merge(asked, tmp_path / str(number)).exit_code == 0
        written = load_file(tmp_path / str(number) / "model.safetensors")
        assert all(torch.equal(places[one], tensor) for one, tensor in written.items())


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_taking_off_again_gives_the_model_back(dtype, place, tmp_path):
    """In bfloat16 within one rounding for each of the two merges; through a sum that float32 holds, bit for bit."""
    before = load_file(place / "model/model.safetensors")
    signature = exact(place / f"{dtype}.safetensors")
    for kind in ("bfloat16", "float32"):
        on = recipe(place, signature=dtype, strength=0.5) | {"dtype": kind}
        assert by_wise_merge(on, tmp_path / f"on-{kind}").exit_code == 0
        off = recipe(place, model=tmp_path / f"on-{kind}", signature=dtype, strength=-0.5)
        off |= {"dtype": kind, "out_dtype": "bfloat16"}
        assert by_wise_merge(off, tmp_path / f"off-{kind}").exit_code == 0
    narrow, wide = (load_file(tmp_path / f"off-{kind}/model.safetensors") for kind in ("bfloat16", "float32"))
    held = 0
    for name, tensor in before.items():
        if name in UNTOUCHED:
            assert torch.equal(narrow[name], tensor)
            continue
        total = tensor.double() + 0.5 * signature[name]
        rounding = 2**-8 * (total.abs() + tensor.double().abs()) + 2**-20 * signature[name].abs()
        assert ((narrow[name].double() - tensor.double()).abs() <= rounding).all()
        exactly = total.float().double() == total
        held += int(exactly.sum())
        assert torch.equal(wide[name][exactly], tensor[exactly])
    assert held > (10_000 if dtype == "float16" else 100)
    assert any(not torch.equal(narrow[name], tensor) for name, tensor in before.items())


# --- what is refused --------------------------------------------------------------------------------


def _other_tensor(tensors):
    tensors["model.layers.7.mlp.up_proj.weight"] = tensors.pop("model.layers.1.mlp.up_proj.weight")


def _other_shape(tensors):
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(96, 32, dtype=torch.float16)


def _nan(tensors):
    tensors["model.layers.0.mlp.up_proj.weight"][3, 4] = torch.nan


def _infinite(tensors):
    tensors["model.layers.0.mlp.up_proj.weight"][3, 4] = -torch.inf


def _no_scale(tensors):
    del tensors["model.layers.0.mlp.up_proj.weight.scale"]


def _scale_of_columns(tensors):
    tensors["model.layers.0.mlp.up_proj.weight.scale"] = torch.ones(32, 1)


@pytest.mark.parametrize(
    ("change", "metadata", "message"),
    [
        (None, {"architecture": "Qwen3ForCausalLM"}, "is of Qwen3ForCausalLM, and .*model is LlamaForCausalLM; take"),
        (_other_tensor, {}, "has tensor model.layers.7.mlp.up_proj.weight, which .*model has not"),
        (_other_shape, {}, r"up_proj.weight of .* has shape \(96, 32\), and \(64, 32\) in .*model; take one of this"),
        (_nan, {}, "tensor model.layers.0.mlp.up_proj.weight of the signature .* contains nan; extract or copy"),
        (_infinite, {}, "tensor model.layers.0.mlp.up_proj.weight of the signature .* contains -inf"),
        (None, {"kind": "fisher"}, "is to be a signature file, and is one of fisher; `wise-merge signature extract`"),
        (None, {"dtype": "float32"}, "says that it is in float32, and its tensor .* is not as that has it"),
        (None, {"tied": "true"}, "was taken with an LM head that is tied to the embeddings .* has it apart"),
        (_no_scale, {"numbers": "int8"}, "says that it is in int8, and its tensor .*up_proj.weight.scale is not"),
        (
            _scale_of_columns,
            {"numbers": "int8"},
            "up_proj.weight.scale of the signature .* has not a scale for each row",
        ),
    ],
)
def test_files_of_something_else_are_refused(change, metadata, message, place, tmp_path):
    """In one line, before anything is written."""
    path = write_signature(tmp_path / "bad.safetensors", place / "model", seed=0, change=change, **metadata)
    for said in refusal(recipe(place, signature=str(path), strength=1), tmp_path):
        assert re.search(message, said), said


@pytest.mark.parametrize(
    ("parameters", "more", "message"),
    [
        ({"strength": 1}, {}, "signature is missing"),
        (
            {"signature": "float16"},
            {},
            "strength is missing; set it at the top level, such as",
        ),
        ({"signature": "float16", "strength": [{"filter": "mlp", "value": 1}]}, {}, "has values for some tensors only"),
        ({"signature": "float16", "strength": "inf"}, {}, "strength must be a finite number"),
        ({"signature": "float16", "strength": 1, "signature_2": "int8"}, {}, "strength_2 is missing"),
        ({"signature": "float16", "strength": 1, "strength_2": 1}, {}, "strength_2 is given and signature_2, the file"),
        ({"signature": "float16", "strength": 1, "signature_2": ["int8"], "strength_2": 1}, {}, "must be one path"),
        ({"signature": "nowhere.safetensors", "strength": 1}, {}, "the signature file nowhere.safetensors cannot be"),
        ({"signature": "float16", "strength": 1}, {"base_model": "model"}, "weight_signature takes none; leave it out"),
        ({"signature": "float16", "strength": 1}, {"models": [{"model": "a"}, {"model": "b"}]}, "changes one model"),
    ],
)
def test_recipes_that_cannot_be_meant_are_refused(parameters, more, message, place, tmp_path):
    """In one line, by both commands."""
    for said in refusal(recipe(place, **parameters) | more, tmp_path):
        assert message in said


# --- LM heads and names -----------------------------------------------------------------------------


def test_a_tied_head_that_is_stored_follows_the_embeddings(place, tmp_path):
    """Whether the model stores it or not, the merge has one head; of an untied model the head stays as it is."""
    tied = make_checkpoint(tmp_path / "tied", seed=5, config=tiny_llama(tie_word_embeddings=True), dtype="bfloat16")
    assert "lm_head.weight" not in load_file(tied / "model.safetensors")
    path = write_signature(tmp_path / "tied.safetensors", tied, seed=1, tied="true")
    shutil.copytree(tied, tmp_path / "stored")
    tensors = load_file(tied / "model.safetensors")
    head = {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
    save_file({**tensors, **head}, tmp_path / "stored/model.safetensors", metadata={"format": "pt"})
    found = []
    for model in ("tied", "stored"):
        asked = recipe(place, model=tmp_path / model, signature=str(path), strength=1)
        assert by_wise_merge(asked, tmp_path / f"{model}-out").exit_code == 0
        assert by_mergekit(asked, tmp_path / f"{model}-mergekit").exit_code == 0
        found += [load_file(tmp_path / f"{model}-{host}/model.safetensors") for host in ("out", "mergekit")]
    embeddings = found[0]["model.embed_tokens.weight"]
    assert not torch.equal(embeddings, tensors["model.embed_tokens.weight"])
    assert "lm_head.weight" in found[2]
    for one in found:
        assert torch.equal(one["model.embed_tokens.weight"], embeddings)
        assert torch.equal(one.get("lm_head.weight", embeddings), embeddings)


def test_names_that_mergekit_does_not_find_in_the_file_are_refused(tmp_path):
    """mergekit has other names for the tensors of a mixture; `wise-merge merge` goes by those of the files."""
    from transformers import MixtralConfig

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 99}
    config = MixtralConfig(**sizes, num_attention_heads=2, num_key_value_heads=2, num_local_experts=2)
    model = make_checkpoint(tmp_path / "model", seed=0, config=config, dtype="bfloat16")
    path = write_signature(tmp_path / "x.safetensors", model, seed=1, architecture="MixtralForCausalLM")
    asked = recipe(tmp_path, signature=str(path), strength=1)
    done = by_mergekit(asked, tmp_path / "mergekit")
    assert done.exit_code == 1
    assert "`wise-merge merge` goes by the names of the checkpoint's files" in done.output
    assert by_wise_merge(asked, tmp_path / "out").exit_code == 0
