"""What is said of each architecture in docs/architectures.md, measured on tiny random models of it.

The table there is written by this file: `WRITE_TABLE=1 python -m pytest tests/test_architectures.py`.
"""

import functools
import json
import logging
import os
import re
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from conftest import REPOSITORY
from safetensors.torch import load_file, save_file
from support.architectures import logits, make_model, mergekit_yaml, pair, read, recipe

from wise_merge.checkpoints.final_norms import KNOWN_ARCHITECTURES, folds
from wise_merge.errors import WiseMergeError
from wise_merge.kernels.averaging import interpolate, interpolate_balanced

PAGE = REPOSITORY / "docs" / "architectures.md"
HEADER = "| architecture | last normalisation | offset | LM-head bias | exact | `mergekit-yaml` |"
TEMPERATURES = (0.5, 1.7)


#: Beside the defaults of each architecture: what else decides whether a temperature can be folded, or a merge works.
VARIANTS = {
    "CohereForCausalLM": [{"use_qk_norm": True}],
    "Gemma2ForCausalLM": [{"final_logit_softcapping": None}],
    "Gemma4ForCausalLM": [{"final_logit_softcapping": 30.0}],
    "OPTForCausalLM": [{"do_layer_norm_before": False}, {"word_embed_proj_dim": 16}],
    "PhimoeForCausalLM": [{"lm_head_bias": True}],
    "InternVLForConditionalGeneration": [{"text_config": "llama"}, {"text_config": "qwen3"}],
    "LlavaForConditionalGeneration": [{"text_config": "mistral"}, {"text_config": "qwen2"}],
    "LlavaNextForConditionalGeneration": [{"text_config": "mistral"}, {"text_config": "qwen2"}],
    "Mistral3ForConditionalGeneration": [{"text_config": "ministral3"}],
    "PaliGemmaForConditionalGeneration": [{"text_config": "gemma2"}],
}

#: For each thing that the table can say, one of which it says that: these are measured always, the others in the slow
#: tests.
ALWAYS = ["LlamaForCausalLM", "Gemma2ForCausalLM", "GPT2LMHeadModel", "PhiForCausalLM", "OPTForCausalLM"]
ALWAYS += ["CohereForCausalLM", "DeepseekV3ForCausalLM", "Qwen2VLForConditionalGeneration"]

CASES = [(name, change) for name in sorted(KNOWN_ARCHITECTURES) for change in ({}, *VARIANTS.get(name, ()))]


def named(value):
    return value if isinstance(value, str) else ",".join(f"{key}={one}" for key, one in value.items())


def write(directory, config, tensors):
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def folded(tensors, scales, temperature):
    """The stored tensors with a temperature in those named, each by its offset."""
    fold = functools.partial(interpolate_balanced, alpha=1.0, temperatures=(1.0, temperature))
    return {
        name: fold(tensor, tensor, offset=scales[name]) if name in scales else tensor
        for name, tensor in tensors.items()
    }


def error(before, after, temperature):
    """How far the logits after are from those before divided by T, relative to the largest of them."""
    return ((after * temperature - before).abs().max() / before.abs().max()).item()


#: The largest error that float32 leaves; observed: up to 6e-7. What is not exact is off by 1e-3 and more.
ROUNDING = 4e-6


def wise_merge_merge(text, out):
    """Likewise with our own command."""
    from wise_merge.cli import main

    path = out.with_suffix(".yml")
    path.write_text(json.dumps(text))
    result = CliRunner().invoke(main, ["merge", str(path), str(out)])
    if result.exit_code == 0:
        return None
    assert isinstance(result.exception, SystemExit), result.exception
    return result.output


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    architecture: str
    norm: str
    offset: str
    head_bias: str
    exact: str
    mergekit: str


REASONS = {
    "would leave": "no: leaves tensors out",
    "takes a checkpoint of this architecture to have": "no: wants other tensors",
    "cannot plan": "no: cannot read the config",
}


def merged_by(command, folder, temperature):
    """Whether a command merges the two models in the folder, as the table says it."""
    text = recipe("wise_ft" if temperature == 1.0 else "bang", folder / "early", folder / "late", 0.4, temperature)
    reason = command(text, folder / command.__name__)
    return "yes" if reason is None else next(text for pattern, text in REASONS.items() if pattern in reason)


def average(early, late, scales, temperature):
    """The average of stored tensors at alpha 0.4, the late one's temperature folded in."""
    folds = functools.partial(interpolate_balanced, alpha=0.4, temperatures=(1.0, temperature))
    return {
        name: folds(early[name], tensor, offset=scales[name])
        if name in scales
        else interpolate(early[name], tensor, 0.4)
        for name, tensor in late.items()
    }


