"""WIDEN: the published rule in plain loops, and the same merge wherever it can be asked for."""

import json
import math
from fractions import Fraction

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from support.checkpoints import make_checkpoint, tiny_llama
from support.merges import assert_same_weights
from support.merges import merge as by_mergekit
from support.merges import run as by_ours

from wise_merge.cli import main
from wise_merge.errors import WiseMergeError
from wise_merge.kernels import blocks
from wise_merge.kernels.widen import changes, widen
from wise_merge.methods import METHODS
from wise_merge.tensors.statistics import statistics_of

NAMES = ("one", "two", "three")

# The rule, as section 3 of the paper and its code have it, with lists of floats.


def scores(significance, average, t, s):
    """Of each model and column: the softmax over the models, or s above t times the average of the model."""
    columns = range(len(significance[0]))
    exponentials = [[math.exp(float(value)) for value in values] for values in significance]
    return [
        [
            s if Fraction(values[j]) > Fraction(t) * mean else own[j] / math.fsum(row[j] for row in exponentials)
            for j in columns
        ]
        for values, own, mean in zip(significance, exponentials, average, strict=True)
    ]


def ranked(change):
    """The place of each column among all of a model, as a share of their number; equal ones in their order."""
    order = sorted(range(len(change)), key=lambda j: (change[j], j))
    return [Fraction(order.index(j), len(change)) for j in range(len(change))]


def length(column):
    return math.sqrt(math.fsum(x * x for x in column))


def turn(column, start):
    """1 - cos of two columns; 0 where one has no direction."""
    lengths = length(column), length(start)
    if not all(lengths):
        return 0.0
    unit, other = ([x / one for x in values] for values, one in zip((column, start), lengths, strict=True))
    return 1 - math.fsum(x * y for x, y in zip(unit, other, strict=True)) / (length(unit) * length(other))


def by_columns(base, models, t, s):
    """The merge of lists of columns, each a list of floats."""
    parts = []
    for change in (lambda column, start: abs(length(column) - length(start)), turn):
        ranks = [ranked([change(*pair) for pair in zip(model, base, strict=True)]) for model in models]
        parts.append(scores(ranks, [sum(rank) / len(rank) for rank in ranks], t, s))
    weights = [[(x + y) / 2 for x, y in zip(*rows, strict=True)] for rows in zip(*parts, strict=True)]
    return [
        [
            start[i] + math.fsum(weights[n][j] * (model[j][i] - start[i]) for n, model in enumerate(models))
            for i in range(len(start))
        ]
        for j, start in enumerate(base)
    ]


def by_elements(base, models, t, s):
    """The merge of lists of floats."""
    change = [[abs(x - y) for x, y in zip(model, base, strict=True)] for model in models]
    average = [sum(map(Fraction, row)) / len(row) for row in change]
    weights = scores(change, average, t, s)
    return [
        start + math.fsum(weights[n][j] * (model[j] - start) for n, model in enumerate(models))
        for j, start in enumerate(base)
    ]


def reference(base, models, t=1.0, s=1.0, *, looked_up=False):
    """The merge in float64."""
    wide = [tensor.double() for tensor in (base, *models)]
    if base.dim() < 2:
        first, *others = (tensor.reshape(-1).tolist() for tensor in wide)
        return torch.tensor(by_elements(first, others, t, s), dtype=torch.float64).view(base.shape)
    if base.dim() > 2:
        stacked = base.dim() == 3 and base.shape[1] > 1
        split = [list(tensor) if stacked else [tensor.reshape(len(tensor), -1)] for tensor in wide]
        return torch.stack([reference(*one[:1], one[1:], t, s) for one in zip(*split, strict=True)]).view(base.shape)
    first, *others = ((tensor if looked_up else tensor.t()).tolist() for tensor in wide)
    merged = torch.tensor(by_columns(first, others, t, s), dtype=torch.float64)
    return merged if looked_up else merged.t()


