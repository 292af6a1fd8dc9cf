"""`wise-merge fit fisher` against the exact diagonal, summed over all next tokens by another road, and its files."""

import json
import math
import random
import shutil
import sys
import time

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import forked
from support.architectures import make_model
from support.checkpoints import character_tokenizer, make_checkpoint

from wise_merge.calibrate.fisher import pipeline
from wise_merge.calibrate.fisher.unfinished import place_of
from wise_merge.checkpoints import fingerprint
from wise_merge.checkpoints.headers import read_headers
from wise_merge.cli import main
from wise_merge.demo.tiny_model import make_tokenizer, prompt_of
from wise_merge.errors import WiseMergeError
from wise_merge.estimators.fisher import relative_error
from wise_merge.games.countdown import generate_problems
from wise_merge.tensor_files import fisher as reader
from wise_merge.tensor_files.contents import read_contents

END = "<eos>"


def fit(checkpoint, rows, out, *options):
    """Run the command; return click's result."""
    return CliRunner().invoke(main, ["fit", "fisher", *map(str, (checkpoint, "--data", rows, "--out", out, *options))])


def fitted(checkpoint, rows, out, *options):
    """The tensors of a Fisher file, and all figures."""
    figures = out.with_suffix(".json")
    result = fit(checkpoint, rows, out, "--json", figures, *options)
    assert result.exit_code == 0, result.output
    return load_file(out), json.loads(figures.read_text())["fisher"]


def metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def same(one, other):
    """Whether two Fisher files hold the same bits and say the same; the order of metadata is safetensors' own."""
    a, b = load_file(one), load_file(other)
    return (
        metadata(one) == metadata(other) and a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    )


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- against the exact diagonal ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A model as the demo has it, with tied embeddings, only smaller; and three held-out problems."""
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("demo")
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        **{"hidden_size": 16, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"max_position_embeddings": 128, "tie_word_embeddings": True},
        **{"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id},
        # Weights of 0.02, as is usual, would give every token the same probability.
        initializer_range=0.3,
    )
    make_checkpoint(folder / "model", seed=0, config=config)
    tokenizer.save_pretrained(folder / "model")
    problems = generate_problems(3, numbers=3, largest=12, seed=0)
    rows = [{"prompt": prompt_of(one), "completion": f" {one.solution}"} for one in problems]
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "many.jsonl", rows * 100)
    return folder


@pytest.fixture(scope="module")
def exact(demo):
    """For each sequence p(y) and d log p(y) / d theta of every next token y at every position, in float64."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        demo / "model", dtype=torch.float64, attn_implementation="eager"
    ).eval()
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    tokenizer = make_tokenizer()
    found = []
    for line in (demo / "rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        ids = torch.tensor([tokenizer(row["prompt"] + row["completion"] + END)["input_ids"]])
        first = len(tokenizer(row["prompt"])["input_ids"])

        def log_probabilities(weights, ids=ids, first=first):
            logits = torch.func.functional_call(model, weights, kwargs={"input_ids": ids}).logits
            return logits[0, first - 1 : -1].log_softmax(-1)

        jacobian = torch.func.jacrev(log_probabilities)(weights)
        scores = torch.cat([jacobian[name].flatten(2) for name in weights], dim=2)
        found.append((log_probabilities(weights).exp(), scores, ids[0, first:]))
    return list(weights), found


def moments(probabilities, scores):
    """Mean and fourth moment of the score of a sequence, squared, each entry: sums over all next tokens.

    With independent g_t of mean 0, E (sum g_t)^4 = sum E g_t^4 + 3 (sum E g_t^2)^2 - 3 sum (E g_t^2)^2.
    """
    second = (probabilities[..., None] * scores**2).sum(1)
    fourth = (probabilities[..., None] * scores**4).sum(1)
    mean = second.sum(0)
    return mean, fourth.sum(0) + 3 * mean**2 - 3 * (second**2).sum(0)


def flattened(names, tensors):
    return torch.cat([tensors[name].flatten().double() for name in names])


@pytest.fixture(scope="module")
def diagonal(exact):
    """The Fisher information of the three sequences together, and the variance of one draw of each, by entry."""
    _, sequences = exact
    both = [moments(probabilities, scores) for probabilities, scores, _ in sequences]
    means = torch.stack([mean for mean, _ in both])
    fourth = torch.stack([fourth for _, fourth in both])
    return means.mean(0), (fourth - means**2).mean(0), fourth.mean(0)


@pytest.fixture(scope="module")
def many(demo, tmp_path_factory):
    """What is fitted to many sequences, each of the three 100 times."""
    return fitted(demo / "model", demo / "many.jsonl", tmp_path_factory.mktemp("many") / "f.safetensors")


@pytest.mark.parametrize("rows", ["few", "many"])
def test_the_estimate_is_the_exact_diagonal_within_its_monte_carlo_error(rows, demo, many, exact, diagonal, tmp_path):
    """Summed over all next tokens, not drawn; several draws of few sequences, and one of many."""
    names, _ = exact
    fisher, variance, _ = diagonal
    tensors, _ = many
    if rows == "few":
        tensors, _ = fitted(demo / "model", demo / "rows.jsonl", tmp_path / "f.safetensors", "--draws", 100)
    assert sorted(tensors) == sorted(names)
    z = (flattened(names, tensors) - fisher) / (variance / 300).sqrt()
    # Entries are correlated, so their mean square is not as near to 1 as that of 7,000 independent ones would be.
    assert 0.5 < z.square().mean() < 2
    assert z.abs().max() < 8
    assert abs(z.mean()) < 0.6


def test_other_squares_are_not_the_diagonal(demo, exact, diagonal):
    """The control: squares of mean gradients of batches, and of gradients of the data's own tokens, are far off."""
    _, sequences = exact
    fisher, variance, _ = diagonal
    error = (variance / 300).sqrt()
    draws = torch.Generator().manual_seed(0)
    scores = torch.stack(
        [
            torch.stack([scores[range(len(drawn)), drawn].sum(0) for drawn in tokens.T])
            for probabilities, scores, _ in sequences
            for tokens in [torch.multinomial(probabilities, 100, replacement=True, generator=draws)]
        ]
    )
    # Their own squares are the estimate, and pass the same test.
    z = (scores.square().mean((0, 1)) - fisher) / error
    assert 0.5 < z.square().mean() < 2
    of_batches = scores.mean(0).square().mean(0)
    assert ((of_batches - fisher) / error).square().mean() > 20
    of_data = torch.stack([scores[range(len(ids)), ids].sum(0).square() for _, scores, ids in sequences]).mean(0)
    assert ((of_data - fisher) / error).square().mean() > 20


def test_the_table_tells_the_error_to_be_expected(many, exact, diagonal):
    """Over sequences and draws, from sums over all entries; here from the exact moments."""
    names, _ = exact
    fisher, _, fourth = diagonal
    tensors, figures = many
    expected = math.sqrt((fourth - fisher**2).sum() / 300) / fisher.norm()
    *groups, whole = figures["groups"]
    assert whole["relative_error"] == pytest.approx(expected.item(), rel=0.3)
    values = flattened(names, tensors)
    assert whole["mean"] == pytest.approx(values.mean().item())
    assert figures["norm"] == pytest.approx(values.norm().item())
    assert sum(one["parameters"] for one in groups) == whole["parameters"] == len(values)
    (mlp,) = (one for one in groups if one["name"] == "mlp")
    own = flattened([name for name in names if ".mlp." in name], tensors)
    assert (mlp["mean"], mlp["parameters"]) == (pytest.approx(own.mean().item()), len(own))
    assert [one["parameters"] for one in groups] == sorted([one["parameters"] for one in groups], reverse=True)


def test_the_error_of_a_mean_is_that_of_its_entries():
    """|mean - truth|^2, averaged over many samples of independent squares, is what each sample says of itself."""
    rng = torch.Generator().manual_seed(0)
    squares = torch.randn(4000, 50, 20, generator=rng, dtype=torch.float64).square()  # samples, sequences, entries
    means = squares.mean(1)
    true = ((means - 1).square().sum(1).mean() / 20).sqrt()
    told = [
        relative_error(float(mean.square().sum()), float(sample.square().sum(1).mean()), 50)
        for mean, sample in zip(means[:200], squares[:200], strict=True)
    ]
    assert sum(told) / len(told) == pytest.approx(true.item(), rel=0.02)
    assert math.isnan(relative_error(1.0, 1.0, 1))


# --- the file ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A tiny Llama and rows for it."""
    folder = tmp_path_factory.mktemp("small")
    make_checkpoint(folder / "model", seed=1)
    rng = random.Random(0)
    rows = [
        {"prompt": f"{rng.randint(0, 99)}+{rng.randint(0, 99)}=", "completion": "9" * rng.randint(1, 4)}
        for _ in range(12)
    ]
    write_rows(folder / "rows.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A Fisher file of the tiny Llama, made in one go, and what the command printed."""
    out = tmp_path_factory.mktemp("whole") / "f.safetensors"
    result = fit(small / "model", small / "rows.jsonl", out)
    assert result.exit_code == 0, result.output
    return out, result.output


def test_the_method_takes_the_file_for_this_checkpoint_and_no_other(small, whole, tmp_path):
    """By the digest of the weights; the file says what it is of."""
    out, printed = whole
    headers = read_headers(small / "model")
    reader.check(str(out), model="early", folder=small / "model", headers=headers)
    make_checkpoint(tmp_path / "other", seed=2)
    with pytest.raises(WiseMergeError, match="is of other weights"):
        reader.check(str(out), model="late", folder=tmp_path / "other", headers=headers)
    told = metadata(out)
    assert told["digest"] == fingerprint.of_weights(small / "model")
    assert (told["sequences"], told["checkpoint"], told["seed"]) == ("12", str(small / "model"), "0")
    assert float(told["norm"]) == reader.norm_of(read_contents(out, "fisher"))
    assert "rows.jsonl: 12 sequences with " in printed
    assert not list(out.parent.glob("*unfinished*"))


def test_seed_and_number_alone_decide_what_is_drawn(small, whole, tmp_path):
    """Typed again, the same bits; another seed, others."""
    out, _ = whole
    again, other = tmp_path / "again.safetensors", tmp_path / "other.safetensors"
    assert fit(small / "model", small / "rows.jsonl", again).exit_code == 0
    assert same(again, out)
    assert fit(small / "model", small / "rows.jsonl", other, "--seed", 1).exit_code == 0
    one, two = load_file(out), load_file(other)
    assert not torch.equal(one["lm_head.weight"], two["lm_head.weight"])


def test_several_draws_are_averaged(small, tmp_path, monkeypatch):
    """Where all draws are the same, three are as good as one; the error told of them is, too."""
    monkeypatch.setattr(torch, "multinomial", lambda p, n, generator: p.argmax(-1, keepdim=True))
    one, of_one = fitted(small / "model", small / "rows.jsonl", tmp_path / "one.safetensors")
    three, of_three = fitted(small / "model", small / "rows.jsonl", tmp_path / "three.safetensors", "--draws", 3)
    assert all(torch.allclose(one[name], three[name], rtol=1e-5, atol=0) for name in one)
    assert of_three["groups"][-1]["relative_error"] == pytest.approx(of_one["groups"][-1]["relative_error"], rel=1e-4)


SCRIPT = """
import sys
from wise_merge.calibrate.fisher import pipeline
pipeline._SECONDS, pipeline._SHARE = 0, 1e9
from wise_merge.cli import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_killed_and_typed_again_it_goes_on_to_the_same_bits(small, whole, tmp_path):
    """Killed at random moments, here between or in any sequence; what is written on the way is whole at any moment."""
    out = tmp_path / "f.safetensors"
    place, counts = place_of(out), [0]
    arguments = ["fit", "fisher", small / "model", "--data", small / "rows.jsonl", "--out", out]
    rng = random.Random(1)
    for _ in range(6):
        process = forked.start([sys.executable, "-c", SCRIPT, *map(str, arguments)])
        while process.poll() is None and not (place.exists() and int(metadata(place)["sequences"]) > counts[-1]):
            time.sleep(0.002)
        time.sleep(0.01 * rng.random())
        process.kill()
        process.wait()
        if out.exists():
            break
        counts.append(int(metadata(place)["sequences"]))
    assert len(counts) > 2
    assert counts == sorted(set(counts))
    if not out.exists():
        result = fit(small / "model", small / "rows.jsonl", out)
        assert result.exit_code == 0, result.output
    assert same(out, whole[0])
    assert not place.exists()


@pytest.mark.parametrize("draws", [1, 3])
def test_what_is_there_is_not_added_again(small, draws, tmp_path, monkeypatch):
    """Interrupted after 5 sequences, it reads the other 7, with one draw or several."""
    options = ("--draws", draws)
    fit(small / "model", small / "rows.jsonl", tmp_path / "once.safetensors", *options)
    monkeypatch.setattr(pipeline, "_SECONDS", 0)
    monkeypatch.setattr(pipeline, "_SHARE", 1e9)
    read = []

    def interrupted(model, sums, **settings):
        return counting(adding(model, sums, **settings), read, stop=5 if not read else None)

    adding = pipeline.adding
    monkeypatch.setattr(pipeline, "adding", interrupted)
    out = tmp_path / "f.safetensors"
    result = fit(small / "model", small / "rows.jsonl", out, *options)
    assert (result.exit_code, out.exists(), place_of(out).exists()) == (130, False, True)
    assert str(out) in result.output
    result = fit(small / "model", small / "rows.jsonl", out, *options)
    assert result.exit_code == 0, result.output
    assert sorted(read) == list(range(12))
    assert same(out, tmp_path / "once.safetensors")


class counting:
    """A context whose function notes the numbers of the sequences and is interrupted before one too many."""

    def __init__(self, context, read, stop):
        self.context, self.read, self.stop = context, read, stop

    def __enter__(self):
        add = self.context.__enter__()

        def noting(sequence, number):
            if self.stop is not None and len(self.read) == self.stop:
                raise KeyboardInterrupt
            self.read.append(number)
            add(sequence, number)

        return noting

    def __exit__(self, *error):
        return self.context.__exit__(*error)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--seed", 3], "--seed 0, and now it is 3"),
        (["--draws", 2], "--draws 1, and now it is 2"),
        (["--dtype", "float64"], "--dtype float32, and now it is float64"),
        (["--limit", 3], "with data "),
        (["other model"], "with weights "),
    ],
)
def test_sums_of_another_work_are_refused(options, named, small, tmp_path, monkeypatch):
    """What differs is named; nothing is deleted."""
    out, model = tmp_path / "f.safetensors", small / "model"
    monkeypatch.setattr(pipeline, "_SECONDS", 0)
    monkeypatch.setattr(pipeline, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert fit(model, small / "rows.jsonl", out).exit_code == 130
    if options == ["other model"]:
        model, options = make_checkpoint(tmp_path / "other", seed=5), []
    before = place_of(out).read_bytes()
    result = fit(model, small / "rows.jsonl", out, *options)
    assert result.exit_code == 1
    assert named in result.output
    assert str(place_of(out)) in result.output
    assert place_of(out).read_bytes() == before


# --- names of tensors -------------------------------------------------------------------------------


def changed(source, target, change):
    """A copy of a checkpoint with other tensors in its file."""
    shutil.copytree(source, target)
    tensors = load_file(target / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    return target


def test_tied_weights_have_one_gradient_under_each_stored_name(demo, tmp_path):
    """The embeddings' and the head's together, whether the files hold one of the two or both."""
    rows, embeddings, head = demo / "rows.jsonl", "model.embed_tokens.weight", "lm_head.weight"
    tied, _ = fitted(demo / "model", rows, tmp_path / "f.safetensors")
    assert head not in tied

    def store_head(tensors):
        tensors[head] = tensors[embeddings].clone()

    twice = changed(demo / "model", tmp_path / "twice", store_head)
    both, _ = fitted(twice, rows, tmp_path / "both.safetensors")
    assert torch.equal(both[head], tied[embeddings])
    assert torch.equal(both[embeddings], tied[embeddings])
    norm = flattened(both, both).norm().item()
    assert float(metadata(tmp_path / "both.safetensors")["norm"]) == pytest.approx(norm)

    def rename(tensors):
        tensors[head] = tensors.pop(embeddings)

    alone, _ = fitted(changed(demo / "model", tmp_path / "alone", rename), rows, tmp_path / "alone.safetensors")
    assert torch.equal(alone.pop(head), tied[embeddings])
    assert alone.keys() == tied.keys() - {embeddings}


def test_what_no_module_reads_has_none(small, whole, tmp_path):
    """Zeros and a warning for a floating tensor; integers, and buffers that no loader reads, are left out."""

    def add(tensors):
        tensors["model.layers.9.extra.weight"] = torch.ones(2, 3)
        tensors["numbers"] = torch.arange(3)
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)

    more = changed(small / "model", tmp_path / "more", add)
    result = fit(more, small / "rows.jsonl", tmp_path / "f.safetensors")
    assert "Warning: tensor model.layers.9.extra.weight of " in result.output
    tensors, expected = load_file(tmp_path / "f.safetensors"), load_file(whole[0])
    assert torch.equal(tensors.pop("model.layers.9.extra.weight"), torch.zeros(2, 3))
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_names_without_the_prefix_of_the_module_are_kept(small, tmp_path):
    """As the Hub's GPT-2 has them: transformers reads them as they are."""
    make_model(tmp_path / "long", "GPT2LMHeadModel", seed=1)
    character_tokenizer().save_pretrained(tmp_path / "long")

    def shorten(tensors):
        for name in list(tensors):
            tensors[name.removeprefix("transformer.")] = tensors.pop(name)

    short = changed(tmp_path / "long", tmp_path / "short", shorten)
    long, _ = fitted(tmp_path / "long", small / "rows.jsonl", tmp_path / "long.safetensors")
    tensors, _ = fitted(short, small / "rows.jsonl", tmp_path / "short.safetensors")
    assert {name.removeprefix("transformer.") for name in long} == tensors.keys()
    assert all(torch.equal(long[name], tensors[name.removeprefix("transformer.")]) for name in long)


def test_experts_that_are_stored_one_by_one_have_a_tensor_each(small, tmp_path, monkeypatch):
    """In memory they are one. Against finite differences: an entry of the file is changed, the model loaded again."""
    from transformers import AutoModelForCausalLM

    make_model(tmp_path / "model", "MixtralForCausalLM", seed=1)
    character_tokenizer().save_pretrained(tmp_path / "model")
    rows = write_rows(tmp_path / "row.jsonl", [{"prompt": "1+1=", "completion": "234"}])
    # So that it is known what is drawn.
    monkeypatch.setattr(torch, "multinomial", lambda p, n, generator: p.argmax(-1, keepdim=True))
    tensors, _ = fitted(tmp_path / "model", rows, tmp_path / "f.safetensors")
    weights = load_file(tmp_path / "model/model.safetensors")
    assert {name: one.shape for name, one in tensors.items()} == {name: one.shape for name, one in weights.items()}
    ids = torch.tensor([character_tokenizer()("1+1=234<eos>")["input_ids"]])

    def log_probability(name, place, step):
        def change(tensors):
            tensors.update({name: tensor.double() for name, tensor in tensors.items()})
            tensors[name].view(-1)[place] += step

        shutil.rmtree(tmp_path / "changed", ignore_errors=True)
        folder = changed(tmp_path / "model", tmp_path / "changed", change)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, experts_implementation="eager").eval()
        with torch.no_grad():
            return model(ids[:, :-1]).logits[0, 3:].log_softmax(-1)

    drawn = log_probability(next(iter(weights)), 0, 0.0).argmax(-1)
    # The largest entry of some, which is far above rounding.
    for name in ["w1", "w3", "w2"]:
        name = max((one for one in tensors if f".{name}.weight" in one), key=lambda one: tensors[one].max())
        place = int(tensors[name].argmax())
        # Wide, as norms and routers compute in float32 in any case.
        step = 2e-3
        up, down = (log_probability(name, place, sign * step)[range(4), drawn].sum() for sign in (1, -1))
        assert tensors[name].view(-1)[place].item() == pytest.approx(((up - down) / (2 * step)).item() ** 2, rel=2e-3)


# --- dtypes and mistakes ----------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "computed"), [("bfloat16", "bfloat16"), ("float16", "float32")])
def test_gradients_are_computed_in_the_stored_dtype_or_wider(dtype, computed, small, tmp_path):
    """Float16 holds no gradients; squares and sums are float32 in any case. Not far from float32 altogether."""
    model = make_checkpoint(tmp_path / "model", seed=1, dtype=dtype)
    one, figures = fitted(model, small / "rows.jsonl", tmp_path / "one.safetensors")
    two, _ = fitted(model, small / "rows.jsonl", tmp_path / "two.safetensors", "--dtype", "float32")
    assert figures["dtype"] == computed
    assert {tensor.dtype for tensor in one.values()} == {torch.float32}
    # 8 bits of mantissa; the two draw the same tokens.
    assert flattened(two, one).norm() == pytest.approx(flattened(two, two).norm().item(), rel=0.05)


def broken(name, folder):
    """A checkpoint or options that cannot be fitted."""
    model = folder / "model"
    if name == "quantised":
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    elif name == "NaN":
        tensors = load_file(model / "model.safetensors")
        tensors["model.norm.weight"][0] = math.nan
        save_file(tensors, model / "model.safetensors", {"format": "pt"})
    elif name == "adapter":
        (model / "config.json").rename(model / "adapter_config.json")
        (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    elif name == "no weights":
        (model / "model.safetensors").unlink()
    elif name == "empty":
        (folder / "rows.jsonl").write_text("")
    elif name == "no completion":
        template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
        tokenizer = character_tokenizer()
        tokenizer.chat_template = template
        tokenizer.save_pretrained(model)
        chat = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": ""}]}
        write_rows(folder / "rows.jsonl", [chat])
    elif name == "there already":
        (folder / "f.safetensors").touch()
    elif name == "a file for a folder":
        (folder / "file").touch()
    return {
        "float16": ["--dtype", "float16"],
        "another suffix": ["--out", folder / "f.pt"],
        "a file for a folder": ["--out", folder / "file" / "f.safetensors"],
        "both": ["--task", "countdown_passk"],
        "no device": ["--device", "nowhere"],
    }.get(name, [])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("quantised", "is quantised"),
        ("NaN", "rows.jsonl, line 1: the logits contain NaN or infinity"),
        ("adapter", "adapter"),
        ("no weights", "no weights"),
        ("empty", "is empty"),
        ("no completion", "no completion token"),
        ("there already", "exists and is not overwritten"),
        ("a file for a folder", "is a file, not a folder"),
        ("float16", "gradients do not fit into float16"),
        ("another suffix", "must end in .safetensors"),
        ("both", "either --data"),
        ("no device", "--device nowhere cannot be used"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(name, said, small, tmp_path):
    """Before any long work, with what was wrong."""
    shutil.copytree(small / "model", tmp_path / "model")
    write_rows(tmp_path / "rows.jsonl", [{"prompt": "1+1=", "completion": "2"}])
    options = broken(name, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = fit(tmp_path / "model", tmp_path / "rows.jsonl", tmp_path / "f.safetensors", *options)
    assert result.exit_code == 1, result.output
    assert said in result.output
    assert len(result.output.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_that_is_certain_of_everything_has_no_fisher(small, tmp_path):
    """All entries are 0: one line instead of a file by which nothing can be averaged."""

    def make_certain(tensors):
        tensors["lm_head.weight"] *= 1e6

    certain = changed(small / "model", tmp_path / "certain", make_certain)
    result = fit(certain, small / "rows.jsonl", tmp_path / "f.safetensors")
    assert result.exit_code == 1
    assert "every entry of the Fisher of " in result.output
    assert list(tmp_path.iterdir()) == [certain]


def test_a_disk_without_room_is_told_before(small, tmp_path, monkeypatch):
    """The sums on the way and the file beside them must fit."""
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda _: type("", (), {"free": 1000, "total": 10**6}))
    result = fit(small / "model", small / "rows.jsonl", tmp_path / "f.safetensors")
    assert result.exit_code == 1
    assert "has free; make room" in result.output
