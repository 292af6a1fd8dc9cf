"""`wise-merge fit temperature` on a tiny trained run, and what it writes through the real `mergekit-yaml`."""

import json
import math
import random
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from conftest import REPOSITORY
from support.adapters import make_adapter
from support.checkpoints import character_tokenizer, tiny_llama

from wise_merge.calibrate.data import encode, read_examples, task_examples
from wise_merge.calibrate.diagram import draw
from wise_merge.calibrate.forward import read
from wise_merge.calibrate.result import Calibrated, Quality
from wise_merge.cli import main
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.calibration import Bin, Fit, nll

LETTERS = "abcdefghij"
END = "<eos>"


def example(rng):
    """A letter, and three that follow it in the alphabet or, now and then, do not: nobody can be certain of them."""
    letter = rng.choice(LETTERS)
    follow = [
        LETTERS[(LETTERS.index(letter) + i) % 10] if rng.random() < 0.7 else rng.choice(LETTERS) for i in (1, 2, 3)
    ]
    return {"prompt": f"After {letter}:", "completion": " " + "".join(follow)[: rng.choice((1, 2, 3))]}


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def train(model, rows, *, steps):
    """Fit a model to rows: next-token cross-entropy over completion and end, as the trainer of a user would."""
    tokenizer = character_tokenizer()
    ids = [tokenizer(row["prompt"] + row["completion"] + END)["input_ids"] for row in rows]
    starts = [len(tokenizer(row["prompt"])["input_ids"]) for row in rows]
    longest = max(map(len, ids))
    inputs = torch.tensor([one + [0] * (longest - len(one)) for one in ids])
    labels = torch.full_like(inputs, -100)
    for row, (one, start) in enumerate(zip(ids, starts, strict=True)):
        labels[row, start : len(one)] = inputs[row, start : len(one)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    order = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(steps):
        batch = torch.randint(len(rows), (64,), generator=order)
        model(input_ids=inputs[batch], labels=labels[batch]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run with an early checkpoint that saw many examples and a late one that learnt 60 by heart; held-out rows."""
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("trained")
    rng = random.Random(0)
    torch.manual_seed(0)
    model = LlamaForCausalLM(tiny_llama(num_hidden_layers=1, max_position_embeddings=64))
    for name, rows, steps in (("checkpoint-25", 2000, 40), ("checkpoint-600", 60, 120)):
        train(model, [example(rng) for _ in range(rows)], steps=steps)
        model.save_pretrained(folder / "runs/sft" / name)
        character_tokenizer().save_pretrained(folder / "runs/sft" / name)
    write_rows(folder / "held_out.jsonl", [example(rng) for _ in range(400)])
    return folder


@pytest.fixture
def in_run(run_dir, monkeypatch):
    """The folder of the run, as the current one."""
    monkeypatch.chdir(run_dir)
    return run_dir


EARLY, LATE = "runs/sft/checkpoint-25", "runs/sft/checkpoint-600"


def calibrate(*arguments, early=EARLY, late=LATE):
    """Run the command; return click's result."""
    return CliRunner().invoke(main, ["fit", "temperature", early, late, *map(str, arguments)])


def figures(tmp_path, *arguments, **checkpoints):
    """Run the command and return its figures as JSON."""
    path = tmp_path / f"{random.random()}.json"
    result = calibrate("--json", path, *arguments, **checkpoints)
    assert result.exit_code == 0, result.output
    return json.loads(path.read_text())


def load(path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path).eval()


def brute_force(model, rows, temperature=1.0):
    """The NLL and the confidence of every completion token, sequence by sequence, in float64."""
    tokenizer = character_tokenizer()
    losses, confidences, correct = [], [], []
    for row in rows:
        ids = torch.tensor([tokenizer(row["prompt"] + row["completion"] + END)["input_ids"]])
        start = len(tokenizer(row["prompt"])["input_ids"])
        with torch.no_grad():
            logits = model(ids).logits[0, start - 1 : -1].double() / temperature
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, start:], reduction="none"))
        best = torch.softmax(logits, -1).max(-1)
        confidences.append(best.values)
        correct.append(best.indices == ids[0, start:])
    return torch.cat(losses), torch.cat(confidences), torch.cat(correct)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def found(run_dir, tmp_path_factory):
    """Output and files of one whole run of the command."""
    folder = tmp_path_factory.mktemp("found")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run_dir)
        result = calibrate(
            *("--data", "held_out.jsonl", "--alpha", 0.5, "--out", folder / "bang.yml"),
            *("--figure", folder / "reliability.png", "--json", folder / "figures.json"),
        )
    assert result.exit_code == 0, result.output
    return folder, result.output, json.loads((folder / "figures.json").read_text())