def drawn(shape, dtype, *, models=3, seed=0, scale=0.1):
    """A base and models around it, whose columns change by different amounts."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator)
    size = scale * torch.rand(shape[-1:], generator=generator)
    return base.to(dtype), [(base + size * torch.randn(shape, generator=generator)).to(dtype) for _ in range(models)]


def assert_close(found, exact, inputs):
    """Off by half the spacing of the dtype, and by what the arithmetic in the next wider one has lost."""
    one = found.double()
    up, down = (torch.nextafter(found, torch.full_like(found, end)).double() for end in (torch.inf, -torch.inf))
    lost = 2.0 ** -(20 if found.dtype.itemsize == 2 else 45) * max(tensor.abs().max().item() for tensor in inputs)
    assert ((one - exact).abs() <= torch.maximum(up - one, one - down) / 2 + lost).all()


SHAPES = {"matrix": (5, 9), "one row": (1, 8), "one column": (6, 1), "vector": (13,), "number": ()}
SHAPES |= {"experts": (3, 4, 6), "depthwise convolution": (6, 1, 4), "convolution": (4, 3, 2, 2)}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_merge_is_that_of_the_paper(shape, dtype):
    """Against loops in float64, for defaults and other settings, two and three models."""
    for number, (t, s) in enumerate([(1.0, 1.0), (1.3, 0.4), (0.0, 2.0), (5.0, 1.0)]):
        base, models = drawn(shape, dtype, models=2 + number % 2, seed=number)
        found = widen(base, models, above_average=t, score=s)
        assert found.dtype == dtype
        assert found.shape == base.shape
        assert_close(found, reference(base, models, t, s), [base, *models])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_the_columns_of_embeddings_are_tokens(dtype):
    """Transposed, merged and transposed back; the merge by the other columns is another one."""
    base, models = drawn((11, 6), dtype)
    found = widen(base, models, looked_up=True)
    assert_close(found, reference(base, models, looked_up=True), [base, *models])
    assert torch.equal(found, widen(base.t().contiguous(), [model.t().contiguous() for model in models]).t())
    assert not torch.equal(found, widen(base, models))


@pytest.mark.parametrize("looked_up", [False, True])
def test_threads_and_blocks_leave_no_trace(looked_up, monkeypatch):
    """Of the size of a real model's, and one against the loops in blocks so small that it has many."""
    base, models = drawn((700, 1100), torch.bfloat16, models=2, seed=5)
    one, *others = (widen(base, models, looked_up=looked_up) for _ in by_threads(monkeypatch, 1, 2, 3))
    assert all(torch.equal(one, other) for other in others)
    monkeypatch.setattr(blocks, "BLOCK", 1 << 10)
    base, models = drawn((30, 700) if not looked_up else (700, 30), torch.bfloat16, models=2, seed=6)
    for _ in by_threads(monkeypatch, 1, 3):
        found = widen(base, models, looked_up=looked_up)
        assert_close(found, reference(base, models, looked_up=looked_up), [base, *models])


def by_threads(monkeypatch, *counts):
    for count in counts:
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        yield


def test_columns_of_zeros_have_no_direction():
    """In the base, in a model, in both: nothing is NaN, and the difference of their directions is 0."""
    base, models = drawn((5, 9), torch.float32)
    base[:, 2] = base[:, 4] = models[0][:, 4] = models[1][:, 7] = 0
    found = widen(base, models)
    assert found.isfinite().all()
    assert_close(found, reference(base, models), [base, *models])


def test_models_close_to_their_base_are_told_apart():
    """Turns of 1e-6, whose cosine is 1 in float32: the formula as it is written ranks them by chance there."""
    generator = torch.Generator().manual_seed(8)
    base = torch.randn(400, 20, generator=generator, dtype=torch.float64)
    size = 1e-6 * (1 + torch.randperm(20, generator=generator) / 5)
    delta = size * torch.randn(400, 20, generator=generator, dtype=torch.float64)
    base, model = base.float(), (base + delta).float()
    start, step = base.double(), model.double() - base.double()
    sums = torch.stack([(one * other).sum(0) for one, other in [(start, start), (start, step), (step, step)]])
    exact = torch.tensor([turn(*pair) for pair in zip(model.t().tolist(), base.t().tolist(), strict=True)])
    assert torch.equal(changes(sums)[1][0].argsort(), exact.argsort())
    naive = 1 - torch.cosine_similarity(model / model.norm(dim=0), base / base.norm(dim=0), dim=0)
    assert not torch.equal(naive.argsort(), exact.argsort())


