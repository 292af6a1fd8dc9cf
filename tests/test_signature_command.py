"""`wise-merge signature extract` as typed: the formula, the choice of tensors, the table, and what it refuses."""

import math
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.adapters import make_adapter
from support.checkpoints import make_checkpoint, tiny_llama

from wise_merge.checkpoints import fingerprint
from wise_merge.cli import main

ROLES = ("robust", "clean", "base")
#: Of these layers the names are told apart below.
MLP, NORM, HEAD = "model.layers.1.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"
EMBEDDINGS = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three checkpoints; of two tensors, robust equals base or clean, and of one, clean equals base."""
    folder = tmp_path_factory.mktemp("extract")
    for seed, role in enumerate(ROLES):
        make_checkpoint(folder / role, seed=seed, dtype="bfloat16")
    rewrite(folder / "robust", lambda tensors: tensors.update({NORM: weights(folder / "base")[NORM]}))
    rewrite(folder / "robust", lambda tensors: tensors.update({HEAD: weights(folder / "clean")[HEAD]}))
    rewrite(folder / "clean", lambda tensors: tensors.update({MLP: weights(folder / "base")[MLP]}))
    return folder


def weights(model):
    return load_file(model / "model.safetensors")


def rewrite(model, change):
    """Change the weights of a model."""
    tensors = weights(model)
    change(tensors)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


def extract(folder, out, *options, **roles):
    """What the command gave for three checkpoints of a folder, or others by their roles."""
    named = [f"--{role}={roles.get(role, folder / role)}" for role in ROLES]
    return CliRunner().invoke(main, ["signature", "extract", *named, "--out", str(out), *options])


def by_hand(run):
    """The formula in numpy's float64, for each tensor that has a signature."""
    robust, clean, base = (
        {name: tensor.double().numpy() for name, tensor in weights(run / role).items()} for role in ROLES
    )
    found = {}
    for name in robust.keys() - {NORM, HEAD}:
        d_c, d_0 = robust[name] - base[name], clean[name] - base[name]
        square = np.vdot(d_0, d_0)
        found[name] = d_c - (np.vdot(d_c, d_0) / square if square else 0.0) * d_0
    return found


def test_the_signature_is_the_formula(run, tmp_path):
    """Off by the rounding of the file, orthogonal to clean - base; without that, it is robust - base as it is."""
    expected = by_hand(run)
    for dtype in ("float32", "float16", "int8"):
        done = extract(run, tmp_path / f"{dtype}.safetensors", "--dtype", dtype)
        assert done.exit_code == 0, done.output
        assert "19 tensors in " + dtype in done.output
        assert "2 tensors equal in robust and base or clean, without one" in done.output
        stored = load_file(tmp_path / f"{dtype}.safetensors")
        assert {name for name in stored if not name.endswith(".scale")} == expected.keys()
        for name, exact in expected.items():
            found = stored[name].double().numpy()
            if dtype == "int8":
                scale = stored[f"{name}.scale"].double().numpy()
                assert np.all(abs(found * scale - exact) <= 0.5001 * scale), name
                assert np.all(abs(found).max(-1) == 127)
            else:
                error = {"float32": 2**-24, "float16": 2**-11}[dtype] * abs(exact) + 2**-25
                assert np.all(abs(found - exact) <= error), name
    base, clean = weights(run / "base"), weights(run / "clean")
    for name, exact in expected.items():
        d_0 = (clean[name].double() - base[name].double()).numpy()
        assert abs(np.vdot(exact, d_0)) < 1e-12
        if name == MLP:
            assert not d_0.any()
            found = load_file(tmp_path / "float32.safetensors")[name]
            assert torch.equal(found, weights(run / "robust")[name] - base[name].float())