def test_the_figures_are_those_of_the_models_by_themselves(found, run_dir):
    """NLL and calibration error before and after, against one sequence at a time in float64."""
    _, _, content = found
    rows = rows_of(run_dir / "held_out.jsonl")
    for role, path in (("early", EARLY), ("late", LATE)):
        model, one = load(run_dir / path), content[role]
        for when, temperature in (("before", 1.0), ("after", one["fit"]["temperature"])):
            losses, confidences, correct = brute_force(model, rows, temperature)
            assert one[when]["nll"] == pytest.approx(losses.mean().item(), abs=2e-5)
            # Guo et al.'s formula, bin by bin, where the edges are those of numpy.
            gaps = [
                abs((correct[mask].double() - confidences[mask]).sum().item())
                for low in np.linspace(0, 1, 16)[:-1]
                if (mask := (confidences > low) & (confidences <= low + 1 / 15)).any()
            ]
            assert one[when]["error"] == pytest.approx(sum(gaps) / len(losses), abs=5e-4)
        assert content["data"]["tokens"] == len(losses)
        assert content["data"]["sequences"] == len(rows)
        assert one["accuracy"] == pytest.approx(correct.double().mean().item())


def test_learning_by_heart_calls_for_a_higher_temperature(found):
    """The late checkpoint is over-confident, and calibration mends it: NLL and calibration error go down."""
    _, _, content = found
    assert content["late"]["fit"]["low"] > max(content["early"]["fit"]["high"], 1.2)
    assert content["late"]["after"]["nll"] < content["late"]["before"]["nll"] - 0.05
    assert content["late"]["after"]["error"] < content["late"]["before"]["error"]
    assert content["early"]["after"]["nll"] <= content["early"]["before"]["nll"]


def test_the_table_says_what_was_found(found, run_dir):
    """A line per checkpoint with the figures of the JSON, rounded, and what they were computed on."""
    folder, output, content = found
    assert f"held_out.jsonl: 400 sequences with {content['data']['tokens']:,} completion tokens\n" in output
    for role in ("early", "late"):
        (line,) = re.findall(rf"^{role} .*", output, re.MULTILINE)
        fit = content[role]["fit"]
        assert f"{fit['temperature']:.4f} ± {fit['standard_error']:.4f} [{fit['low']:.4f}, {fit['high']:.4f}]" in line
        assert line.split()[-4:] == [
            f"{content[role][when][figure]:.4f}" for figure in ("nll", "error") for when in ("before", "after")
        ]
    assert output.endswith(f"mergekit-yaml {folder / 'bang.yml'} OUT\n")