def test_changes_of_length_alone_turn_nothing():
    """By hand: twice as long, turned round, turned by a right angle, the same, and from nothing."""
    start = torch.tensor([[3.0, 3, 3, 3, 0], [4.0, 4, 4, 4, 0]]).double()
    model = torch.tensor([[6.0, -3, 4, 3, 1], [8.0, -4, -3, 4, 0]]).double()
    step = model - start
    sums = torch.stack([(one * other).sum(0) for one, other in [(start, start), (start, step), (step, step)]])
    lengths, directions = changes(sums)
    assert lengths.tolist() == [[5, 0, 0, 0, 1]]
    assert directions.tolist() == [[0, 2, 1, 0, 0]]
    # And by chance: what rounding leaves of a turn by nothing would rank columns that are all alike.
    start = torch.randn(300, 1000, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    step = start * torch.linspace(-0.3, 0.7, 1000).double()
    sums = torch.stack([(one * other).sum(0) for one, other in [(start, start), (start, step), (step, step)]])
    assert changes(sums)[1].count_nonzero() == 0


def test_equal_changes_rank_in_the_order_of_the_columns():
    """Four columns that change alike: ranks 0 to 3, of which 2 and 3 lie above their average of 1.5."""
    base = torch.eye(4)
    models = [base * 2, base * 3]
    # Directions all 0 as well; of ranks 0 and 1 the softmax over two equal models is 1/2.
    assert torch.equal(widen(base, models).diagonal(), 1 + torch.tensor([1.5, 1.5, 3, 3]))
    # The middle one of three is the average, not above it.
    base = torch.eye(3)
    assert torch.equal(widen(base, [base * 2, base * 3]).diagonal(), 1 + torch.tensor([1.5, 1.5, 3]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_what_equals_its_base_stays_and_inputs_are_untouched(dtype):
    """Also with weights that do not sum to 1; and the result goes where it is wanted."""
    base, models = drawn((40, 50), dtype)
    assert torch.equal(widen(base, [base.clone()] * 3, score=2.0), base)
    before = [tensor.clone() for tensor in (base, *models)]
    place = torch.empty_like(base)
    assert widen(base, models, out=place).data_ptr() == place.data_ptr()
    assert torch.equal(place, widen(base, models))
    assert all(torch.equal(*pair) for pair in zip(before, (base, *models), strict=True))


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ([torch.ones(2, 3)], "at least two models; got 1"),
        ([torch.ones(2, 3), torch.ones(3, 2)], r"model 1 has shape \(3, 2\).* base has \(2, 3\)"),
        ([torch.ones(2, 3), torch.ones(2, 3).half()], "model 1 .*float16"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(models, words):
    """One clear line; so are integers."""
    with pytest.raises(WiseMergeError, match=words):
        widen(torch.ones(2, 3), models)
    with pytest.raises(WiseMergeError, match="int64"):
        widen(torch.ones(2, dtype=torch.int64), [torch.ones(2, dtype=torch.int64)] * 2)


# By the commands.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A base and three models in bfloat16; and two of each with tied embeddings."""
    folder = tmp_path_factory.mktemp("widen")
    for seed, name in enumerate(("base", *NAMES)):
        make_checkpoint(folder / name, seed=seed, dtype="bfloat16")
    tied = tiny_llama(tie_word_embeddings=True, num_hidden_layers=1)
    for seed, name in enumerate(("base", *NAMES[:2])):
        make_checkpoint(folder / "tied" / name, seed=seed, dtype="bfloat16", config=tied)
    return folder


def recipe(run, names=NAMES, **more):
    """Of these models and their base."""
    models = [{"model": str(run / name)} for name in names]
    return {"merge_method": "widen", "base_model": str(run / "base"), "models": models, **more}


def merged(recipe, tmp_path):
    """The weights that both commands write, bit for bit, and what ours said."""
    done = by_ours(recipe, tmp_path / "ours")
    assert done.exit_code == 0, done.output
    theirs = by_mergekit(recipe, tmp_path / "theirs")
    assert theirs.exit_code == 0, theirs.output
    assert_same_weights(tmp_path / "ours", tmp_path / "theirs")
    return load_file(tmp_path / "ours/model.safetensors"), done.output


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {"above_average": 1.2, "score": 0.7}},
        {"dtype": "float32", "out_dtype": "bfloat16"},
        {"parameters": {"score": [{"filter": "mlp", "value": [0.1, 0.9]}, {"value": 1}]}},
    ],
    ids=str,
)
def test_both_commands_write_the_same_bits(changes, run, tmp_path):
    """Whatever the parameters and dtypes."""
    assert merged(recipe(run, **changes), tmp_path)[0] != {}


def test_the_model_is_the_rule_applied_to_its_files(run, tmp_path):
    """Embeddings by tokens, the LM head and all else by columns; and the record names all."""
    ours, said = merged(recipe(run), tmp_path)
    inputs = [load_file(run / name / "model.safetensors") for name in ("base", *NAMES)]
    for name, tensor in ours.items():
        base, *models = (one[name] for one in inputs)
        assert_close(tensor, reference(base, models, looked_up=name == "model.embed_tokens.weight"), [base, *models])
    assert f"widen of {run / 'base'}, {run / 'one'}, {run / 'two'} and {run / 'three'}" in said
    record = json.loads((tmp_path / "ours/wise_merge.json").read_text())
    assert [one["model"] for one in record["models"]] == [str(run / name) for name in ("base", *NAMES)]


def test_tied_embeddings_are_merged_by_tokens(run, tmp_path):
    """As the one tensor that they are; the merge has no head of its own."""
    ours, _ = merged(recipe(run / "tied", NAMES[:2]), tmp_path)
    inputs = [
        load_file(run / "tied" / name / "model.safetensors")["model.embed_tokens.weight"]
        for name in ("base", *NAMES[:2])
    ]
    assert_close(ours["model.embed_tokens.weight"], reference(inputs[0], inputs[1:], looked_up=True), inputs)
    assert "lm_head.weight" not in ours


def test_the_base_may_stand_among_the_models(run, tmp_path):
    """It counts for none of them."""
    done = by_ours(recipe(run, NAMES[:2]), tmp_path / "beside")
    assert done.exit_code == 0, done.output
    among, _ = merged(recipe(run, ("base", *NAMES[:2])), tmp_path)
    assert all(
        torch.equal(tensor, among[name]) for name, tensor in load_file(tmp_path / "beside/model.safetensors").items()
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models": [{"model": "one"}]}, ["widen merges at least 2 models beside base_model", "names 1 (one)"]),
        ({"models": [{"model": "base"}, {"model": "one"}]}, ["at least 2 models beside base_model", "names 1 (one)"]),
        ({"models": [{"model": "one"}, {"model": "one"}]}, ["one is named twice"]),
        ({"base_model": None}, ["base_model is missing", "widen", "from which they were trained"]),
        ({"parameters": {"scores": 1}}, ["unknown parameter scores", "did you mean score?"]),
        ({"parameters": {"score": -1}}, ["score must be a number that is not negative", "-1"]),
        ({"parameters": {"above_average": "much"}}, ["above_average", "must be a number", "much"]),
    ],
)
def test_bad_recipes_are_one_line(change, words, run, tmp_path, monkeypatch):
    """Before anything is read or written."""
    monkeypatch.chdir(run)
    settings = {"merge_method": "widen", "base_model": "base", "models": [{"model": name} for name in NAMES], **change}
    line = refusal(by_ours, {key: value for key, value in settings.items() if value is not None}, tmp_path / "out")
    assert all(word in line for word in words), line