def test_the_table_has_sizes_norms_and_errors(run, tmp_path):
    """Of each group and of all, computed here from the files."""
    done = extract(run, tmp_path / "x.safetensors", "--layers", "0-1", "--only", "mlp", "--dtype", "int8")
    assert done.exit_code == 0, done.output
    lines = {line.split("  ")[0]: re.split(r"\s{2,}", line) for line in done.output.splitlines()}
    head = re.split(r"\s{2,}", next(line for line in done.output.splitlines() if "rounding error" in line).strip())
    mlp = dict(zip(head, lines["mlp"][1:], strict=True))
    every = dict(zip(head, lines["all"][1:], strict=True))
    robust, clean, base = ({n: t.double() for n, t in weights(run / role).items() if "mlp" in n} for role in ROLES)
    d_c, d_0 = (torch.cat([(one[n] - base[n]).flatten() for n in sorted(base)]) for one in (robust, clean))
    expected = by_hand(run)
    exact = torch.cat([torch.tensor(expected[n]).flatten() for n in sorted(base)])
    assert mlp["parameters"] == "12.29 k"
    assert float(mlp["change"]) == pytest.approx(float(d_c.norm()), rel=1e-3)
    assert float(mlp["cosine"]) == pytest.approx(float(d_c @ d_0 / d_c.norm() / d_0.norm()), abs=1e-4)
    removed = 1 - float(exact.square().sum() / d_c.square().sum())
    assert float(mlp["removed"][:-1]) == pytest.approx(100 * removed, abs=0.1)
    assert float(mlp["signature"]) == pytest.approx(float(exact.norm()), rel=1e-3)
    stored = load_file(tmp_path / "x.safetensors")
    products = torch.cat([(stored[n].double() * stored[f"{n}.scale"].double()).flatten() for n in sorted(base)])
    error = float((products - exact).norm() / exact.norm())
    assert 0.002 < error < 0.02
    assert float(mlp["rounding error"][:-1]) == pytest.approx(100 * error, abs=1e-3)
    # A byte for each element, four for each of the 2 * (64 + 64 + 32) rows; two bytes for each element of the model.
    assert (mlp["size"], mlp["full weights"]) == ("13.6 kB", "24.6 kB")
    assert (every["size"], every["full weights"]) == ("13.6 kB", "54.0 kB")
    assert "beside 54.0 kB of weights" in done.output


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--layers", "0"), r"\.layers\.0\."),
        (("--layers", "0-1"), r"\.layers\."),
        (("--layers", "embed_tokens, 1"), r"embed_tokens|\.layers\.1\."),
        (("--layers", "1", "--only", "mlp", "--only", "norm"), r"\.layers\.1\..*(mlp|norm)"),
        (("--only", "q_proj"), r"q_proj"),
    ],
)
def test_only_what_is_asked_for_is_taken(options, expected, run, tmp_path):
    """By numbers of layers and by names."""
    assert extract(run, tmp_path / "x.safetensors", *options).exit_code == 0
    wanted = {name for name in weights(run / "base") if re.search(expected, name)} - {NORM, HEAD}
    assert load_file(tmp_path / "x.safetensors").keys() == wanted


def test_the_file_says_where_it_comes_from(run, tmp_path):
    """The checkpoints with the digests of their weights; safetensors reads it, and everybody may."""
    assert extract(run, tmp_path / "x.safetensors").exit_code == 0
    with safe_open(tmp_path / "x.safetensors", framework="np") as file:
        facts = file.metadata()
    assert facts["kind"] == "signature"
    assert (facts["architecture"], facts["dtype"], facts["tied"]) == ("LlamaForCausalLM", "float16", "false")
    for role in ROLES:
        assert facts[role] == str(run / role)
        assert facts[f"{role}_digest"] == fingerprint.of_weights(run / role)
    (tmp_path / "new").touch()
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "new").stat().st_mode


def test_small_blocks_give_the_same_signature(run, tmp_path, monkeypatch):
    """Of a few rows each, whatever their number; sums of other blocks differ in their last digits only."""
    for dtype in ("float32", "int8"):
        assert extract(run, tmp_path / f"{dtype}.safetensors", "--dtype", dtype).exit_code == 0
    monkeypatch.setattr("wise_merge.signature.extraction._BLOCK", 100)
    for dtype in ("float32", "int8"):
        assert extract(run, tmp_path / f"{dtype}-blocks.safetensors", "--dtype", dtype).exit_code == 0
        whole, blocks = (load_file(tmp_path / f"{name}.safetensors") for name in (dtype, f"{dtype}-blocks"))
        for name, tensor in whole.items():
            assert torch.allclose(tensor.float(), blocks[name].float(), rtol=1e-6, atol=1e-9)