def test_the_diagram_is_a_picture(found):
    """A PNG that is not blank."""
    from matplotlib.image import imread

    folder, _, _ = found
    picture = imread(folder / "reliability.png")
    assert picture.shape[0] > 800
    assert (picture[..., 0] < 0.9).mean() > 0.02


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", ["svg", "pdf"])
@pytest.mark.parametrize("tokens", [(1, 0), (0, 1000), (5, 1000), (1000, 1000)])
def test_the_diagram_takes_any_bins(suffix, tokens, tmp_path):
    """Bins that hold many tokens, few, or none, as SVG and PDF: the same figures give the same file, and no warning."""
    counts = [*tokens, *[0] * 11, *tokens]
    bins = [
        Bin(place / 15, (place + 1) / 15, count, (place + 0.5) / 15, place / 14, math.nan if count < 2 else 0.01)
        for place, count in enumerate(counts)
        if count
    ]
    one = Calibrated("early", "a" * 200, 0.5, Fit(1.5, 0.1, 1.3, 1.7), Quality(1.0, 0.1, bins), Quality(0.9, 0.0, bins))
    for name in ("one", "two"):
        draw([one, one], tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()
    if suffix == "svg":
        text = (tmp_path / "one.svg").read_text()
        assert "T = 1.500, ECE 0.0000" in text
        assert "as it is, ECE 0.1000" in text


def merge(recipe, out):
    from mergekit.scripts.run_yaml import main as mergekit_yaml

    result = CliRunner().invoke(mergekit_yaml, [str(recipe), str(out), "--quiet"])
    assert result.exit_code == 0, result.output
    return out


def test_the_recipe_merges_as_it_stands(found, in_run, tmp_path):
    """mergekit-yaml takes it, with the temperatures of the table, alpha as asked and the dtype of the checkpoints."""
    folder, _, content = found
    recipe = yaml.safe_load((folder / "bang.yml").read_text())
    assert recipe == {
        "merge_method": "bang",
        "base_model": EARLY,
        "models": [
            {"model": path, "parameters": {"temperature": round(content[role]["fit"]["temperature"], 4)}}
            for role, path in (("early", EARLY), ("late", LATE))
        ],
        "parameters": {"alpha": 0.5},
        "dtype": "float32",
    }
    assert "held_out.jsonl" in (folder / "bang.yml").read_text()
    assert load(merge(folder / "bang.yml", tmp_path / "out")).dtype == torch.float32


@pytest.mark.parametrize(("alpha", "role"), [(0, "early"), (1, "late")])
def test_a_checkpoint_with_its_temperature_folded_in_needs_none(alpha, role, in_run, tmp_path):
    """At its end of the path, the merge is the calibrated checkpoint: fitted again, its temperature is 1."""
    result = calibrate("--data", "held_out.jsonl", "--out", tmp_path / "bang.yml", "--alpha", alpha)
    assert result.exit_code == 0, result.output
    out = merge(tmp_path / "bang.yml", tmp_path / "out")
    before, again = (
        figures(tmp_path, "--data", "held_out.jsonl", late=path)["late"]
        for path in ({"early": EARLY, "late": LATE}[role], str(out))
    )
    # Four decimals are written.
    assert again["fit"]["temperature"] == pytest.approx(1.0, abs=1e-4)
    assert again["before"]["nll"] == pytest.approx(before["after"]["nll"], abs=1e-5)
    assert abs(before["fit"]["temperature"] - 1) > 0.01


def test_batches_and_order_change_nothing(in_run, tmp_path):
    """Another batch size, or the rows in reverse: the same figures to the rounding of float32 matrix products."""
    rows = rows_of(in_run / "held_out.jsonl")[:100]
    forth = write_rows(tmp_path / "forth.jsonl", rows)
    back = write_rows(tmp_path / "back.jsonl", rows[::-1])
    whole, *others = (
        figures(tmp_path, "--data", file, "--batch-size", size) for file, size in ((forth, 16), (forth, 1), (back, 7))
    )
    for other in others:
        for role in ("early", "late"):
            for name in ("temperature", "standard_error"):
                assert other[role]["fit"][name] == pytest.approx(whole[role]["fit"][name], rel=1e-5)
            assert other[role]["before"]["nll"] == pytest.approx(whole[role]["before"]["nll"], rel=1e-6)


def test_the_limit_takes_the_first_rows(in_run, tmp_path):
    """--limit 50 is the same as a file of the first 50 rows."""
    head = write_rows(tmp_path / "head.jsonl", rows_of(in_run / "held_out.jsonl")[:50])
    one, other = figures(tmp_path, "--data", "held_out.jsonl", "--limit", 50), figures(tmp_path, "--data", head)
    assert one["late"] == other["late"]
    assert one["data"]["sequences"] == 50


def test_logits_are_never_held_whole(run_dir):
    """No block of logits exceeds the bound, however many tokens there are, and the blocks change nothing."""
    model = load(run_dir / LATE)
    tokenizer = character_tokenizer()
    sequences = [encode(tokenizer, one) for one in read_examples(run_dir / "held_out.jsonl", limit=60)]
    sizes = []
    hook = model.lm_head.register_forward_hook(lambda module, inputs, output: sizes.append(output.numel()))
    whole = read(model, sequences, batch_size=60)
    largest = max(sizes)
    sizes.clear()
    blocks = read(model, sequences, batch_size=60, logits_at_once=990)
    hook.remove()
    tokens = sum(len(sequence.ids) - sequence.first for sequence in sequences)
    # Without a bound, one block is the whole batch. The first calls try the head out on a few tokens.
    assert largest == tokens * 99
    assert max(sizes[2:]) == 990
    for one, other in zip(whole, blocks, strict=True):
        np.testing.assert_allclose(one.curves, other.curves, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("architecture", ["Gemma2ForCausalLM", "CohereForCausalLM", "GPT2LMHeadModel"])
def test_what_comes_after_the_head_counts(architecture, run_dir):
    """Models that cap or scale their logits are read as they are, padded beside longer sequences or not."""
    import transformers

    kind = getattr(transformers, architecture)
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 2, "num_key_value_heads": 2}
    if architecture == "GPT2LMHeadModel":
        small = {"n_embd": 32, "n_layer": 2, "n_head": 2}
    if architecture == "Gemma2ForCausalLM":
        small["final_logit_softcapping"] = 1.0
    config = kind.config_class(**small, vocab_size=99, pad_token_id=0)
    model = kind(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    rows = rows_of(run_dir / "held_out.jsonl")[:20]
    tokenizer = character_tokenizer()
    sequences = [encode(tokenizer, one) for one in read_examples(run_dir / "held_out.jsonl", limit=20)]
    read_at_1 = np.concatenate([nll(tokens, 1.0) for tokens in read(model, sequences, batch_size=8)])
    np.testing.assert_allclose(read_at_1, brute_force(model, rows)[0].numpy(), atol=2e-5)
    head = model.get_output_embeddings()
    with torch.no_grad():
        ids = torch.tensor([sequences[0].ids])
        plain = torch.allclose(head(model.base_model(ids).last_hidden_state), model(ids).logits)
    assert plain == (architecture == "GPT2LMHeadModel")


def test_tokens_and_mask_are_those_of_trl(run_dir, tmp_path):
    """The SFTTrainer makes the same tokens of the same file, and learns the same ones: texts and chats."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokenizer = chat_tokenizer()
    texts = [*rows_of(run_dir / "held_out.jsonl")[:20], {"prompt": "", "completion": "no prompt"}]
    chats = [chat_row("What?", "That."), chat_row("Why?", "So it is.")]
    for name, rows in (("texts", texts), ("chats", chats)):
        file = write_rows(tmp_path / f"{name}.jsonl", rows)
        trainer = SFTTrainer(
            model=load(run_dir / EARLY),
            args=SFTConfig(output_dir=str(tmp_path / "trl"), use_cpu=True, report_to="none", max_length=None),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
        theirs = list(trainer.train_dataset)
        ours = [encode(tokenizer, one) for one in read_examples(file)]
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.ids == list(other["input_ids"])
            learnt = [place for place, label in enumerate(other["labels"]) if label != -100]
            # The very first token has nothing before it to be predicted from: the loss leaves it out.
            assert list(range(mine.first, len(mine.ids))) == [place for place in learnt if place > 0]


def chat_tokenizer():
    tokenizer = character_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}<eos>\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    return tokenizer


def chat_row(question, answer):
    return {
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": answer}],
    }


def test_a_token_across_the_boundary_is_the_completions(tmp_path):
    """Where prompt and completion share a token, it counts; a tokenizer that ends texts itself adds no second end."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<eos>": 0, "<unk>": 1, "a": 2, "=": 3, "=b": 4, "b": 5}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("=b|."), "isolated")
    backend.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>")
    (one,) = read_examples(write_rows(tmp_path / "rows.jsonl", [{"prompt": "a=", "completion": "b"}]))
    encoded = encode(tokenizer, one)
    assert encoded.ids == [2, 4, 0]
    assert encoded.first == 1
    (ended,) = read_examples(write_rows(tmp_path / "rows.jsonl", [{"prompt": "a=", "completion": "b<eos>"}]))
    assert encode(tokenizer, ended).ids == [2, 4, 0]