def refusal(command, recipe, out):
    """The one line with which a command refuses a recipe; nothing is written."""
    done = command(recipe, out)
    assert done.exit_code == 1, done.output
    assert not (out / "config.json").exists()
    (line,) = (line for line in done.output.strip().splitlines() if line.startswith("Error"))
    return line


@pytest.mark.parametrize("command", [by_ours, by_mergekit])
def test_models_that_do_not_fit_are_named(command, run, tmp_path):
    """One model, other shapes, and a NaN, by either command."""
    assert "at least 2 models" in refusal(command, recipe(run, ("one",)), tmp_path / "single")
    other = make_checkpoint(tmp_path / "other", seed=9, config=tiny_llama(intermediate_size=96), dtype="bfloat16")
    line = refusal(command, recipe(run, ("one", other)), tmp_path / "shapes")
    assert "has shape" in line
    assert str(other) in line
    nan = make_checkpoint(tmp_path / "nan", seed=9, dtype="bfloat16")
    tensors = load_file(nan / "model.safetensors")
    tensors["model.norm.weight"][3] = torch.nan
    save_file(tensors, nan / "model.safetensors", metadata={"format": "pt"})
    line = refusal(command, recipe(run, ("one", nan)), tmp_path / "nans")
    assert f"model.norm.weight of {nan} contains nan" in line


def test_it_cannot_be_swept(run, tmp_path):
    """It needs whole tensors, and a running engine has parts of them; one line says so."""
    settings = {"early": str(run / "base"), "late": [str(run / name) for name in NAMES], "method": "widen"}
    settings |= {"tasks": ["gsm8k_passk"], "samples": 2}
    (tmp_path / "sweep.yml").write_text(json.dumps(settings))
    done = CliRunner().invoke(main, ["sweep", str(tmp_path / "sweep.yml"), "--out", str(tmp_path / "grid")])
    assert done.exit_code == 1
    assert "method widen needs whole tensors at once" in done.output


def test_the_name_of_a_tensor_says_how_it_is_merged():
    """For whatever carries the method out; of a method that does not ask, nothing is said."""
    names = ["model.embed_tokens.weight", "lm_head.weight"]
    for method, found in (("widen", {names[0]: {"looked_up": True}}), ("uniform_soup", {})):
        assert statistics_of({"merge_method": method}, METHODS[method], ["one"], {}, names) == found