@functools.cache
def measure(architecture, change):
    """Return the row of an architecture, after all that it says has been found to be so."""
    change = json.loads(change)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_model(folder / "early", architecture, seed=1, **change)
        cls = make_model(folder / "late", architecture, seed=2, **change)
        config, tensors = read(folder / "late")
        before = logits(cls, folder / "late")
        assert before.std() > 0.01
        names = folds(config | {"final_logit_softcapping": None} | text(config, final_logit_softcapping=None))
        scales = {name: offset for name, offset in names.items() if name in tensors}
        gain = next((name for name in scales if name.endswith(".weight")), None)
        try:
            assert folds(config, tensors) == scales
            exact = "yes"
        except WiseMergeError as reason:
            exact = "no: caps its logits" if "caps its logits" in str(reason) else "no: has no gain"
        temperature = TEMPERATURES[1] if exact == "yes" else 1.0
        if gain is None:
            assert exact == "no: has no gain"
        else:
            for number, one in enumerate(TEMPERATURES):
                out = write(folder / f"folded{number}", config, folded(tensors, scales, one))
                assert (error(before, logits(cls, out), one) < ROUNDING) == (exact == "yes")
            # The negative control.
            other = {gain: 1.0 - scales[gain]}
            wrong = write(folder / "wrong", config, folded(tensors, {**scales, **other}, TEMPERATURES[1]))
            assert error(before, logits(cls, wrong), TEMPERATURES[1]) > 0.1
        expected = average(read(folder / "early")[1], tensors, scales, temperature)
        mergekit, merge = (merged_by(command, folder, temperature) for command in (mergekit_yaml, wise_merge_merge))
        assert merge == "yes"
        written = load_file(folder / "wise_merge_merge" / "model.safetensors")
        assert written.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in written.items())
        if mergekit == "yes":
            reference = logits(cls, write(folder / "expected", config, expected))
            assert error(reference, logits(cls, folder / "mergekit_yaml"), 1.0) < ROUNDING
        biases = [name.removesuffix(".weight") + ".bias" for name in [gain or ""]]
        return Row(
            f"`{architecture}`" + (f", {shown(change)}" if change else ""),
            f"`{gain}`" + (", `.bias`" if biases[0] in scales else "") if gain else "",
            f"{scales[gain]:g}" if gain else "",
            "yes" if scales.keys() - {gain, *biases} else "",
            exact,
            mergekit,
        )


def text(config, **changes):
    return {"text_config": config["text_config"] | changes} if "text_config" in config else {}


def shown(change):
    return ", ".join(f"`{key}: {json.dumps(value).strip(chr(34))}`" for key, value in change.items())