def test_chats_are_read_by_the_template(run_dir, tmp_path):
    """Only the assistant's turn counts, with what the template ends it by; without a template it is an error."""
    (one,) = read_examples(write_rows(tmp_path / "chat.jsonl", [chat_row("What?", "That.")]))
    tokenizer = chat_tokenizer()
    encoded = encode(tokenizer, one)
    assert tokenizer.decode(encoded.ids[: encoded.first]) == "[user]What?<eos>\n[assistant]"
    assert tokenizer.decode(encoded.ids[encoded.first :]) == "That.<eos>\n"
    with pytest.raises(WiseMergeError, match=r"chat\.jsonl, line 1 .*no chat template"):
        encode(character_tokenizer(), one)
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(WiseMergeError, match=r"chat\.jsonl, line 1: .*roles must alternate"):
        encode(tokenizer, one)


@pytest.fixture(scope="module")
def adapters(run_dir):
    """Two adapters of the early checkpoint, and what PEFT makes of the second."""
    from peft import PeftModel

    for number, step in enumerate((1, 2)):
        make_adapter(run_dir / f"lora/checkpoint-{step}", run_dir / EARLY, seed=number, target_modules=["q_proj"])
    dense = PeftModel.from_pretrained(load(run_dir / EARLY), run_dir / "lora/checkpoint-2").merge_and_unload()
    dense.save_pretrained(run_dir / "dense")
    character_tokenizer().save_pretrained(run_dir / "dense")
    return run_dir