def test_what_float16_cannot_hold_is_an_error_or_counted(tmp_path):
    """Too large a number is an error; those that become 0 are counted, and other dtypes keep them."""
    for seed, role in enumerate(ROLES):
        make_checkpoint(tmp_path / role, seed=seed)
    tiny = "model.layers.0.self_attn.q_proj.weight"

    def change(tensors):
        tensors[tiny] = weights(tmp_path / "base")[tiny].clone()
        tensors[tiny][:3] += torch.finfo(torch.float32).eps * tensors[tiny][:3]

    rewrite(tmp_path / "robust", change)
    done = extract(tmp_path, tmp_path / "x.safetensors", "--only", "q_proj")
    assert done.exit_code == 0, done.output
    count = re.search(r"Warning: ([\d,]+) elements \(.*\) are too small for float16 and are 0 in the file", done.stderr)
    assert count
    exact = by_hand_of(tmp_path, tiny)
    assert int(count[1].replace(",", "")) == int(((exact != 0) & (exact.astype(np.float16) == 0)).sum()) > 10
    done = extract(tmp_path, tmp_path / "y.safetensors", "--only", "q_proj", "--dtype", "int8")
    assert "too small" not in done.stderr
    rewrite(tmp_path / "robust", lambda tensors: tensors[tiny].__setitem__((0, 0), 7e4))
    done = extract(tmp_path, tmp_path / "z.safetensors")
    assert done.exit_code == 1
    largest = f"{abs(by_hand_of(tmp_path, tiny)).max():.4g}"
    assert f"the signature of tensor {tiny} reaches {largest}, which float16 cannot hold" in done.output
    assert not list(tmp_path.glob("*z.safetensors*"))


def by_hand_of(run, name):
    robust, clean, base = (weights(run / role)[name].double().numpy() for role in ROLES)
    d_c, d_0 = robust - base, clean - base
    return d_c - np.vdot(d_c, d_0) / np.vdot(d_0, d_0) * d_0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--layers", "0-2"), "--layers 0-2: the model has no layer 2; they are numbered from 0 to 1"),
        (("--layers", "1-0"), "--layers 1-0 runs backwards; write 0-1"),
        (
            ("--layers", "0:7"),
            "--layers takes numbers and ranges of layers, such as 0-6, and names of what lies outside",
        ),
        (("--layers", "mlp"), "(lm_head.weight, model.embed_tokens.weight, model.norm.weight); got 'mlp'"),
        (("--only", "gate_projection"), "--only gate_projection: no tensor has this in its name"),
        (("--layers", "0", "--only", "embed"), "no tensor of the layers 0 has embed in its name"),
        (("--only", "model.norm"), "equals base or clean in all 1 tensors that were asked for"),
    ],
)
def test_a_choice_that_names_nothing_is_refused(options, message, run, tmp_path):
    """In one line, and nothing is left behind."""
    done = extract(run, tmp_path / "x.safetensors", *options)
    assert done.exit_code == 1
    assert message in done.output
    assert not list(tmp_path.iterdir())


def test_checkpoints_that_make_no_signature_are_refused(run, tmp_path):
    """In one line, before a weight is read, and without a file; one that is there stays as it is."""
    out = tmp_path / "x.safetensors"
    other = make_checkpoint(tmp_path / "other", seed=9, config=tiny_llama(intermediate_size=96), dtype="bfloat16")
    deeper = make_checkpoint(tmp_path / "deeper", seed=9, config=tiny_llama(num_hidden_layers=3), dtype="bfloat16")
    make_adapter(tmp_path / "adapter", run / "base", seed=1)
    for roles, message in (
        ({"clean": other}, "has shape (32, 64) in " + str(run / "base")),
        ({"robust": deeper}, "both must be checkpoints of one run"),
        ({"robust": run / "base"}, f"and base {run / 'base'} hold the same weights, so there is no signature"),
        ({"robust": run / "clean"}, "hold the same weights, so there is no signature"),
        ({"robust": tmp_path / "adapter"}, "is a LoRA adapter, and a signature is taken from whole weights"),
        ({"base": tmp_path / "nowhere/at/all"}, "is neither a directory here nor a model on the Hub"),
    ):
        done = extract(run, out, **roles)
        assert done.exit_code == 1
        (line,) = done.output.strip().splitlines()
        assert message in line
    assert "must be a file such as x.safetensors" in extract(run, tmp_path / "x.bin").output
    out.write_text("mine")
    assert f"--out {out} exists and is not overwritten" in extract(run, out).output
    assert out.read_text() == "mine"