@pytest.fixture(autouse=True)
def _quiet():
    """transformers and mergekit have much to say about models as small as these."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def line(row):
    """The row as it stands in the table."""
    return f"| {' | '.join(astuple(row))} |"


@pytest.mark.parametrize(
    ("architecture", "change"),
    [pytest.param(*case, marks=() if case[0] in ALWAYS else pytest.mark.slow) for case in CASES],
    ids=named,
)
def test_folding_divides_the_logits_and_merges_are_right(architecture, change):
    """What the table says: fold into the files, load with transformers, compare; and merge by both commands."""
    row = measure(architecture, json.dumps(change))
    assert os.environ.get("WRITE_TABLE") or line(row) in PAGE.read_text().splitlines()


def test_what_is_measured_always_has_every_answer_of_the_table():
    """In each column; only how the normalisations are called is more than eight families show."""
    rows = [row.strip("| ").split("|") for row in PAGE.read_text().splitlines() if row.startswith("| `")]
    answers = [[cell.strip() for cell in row] for row in rows]
    always = [row for row in answers if row[0].split("`")[1] in ALWAYS]
    for column in range(2, 6):
        assert {row[column] for row in always} == {row[column] for row in answers}


@pytest.mark.slow
def test_the_table_is_up_to_date():
    """docs/architectures.md holds what was measured; WRITE_TABLE=1 has it written."""
    rows = [measure(name, json.dumps(change)) for name, change in CASES]
    columns = HEADER.count("|") - 1
    lines = [HEADER, "|---" * columns + "|", *map(line, rows)]
    table = "\n".join(lines) + "\n"
    page = PAGE.read_text()
    written = re.sub(rf"^{re.escape(HEADER)}\n(\|.*\n)*", lambda _: table, page, flags=re.MULTILINE)
    if os.environ.get("WRITE_TABLE"):
        PAGE.write_text(written)
    assert table in written, "the page has lost the head of its table"
    assert os.environ.get("WRITE_TABLE") or written == page, "run WRITE_TABLE=1 pytest tests/test_architectures.py"


TYING = ["LlamaForCausalLM", "GemmaForCausalLM", "GPT2LMHeadModel", "Qwen2ForCausalLM", "GPTNeoXForCausalLM"]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", TYING)
def test_tied_and_untied_embeddings(architecture, tied, tmp_path):
    """Folding is exact either way, and merged models are tied as before; to divide tied embeddings is not exact."""
    cls, early, late = pair(tmp_path, architecture, tie_word_embeddings=tied)
    heads = {"lm_head.weight", "embed_out.weight"} & late.keys()
    assert bool(heads) != tied
    config, before = read(tmp_path / "late")[0], logits(cls, tmp_path / "late")
    scales = folds(config, late)
    exact = write(tmp_path / "exact", config, folded(late, scales, 1.7))
    assert error(before, logits(cls, exact), 1.7) < ROUNDING
    (embeddings,) = [name for name in late if name.endswith(("embed_tokens.weight", "wte.weight", "embed_in.weight"))]
    divided = write(tmp_path / "divided", config, folded(late, {next(iter(heads), embeddings): 0.0}, 1.7))
    assert (error(before, logits(cls, divided), 1.7) < ROUNDING) != tied
    if architecture == "GemmaForCausalLM" and not tied:
        # mergekit knows it tied only.
        message = mergekit_yaml(recipe("wise_ft", tmp_path / "early", tmp_path / "late", 0.5), tmp_path / "out")
        assert "would leave lm_head.weight of" in message
    elif architecture != "GPTNeoXForCausalLM":
        assert mergekit_yaml(recipe("bang", tmp_path / "early", tmp_path / "late", 1.0, 1.7), tmp_path / "out") is None
        assert error(before, logits(cls, tmp_path / "out"), 1.7) < ROUNDING
        merged = load_file(tmp_path / "out" / "model.safetensors")
        assert merged.keys() == late.keys()
        assert mergekit_yaml(recipe("wise_ft", tmp_path / "early", tmp_path / "late", 0.4), tmp_path / "half") is None
        for name, tensor in load_file(tmp_path / "half" / "model.safetensors").items():
            assert torch.equal(tensor, interpolate(early[name], late[name], 0.4)), name


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "GemmaForCausalLM", "GPT2LMHeadModel", "PhiForCausalLM"])
def test_in_bfloat16_only_the_rounding_of_the_folded_gains_is_left(architecture, tmp_path):
    """Files in bfloat16, logits of them in float32: off by no more than a bfloat16 rounding of each gain and bias."""
    cls = make_model(tmp_path / "model", architecture, seed=1, dtype=torch.bfloat16)
    config, tensors = read(tmp_path / "model")
    before, scales = logits(cls, tmp_path / "model"), folds(config, tensors)
    for temperature in TEMPERATURES:
        out = write(tmp_path / str(temperature), config, folded(tensors, scales, temperature))
        assert all(tensor.dtype == torch.bfloat16 for tensor in read(out)[1].values())
        assert error(before, logits(cls, out), temperature) < 2**-8
    gain = next(iter(scales))
    wrong = folded(tensors, {**scales, gain: 1 - scales[gain]}, 1.7)
    assert error(before, logits(cls, write(tmp_path / "wrong", config, wrong)), 1.7) > 0.1


#: A mixture of experts that mergekit stores in another layout than it reads, one with a bias, a vision model, others.
MERGED = ["LlamaForCausalLM", "Gemma3ForCausalLM", "GPT2LMHeadModel", "PhiForCausalLM", "MixtralForCausalLM"]
MERGED += ["Qwen3MoeForCausalLM", "Qwen3VLForConditionalGeneration", "Mistral3ForConditionalGeneration"]


@pytest.mark.parametrize("architecture", MERGED)
def test_bang_through_mergekit(architecture, tmp_path):
    """At alpha 1 the logits are those of late divided by T; at neutral values it is `wise_ft`, bit for bit."""
    cls, early, late = pair(tmp_path, architecture)
    merge = functools.partial(recipe, early=tmp_path / "early", late=tmp_path / "late")
    before = logits(cls, tmp_path / "late")
    for temperature in TEMPERATURES:
        out = tmp_path / f"hot{temperature}"
        assert mergekit_yaml(merge("bang", alpha=1.0, temperature=temperature), out) is None
        assert error(before, logits(cls, out), temperature) < ROUNDING
    assert mergekit_yaml(merge("bang", alpha=0.3), tmp_path / "neutral") is None
    assert mergekit_yaml(merge("wise_ft", alpha=0.3), tmp_path / "plain") is None
    plain = load_file(tmp_path / "plain" / "model.safetensors")
    neutral = load_file(tmp_path / "neutral" / "model.safetensors")
    assert plain.keys() == neutral.keys()
    assert all(torch.equal(tensor, neutral[name]) for name, tensor in plain.items())
    for name in plain.keys() & late.keys():
        assert torch.equal(plain[name], interpolate(early[name], late[name], 0.3)), name


#: Where transformers 5 writes the text model of a vision model in another place than it has been written before.
LAYOUTS = {
    "Gemma3ForConditionalGeneration": ["model.language_model."],
    "InternVLForConditionalGeneration": ["model.language_model."],
    "LlavaForConditionalGeneration": ["model.language_model."],
    "LlavaNextForConditionalGeneration": ["model.language_model."],
    "Mistral3ForConditionalGeneration": ["model.language_model."],
    "PaliGemmaForConditionalGeneration": ["model.language_model."],
    "Qwen2VLForConditionalGeneration": ["model.language_model."],
    "Qwen2_5_VLForConditionalGeneration": ["model.language_model."],
}


@pytest.mark.parametrize("architecture", LAYOUTS)
def test_other_layouts_that_transformers_reads_are_folded_alike(architecture, tmp_path):
    """The names of the files on the Hub, or of other versions of transformers."""
    cls = make_model(tmp_path / "model", architecture, seed=1)
    config, tensors = read(tmp_path / "model")
    before = logits(cls, tmp_path / "model")
    written = next(name.removesuffix("norm.weight") for name in folds(config, tensors) if name.endswith("norm.weight"))
    for prefix in LAYOUTS[architecture]:
        moved = {
            prefix + name.removeprefix(written)
            if name.startswith(written) and "visual" not in name
            else name.replace("language_model.lm_head", "lm_head"): tensor
            for name, tensor in tensors.items()
        }
        scales = folds(config, moved)
        assert scales.keys() == {f"{prefix}norm.weight"}
        out = write(tmp_path / prefix, config, folded(moved, scales, 1.7))
        assert error(before, logits(cls, out), 1.7) < ROUNDING


# --- what is not a floating-point number ------------------------------------------------------------


def with_buffers(directory, change=None):
    """Add what older GPT-NeoX checkpoints hold, and mergekit asks for: a mask of booleans, frequencies, a constant."""
    config, tensors = read(directory)
    for layer in range(config["num_hidden_layers"]):
        at = f"gpt_neox.layers.{layer}.attention"
        tensors[f"{at}.bias"] = torch.tril(torch.ones(8, 8, dtype=torch.bool))[None, None]
        tensors[f"{at}.masked_bias"] = torch.tensor(-1e9)
        tensors[f"{at}.rotary_emb.inv_freq"] = torch.ones(4)
    if change:
        change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


BUFFER = "gpt_neox.layers.1.attention.bias"


@pytest.mark.parametrize("changes", [{}, {"dtype": "bfloat16"}, {"out_dtype": "bfloat16"}], ids=str)
def test_equal_buffers_are_copied_as_they_are(changes, tmp_path):
    """Booleans stay booleans, whatever the recipe makes of the weights."""
    pair(tmp_path, "GPTNeoXForCausalLM")
    for role in ("early", "late"):
        with_buffers(tmp_path / role)
    text = recipe("wise_ft", tmp_path / "early", tmp_path / "late", 0.5) | changes
    assert mergekit_yaml(text, tmp_path / "out") is None
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert merged[BUFFER].dtype == torch.bool
    assert torch.equal(merged[BUFFER], load_file(tmp_path / "late" / "model.safetensors")[BUFFER])
    weight = merged["gpt_neox.final_layer_norm.weight"]
    assert weight.dtype == (torch.bfloat16 if changes else torch.float32)


@pytest.mark.parametrize("changes", [{}, {"dtype": "bfloat16"}], ids=str)
def test_different_buffers_are_one_line_that_names_them(changes, tmp_path):
    """The buffer and both checkpoints; no model."""
    pair(tmp_path, "GPTNeoXForCausalLM")
    with_buffers(tmp_path / "early")
    with_buffers(tmp_path / "late", lambda tensors: tensors[BUFFER][0, 0, 3].logical_not_())
    message = mergekit_yaml(recipe("wise_ft", tmp_path / "early", tmp_path / "late", 0.5) | changes, tmp_path / "out")
    assert message.startswith(f"Error: buffer {BUFFER} (bool) differs between {tmp_path / 'early'} and")
    assert str(tmp_path / "late") in message


def test_float_weights_are_cast_once_as_mergekit_does_it(tmp_path):
    """With `dtype` both checkpoints are cast before they are averaged, as ever."""
    _, early, late = pair(tmp_path, "LlamaForCausalLM")
    text = recipe("wise_ft", tmp_path / "early", tmp_path / "late", 0.3) | {"dtype": "bfloat16"}
    assert mergekit_yaml(text, tmp_path / "out") is None
    for name, tensor in load_file(tmp_path / "out" / "model.safetensors").items():
        assert torch.equal(tensor, interpolate(early[name].bfloat16(), late[name].bfloat16(), 0.3)), name