def test_lora_checkpoints_are_their_dense_products(adapters, in_run, tmp_path):
    """BASE+ADAPTER, the adapter alone, and the merged model give one temperature; the recipe names BASE+ADAPTER."""
    first, second = "lora/checkpoint-1", "lora/checkpoint-2"
    recipe = tmp_path / "bang.yml"
    named = figures(
        tmp_path,
        *("--data", "held_out.jsonl", "--out", recipe, "--alpha", 0.5),
        early=f"{EARLY}+{first}",
        late=f"{EARLY}+{second}/",
    )
    alone = figures(tmp_path, "--data", "held_out.jsonl", early=first, late=second)
    dense = figures(tmp_path, "--data", "held_out.jsonl", late="dense")
    assert named["late"]["fit"] == alone["late"]["fit"]
    assert named["late"]["fit"]["temperature"] == pytest.approx(dense["late"]["fit"]["temperature"], rel=1e-5)
    assert named["late"]["fit"] != named["early"]["fit"]
    written = yaml.safe_load(recipe.read_text())
    assert [model["model"] for model in written["models"]] == [f"{EARLY}+{first}", f"{EARLY}+{second}"]


BAD_ROWS = {
    '{"prompt": "a", "completion": "b"}\nnot JSON\n': r"rows\.jsonl, line 2: not JSON",
    '{"prompt": "a", "completion": "b"}\n[1]\n': r"rows\.jsonl, line 2: wanted a JSON object",
    '{"prompt": "a", "text": "b"}\n': r"rows\.jsonl, line 1: the row lacks completion; it has 'prompt', 'text'",
    '\n{"prompt": "a", "completion": 5}\n': r"rows\.jsonl, line 2: .*got 'a' and 5",
    '{"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}\n': r"rows\.jsonl, line 1: .*'a' and \[",
    '{"prompt": [], "completion": []}\n': r"rows\.jsonl, line 1: .*got \[\] and \[\]",
    "": r"rows\.jsonl is empty",
}