def test_a_number_that_is_none_is_found(run, tmp_path):
    """With the name of the checkpoint; nothing is left of the file."""
    for role in ROLES:
        (tmp_path / role).symlink_to(run / role)
    (tmp_path / "clean").unlink()
    make_checkpoint(tmp_path / "clean", seed=1, dtype="bfloat16")
    rewrite(tmp_path / "clean", lambda tensors: tensors[MLP].__setitem__((2, 3), math.nan))
    done = extract(tmp_path, tmp_path / "x.safetensors")
    assert done.exit_code == 1
    assert f"tensor {MLP} of {tmp_path / 'clean'} contains nan in torch.bfloat16" in done.output
    assert not list(tmp_path.glob("*x.safetensors*"))


def test_a_base_with_other_tokens_needs_layers(run, tmp_path):
    """Fine-tuning often adds tokens: the rows of embeddings and LM head then have no counterpart."""
    base = make_checkpoint(tmp_path / "base", seed=2, config=tiny_llama(vocab_size=97), dtype="bfloat16")
    done = extract(run, tmp_path / "x.safetensors", base=base)
    assert done.exit_code == 1
    assert "has shape (97, 32) in base" in done.output
    assert "leave it out, by --layers or --only" in done.output
    assert extract(run, tmp_path / "x.safetensors", "--layers", "0-1", base=base).exit_code == 0


def test_clean_may_be_the_base(run, tmp_path):
    """The signature is the whole task vector then, and a warning says so."""
    done = extract(run, tmp_path / "x.safetensors", "--dtype", "float32", clean=run / "base")
    assert done.exit_code == 0
    assert "hold the same weights, so the signature is robust - base, whole" in done.stderr
    robust, base = weights(run / "robust"), weights(run / "base")
    for name, tensor in load_file(tmp_path / "x.safetensors").items():
        assert torch.equal(tensor, robust[name].float() - base[name].float())


def test_a_tied_head_has_no_signature_of_its_own(tmp_path):
    """Also where it is stored beside the embeddings; the file says that their signature is that of both."""
    for seed, role in enumerate(ROLES):
        config = tiny_llama(tie_word_embeddings=True)
        make_checkpoint(tmp_path / role, seed=seed, config=config, dtype="bfloat16")
        rewrite(tmp_path / role, lambda tensors: tensors.update({HEAD: tensors[EMBEDDINGS].clone()}))
    assert extract(tmp_path, tmp_path / "x.safetensors").exit_code == 0
    stored = load_file(tmp_path / "x.safetensors")
    assert EMBEDDINGS in stored
    assert HEAD not in stored
    with safe_open(tmp_path / "x.safetensors", framework="np") as file:
        assert file.metadata()["tied"] == "true"


def test_what_is_extracted_can_be_added(run, tmp_path):
    """The direction of RL without that of SFT, on the SFT checkpoint: robust again, but for what clean has of it."""
    import yaml

    assert extract(run, tmp_path / "x.safetensors", "--dtype", "float32").exit_code == 0
    recipe = {
        "merge_method": "weight_signature",
        "models": [{"model": str(run / "base")}],
        "parameters": {"signature": str(tmp_path / "x.safetensors"), "strength": 1},
        "dtype": "float32",
    }
    (tmp_path / "x.yml").write_text(yaml.safe_dump(recipe))
    done = CliRunner().invoke(main, ["merge", str(tmp_path / "x.yml"), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    merged, base = weights(tmp_path / "out"), weights(run / "base")
    for name, exact in by_hand(run).items():
        assert np.allclose(merged[name].double().numpy(), base[name].double().numpy() + exact, rtol=1e-6, atol=1e-7)
    # Where clean - base is nothing, that is robust.
    assert torch.allclose(merged[MLP], weights(run / "robust")[MLP].float(), rtol=1e-6)