@pytest.mark.parametrize("content", BAD_ROWS)
def test_a_bad_row_is_named(content, in_run, tmp_path):
    """File, line, what was wanted and what came, in one line, before a model is loaded."""
    (tmp_path / "rows.jsonl").write_text(content)
    result = calibrate("--data", tmp_path / "rows.jsonl")
    assert result.exit_code == 1
    assert re.search(BAD_ROWS[content], result.output)
    assert result.output.count("\n") == 1


BAD_CALLS = {
    (): "give either --data",
    ("--data", "held_out.jsonl", "--task", "countdown_passk"): "give either --data",
    ("--data", "held_out.jsonl", "--num-fewshot", "0"): "are for --task",
    ("--data", "held_out.jsonl", "--out", "new.yml"): "--out needs --alpha",
    ("--data", "held_out.jsonl", "--alpha", "0.5"): "--alpha is for the recipe",
    ("--data", "held_out.jsonl", "--out", "new.yml", "--alpha", "1.5"): r"alpha must lie in \[0, 1\]",
    ("--data", "held_out.jsonl", "--json", "held_out.jsonl"): "held_out.jsonl exists and is not overwritten",
    ("--data", "held_out.jsonl", "--figure", "runs"): "runs exists and is not overwritten",
    ("--data", "held_out.jsonl", "--json", "new.svg", "--figure", "new.svg"): "is the file of --figure, too",
    ("--data", "held_out.jsonl", "--figure", "new.gif"): "must end in .png",
    ("--data", "held_out.jsonl", "--device", "nonsense"): "--device nonsense cannot be used",
    ("--data", "held_out.jsonl", "--dtype", "nonsense"): "dtype must be",
    ("--data", "nothing.jsonl"): "nothing.jsonl cannot be read",
    ("--task", "countdown_passk", "--metadata", "seven"): "--metadata takes name=value",
    ("--task", "passk"): "passk is a group of tasks",
}


@pytest.mark.parametrize("arguments", BAD_CALLS)
def test_a_call_that_cannot_succeed_ends_at_once(arguments, in_run):
    """One line, exit code 1, nothing written."""
    before = sorted(path.name for path in in_run.iterdir())
    result = calibrate(*arguments)
    assert result.exit_code == 1, result.output
    assert re.search(BAD_CALLS[arguments], result.output)
    assert sorted(path.name for path in in_run.iterdir()) == before


def test_a_recipe_that_cannot_be_merged_is_not_begun(in_run, tmp_path):
    """Gemma-2 caps its logits, so no temperature can be folded in; without --out it is calibrated all the same."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = tiny_llama().to_dict() | {"model_type": "gemma2", "head_dim": 16, "query_pre_attn_scalar": 16}
    Gemma2ForCausalLM(Gemma2Config.from_dict(config)).save_pretrained(tmp_path / "gemma")
    character_tokenizer().save_pretrained(tmp_path / "gemma")
    arguments = ("--data", "held_out.jsonl", "--out", tmp_path / "bang.yml", "--alpha", 0.5)
    result = calibrate(*arguments, late=str(tmp_path / "gemma"))
    assert result.exit_code == 1
    assert "a temperature cannot be folded into Gemma2ForCausalLM" in result.output
    result = calibrate("--data", "held_out.jsonl", late=str(tmp_path / "gemma"))
    assert "folded" not in result.output


def test_a_checkpoint_that_is_not_there_is_named(in_run):
    """Before anything is read; an adapter that is none, too."""
    for late, said in (
        ("runs/sft/checkpoint-7", "the late checkpoint runs/sft/checkpoint-7 is neither a directory here nor"),
        (f"{EARLY}+{LATE}", "adapter"),
    ):
        result = calibrate("--data", "held_out.jsonl", late=late)
        assert result.exit_code == 1
        assert said in result.output


def test_different_tokenizers_are_an_error(in_run, tmp_path):
    """The message names both checkpoints and the first row of which they make different tokens."""
    other = tmp_path / "other"
    shutil.copytree(LATE, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    rows = write_rows(tmp_path / "rows.jsonl", [{"prompt": "xyz", "completion": c} for c in ("x", "y", "zaz")])
    result = calibrate("--data", rows, late=str(other))
    assert result.exit_code == 1
    assert re.search(r"rows\.jsonl, line 3: the tokenizers of runs/sft/checkpoint-25 and .*other", result.output)


def test_a_tokenizer_of_another_model_is_an_error(in_run, tmp_path):
    """Tokens without embeddings are found before the model fails on them."""
    from transformers import LlamaForCausalLM

    LlamaForCausalLM(tiny_llama(vocab_size=60)).save_pretrained(tmp_path / "small")
    character_tokenizer().save_pretrained(tmp_path / "small")
    result = calibrate("--data", "held_out.jsonl", late=str(tmp_path / "small"))
    assert result.exit_code == 1
    assert re.search(r"held_out\.jsonl, line 1: the tokenizer makes token \d+ of it, but .*small has", result.output)


def test_nan_is_an_error_that_names_checkpoint_and_line(in_run, tmp_path):
    """A checkpoint that diverged."""
    broken = tmp_path / "broken"
    model = load(LATE)
    model.lm_head.weight.data[50] = math.nan
    model.save_pretrained(broken)
    character_tokenizer().save_pretrained(broken)
    result = calibrate("--data", "held_out.jsonl", late=str(broken))
    assert result.exit_code == 1
    assert re.search(r"late checkpoint .*broken: held_out\.jsonl, line \d+: the logits contain NaN", result.output)


def test_a_model_that_cannot_be_calibrated_is_an_error(in_run, tmp_path):
    """Random completions: the message says so, and no recipe is written."""
    rng = random.Random(1)
    rows = [{"prompt": "After a:", "completion": "".join(rng.choice("XYZ()+*#") for _ in range(5))} for _ in range(40)]
    result = calibrate(
        "--data", write_rows(tmp_path / "rows.jsonl", rows), "--out", tmp_path / "bang.yml", "--alpha", 0.5
    )
    assert result.exit_code == 1
    assert (
        "early checkpoint runs/sft/checkpoint-25: the NLL per token is least at a temperature above 4" in result.output
    )
    assert not (tmp_path / "bang.yml").exists()


def test_sequences_that_are_too_long_are_left_out_and_counted(in_run, tmp_path):
    """Of a context of 64 tokens: 64 fit, 65 do not; if none fits, it is an error."""
    rows = rows_of(in_run / "held_out.jsonl")[:30]
    rows[3:3] = [{"prompt": "a" * 50, "completion": "b" * count} for count in (13, 14)]
    result = calibrate("--data", write_rows(tmp_path / "rows.jsonl", rows))
    assert result.exit_code == 0, result.output
    assert re.search(r"31 sequences with .*; 1 left out, as they are longer than the 64 tokens", result.output)
    result = calibrate("--data", write_rows(tmp_path / "rows.jsonl", rows[4:5]))
    assert result.exit_code == 1
    assert "every sequence is longer than the 64 tokens that the model reads (the shortest has 65)" in result.output


def test_a_single_sequence_has_a_temperature_without_error(in_run, tmp_path):
    """No ±, and null in the JSON."""
    row = {"prompt": "After a:", "completion": " bcdccbc"}
    content = figures(tmp_path, "--data", write_rows(tmp_path / "rows.jsonl", [row]))
    assert content["early"]["fit"]["standard_error"] is None


def test_a_task_gives_prompts_and_written_solutions(tmp_path):
    """Few-shot prompts as lm-eval shows them, and the solution in the form of the examples in the prompt."""
    (one,) = task_examples("countdown_passk", metadata=["problem_seed=1", '{"largest": 12}'], num_fewshot=0, limit=1)
    numbers, target, solution = re.fullmatch(
        r"Numbers: ([\d ]+)\nTarget: (\d+)\nExpression:\n(.*)", f"{one.prompt}\n{one.completion}"
    ).groups()
    assert solution.startswith(" ")
    assert eval(solution) == int(target)
    assert sorted(re.findall(r"\d+", solution)) == sorted(numbers.split())
    (other,) = task_examples("countdown_passk", metadata=[], num_fewshot=0, limit=1)
    assert other != one
    assert one.place == "countdown_passk, problem 1"

    rows = [{"question": "1 + 1?", "answer": "It is 2.\n#### 2"}, {"question": "2 + 2?", "answer": "4.\n#### 4"}]
    file = write_rows(tmp_path / "gsm8k.jsonl", rows)
    first, second = task_examples("gsm8k_passk", metadata=[f"data_file={file}"])
    assert second.prompt.startswith("Question: There are 15 trees in the grove.")
    assert second.prompt.endswith("\n\nQuestion: 2 + 2?\nAnswer:")
    assert second.completion == " 4.\n#### 4"
    assert first.prompt.count("Question:") == 9

    file = write_rows(tmp_path / "math.jsonl", [{"problem": "1?", "answer": "1", "solution": "One."}])
    (math_one,) = task_examples("math500_passk", metadata=[f"data_file={file}"])
    assert math_one.completion == " One."

    (chat,) = task_examples("sudoku4_passk", metadata=["prompt=instruct"], limit=1)
    assert [message["role"] for message in (*chat.prompt, *chat.completion)] == ["user", "assistant"]
    assert chat.prompt[0]["content"].startswith("Solve this 4x4 Sudoku")
    assert chat.completion[0]["content"].startswith("<answer>\n")


def test_a_task_without_written_solutions_is_an_error(tmp_path):
    """An answer alone is no completion; the message names the column that lacks."""
    file = write_rows(tmp_path / "aime.jsonl", [{"problem": "1?", "answer": 1}])
    with pytest.raises(WiseMergeError, match=r"aime25_passk has no written solutions: it lacks the column solution"):
        task_examples("aime25_passk", metadata=[f"data_file={file}"])


def test_other_tasks_of_lm_eval_give_their_targets():
    """A task that is not ours, of the class that lm-eval's own are; targets that are no text are refused."""
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    from wise_merge.tasks.gold import solutions_of

    def task(target):
        return ConfigurableTask(
            config={
                "task": "sums",
                "custom_dataset": lambda **_: {"test": Dataset.from_list([{"q": "1 + 1", "a": "2"}])},
                "test_split": "test",
                "output_type": "generate_until",
                "doc_to_text": "Q: {{q}}\nA:",
                "doc_to_target": target,
                "metadata": {"version": 1},
            }
        )

    (one,) = solutions_of(task("{{a}}"))
    assert (one.prompt, one.solution, one.chat) == ("Q: 1 + 1\nA:", " 2", False)
    with pytest.raises(WiseMergeError, match="sums: the target of problem 1 is no text but 3"):
        solutions_of(task(3))


def test_the_command_reads_a_task(in_run, tmp_path):
    """From problems to the table; the tiny model knows nothing of CountDown, which is said of it in one line."""
    result = calibrate("--task", "countdown_passk", "--num-fewshot", 0, "--limit", 20)
    assert "Traceback" not in result.output
    assert re.search(r"20 sequences|least at a temperature above 4", result.output)


@pytest.mark.slow
def test_the_commands_of_the_page_run(run_dir, tmp_path, console_script):
    """docs/temperatures.md, where checkpoints are trained and can be calibrated, unlike those of test_docs.py."""
    shutil.copytree(run_dir, tmp_path / "reader")
    page = (REPOSITORY / "docs/temperatures.md").read_text()
    blocks = re.findall(r"^```shell\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    assert any(line.startswith("wise-merge fit temperature") for line in lines)
    for line in lines:
        name, *arguments = line.split()
        done = console_script(name, *arguments, cwd=tmp_path / "reader")
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "reader/bang.yml").is_file()
    assert (tmp_path / "reader/out/config.json").is_file()
