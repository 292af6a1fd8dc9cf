"""Which points a sweep has and whether they may be sampled: what is refused, in one line, before any long work."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from support.checkpoints import make_checkpoint, tiny_llama

from wise_merge.checkpoints import fingerprint
from wise_merge.cli import main
from wise_merge.errors import WiseMergeError
from wise_merge.points.folder import read_plan, write_outcome, write_plan
from wise_merge.points.outcome import Outcome
from wise_merge.search.sweep.plan import make_plan
from wise_merge.search.sweep.reading import read_settings
from wise_merge.tensor_files.contents import write as write_file
from wise_merge.text import size


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three checkpoints of one model: an early one and two late ones, with the logs that tell their steps."""
    run = tmp_path_factory.mktemp("made") / "run"
    for step in (10, 20, 30):
        make_checkpoint(run / f"checkpoint-{step}", seed=step)
    return run


@pytest.fixture
def run(made, tmp_path):
    """A copy of these, to be damaged."""
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def options(run, /, **changes):
    given = {
        "early": str(run / "checkpoint-10"),
        "late": (str(run / "checkpoint-20"),),
        "alphas": "0.5",
        "tasks": "countdown_passk",
        "samples": 4,
        "device": "cpu",
        **changes,
    }
    return {key: value for key, value in given.items() if value is not None}


def plan_of(run, out, /, **changes):
    return make_plan(read_settings(None, options(run, **changes)), out)


def check(run, out, /, **changes):
    """Run the command's checks on a file with these settings; return how it ended."""
    content = {
        key: list(value) if isinstance(value, tuple) else value for key, value in options(run, **changes).items()
    }
    path = run.parent / "sweep.yml"
    path.write_text(yaml.safe_dump(content))
    return CliRunner().invoke(main, ["sweep", str(path), "--out", str(out), "--check"])


def refusal(run, out, /, **changes):
    """The one line that a user gets; no traceback, and nothing in the folder of results changes."""

    def there():
        return {path: path.read_bytes() for path in [out, *out.rglob("*")] if path.is_file()}, out.exists()

    before = there()
    done = check(run, out, **changes)
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit)
    assert there() == before
    (line,) = done.output.splitlines()
    return line.removeprefix("Error: ")


def begin(results):
    """Write down what is asked for, and that something came of the first point."""
    write_plan(results)
    write_outcome(results.folder, Outcome(results.points[0], results.tasks[0], "0" * 16, None, None, ()))


@pytest.fixture
def out(run, tmp_path):
    """The folder of a sweep that has begun."""
    begin(plan_of(run, tmp_path / "results").results)
    return tmp_path / "results"


# --- what is sampled ------------------------------------------------------------------------------


def test_checks_alone_say_what_would_be_sampled(run, tmp_path):
    """And write nothing."""
    done = check(run, tmp_path / "results", temperatures=[0.7, 1.0])
    assert done.exit_code == 0, done.output
    assert "alpha 0, 0.5, 1 x temperature 0.7, 1: 6 points of 3 models, 4 samples per problem" in done.stdout
    assert done.stdout.endswith("All checks have passed; nothing was sampled.\n")
    assert not (tmp_path / "results").exists()


def test_points_are_every_combination_with_both_ends(run, tmp_path):
    """By late checkpoint, alpha and temperature; the ends are there once, asked for or not."""
    lates = tuple(str(run / f"checkpoint-{step}") for step in (20, 30))
    plan = plan_of(run, tmp_path / "results", late=lates, alphas="0,0.3,1", temperatures="0.7,1")
    assert [(point.late.step, point.alpha, point.temperature) for point in plan.points] == [
        (step, alpha, temperature) for step in (20, 30) for alpha in (0, 0.3, 1) for temperature in (0.7, 1)
    ]
    assert {point.early.step for point in plan.points} == {10}
    assert len({point.model for point in plan.points}) == 5
    assert len({point.name for point in plan.points}) == 12
    assert plan.results.points == plan.points
    assert (plan.dtype, plan.warnings) == ("float32", ())
    weights = (run / "checkpoint-10" / "model.safetensors").stat().st_size
    # A file has a header as well.
    assert 0.9 * weights < plan.model_bytes < weights


def test_a_run_is_swept_from_its_first_checkpoint_or_from_a_named_one(run, tmp_path):
    """All later ones are late; what comes before the early one is left out."""
    plan = plan_of(run, tmp_path / "results", run=str(run), early=None, late=None)
    assert {point.early.step for point in plan.points} == {10}
    assert list(dict.fromkeys(point.late.step for point in plan.points)) == [20, 30]
    plan = plan_of(run, tmp_path / "results", run=str(run), early=str(run / "checkpoint-20"), late=None)
    assert {(point.early.step, point.late.step) for point in plan.points} == {(20, 30)}


def test_bang_takes_a_temperature_for_each_checkpoint(run, tmp_path):
    """As the calibration names them, with or without a slash at the end; both are in the recipe."""
    early, late = (f"{run}/checkpoint-{step}" for step in (10, 20))
    plan = plan_of(run, tmp_path / "results", method="bang", calibration={f"{early}/": 0.9, late: 1.8})
    assert {(point.early.temperature, point.late.temperature) for point in plan.points} == {(0.9, 1.8)}


def test_a_copy_among_the_late_checkpoints_is_told(run, tmp_path):
    """A warning: nothing is wrong, but its points say nothing new."""
    shutil.copytree(run / "checkpoint-20", run / "copy")
    plan = plan_of(run, tmp_path / "results", late=(str(run / "checkpoint-20"), str(run / "copy")))
    assert [one for one in plan.warnings if "are one and the same" in one]


# --- checkpoints that cannot be swept -------------------------------------------------------------


def test_checkpoints_of_different_shapes_are_refused(run, tmp_path):
    """With the tensor and both shapes; another architecture by its name; of one late checkpoint among others."""
    make_checkpoint(run / "wide", seed=1, config=tiny_llama(intermediate_size=96))
    line = refusal(run, tmp_path / "results", late=(str(run / "checkpoint-20"), str(run / "wide")))
    assert "mlp" in line
    assert f"(64, 32) in {run / 'checkpoint-10'} but (96, 32) in {run / 'wide'}" in line.replace(
        "(32, 64)", "(64, 32)"
    ).replace("(32, 96)", "(96, 32)")
    config = run / "checkpoint-20" / "config.json"
    config.write_text(config.read_text().replace("LlamaForCausalLM", "MistralForCausalLM"))
    assert "different architectures" in refusal(run, tmp_path / "results")


def test_checkpoints_of_different_vocabularies_are_told_what_a_sweep_can_do(run, tmp_path):
    """Not the key of a recipe, which a sweep does not have, but what to run first."""
    make_checkpoint(run / "large", seed=1, config=tiny_llama(vocab_size=120))
    line = refusal(run, tmp_path / "results", late=(str(run / "large"),))
    assert "wise-merge merge RECIPE OUT --alphas 0,1" in line


def test_adapters_are_refused(run, tmp_path):
    """As a folder, within a run, and in mergekit's notation BASE+ADAPTER."""
    adapter = run / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    for name in (str(adapter), f"{run / 'checkpoint-10'}+{adapter}"):
        line = refusal(run, tmp_path / "results", late=(name,))
        assert f"{name} is a LoRA adapter, and a sweep needs whole checkpoints" in line


def test_quantised_checkpoints_are_refused(run, tmp_path):
    """As their config.json says it."""
    config = run / "checkpoint-20" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "quantization_config": {"bits": 4}}))
    assert "checkpoint-20 is quantised (quantization_config in its config.json)" in refusal(run, tmp_path / "results")


def test_a_head_that_vllm_would_not_load_is_refused_there(tmp_path):
    """transformers loads a head other than its embeddings, whatever the config says; vLLM goes by the config."""
    for step in (10, 20):
        make_checkpoint(tmp_path / "run" / f"checkpoint-{step}", seed=step, config=tiny_llama(tie_word_embeddings=True))
    file = tmp_path / "run" / "checkpoint-20" / "model.safetensors"
    tensors = load_file(file)
    for head in (tensors["model.embed_tokens.weight"].clone(), tensors["model.embed_tokens.weight"] + 1):
        save_file({**tensors, "lm_head.weight": head}, file, metadata={"format": "pt"})
        with_head = plan_of(tmp_path / "run", tmp_path / "results").model_bytes
        if torch.equal(head, tensors["model.embed_tokens.weight"]):
            tied = plan_of(tmp_path / "run", tmp_path / "results", backend="vllm").model_bytes
            assert with_head == tied
    assert with_head == tied + 4 * head.numel()
    line = refusal(tmp_path / "run", tmp_path / "results", backend="vllm")
    assert "checkpoint-20 stores a lm_head.weight other than its embeddings" in line
    assert "backend: hf" in line


def test_an_early_checkpoint_without_a_tokenizer_needs_another_one(run, tmp_path):
    """It is the one that is loaded; the late one's will do."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (run / "checkpoint-10" / name).unlink()
    late = run / "checkpoint-20"
    line = refusal(run, tmp_path / "results")
    assert line == f"{run}/checkpoint-10 has no tokenizer; name another by --model-args tokenizer={late}"
    assert plan_of(run, tmp_path / "results", model_args={"tokenizer": str(late)}).points
    (late / "tokenizer.json").unlink()
    assert "tokenizer=a folder with one" in refusal(run, tmp_path / "results")


def test_weights_that_are_missing_or_torn_are_refused(run, tmp_path):
    """Before anything is loaded: a half-copied file, none at all."""
    weights = run / "checkpoint-20" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert f"{weights} is not a whole safetensors file" in refusal(run, tmp_path / "results")
    weights.unlink()
    assert "has a config.json but no weights" in refusal(run, tmp_path / "results")
    (run / "checkpoint-20" / "config.json").unlink()
    assert "has no config.json" in refusal(run, tmp_path / "results")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"late": "{run}/checkpoint-99"}, "the late checkpoint {run}/checkpoint-99 is neither a directory here nor"),
        ({"early": "{run}/checkpoint-99"}, "the early checkpoint {run}/checkpoint-99 is neither a directory here nor"),
        ({"late": "{run}/checkpoint-10"}, "early and late are both {run}/checkpoint-10; a sweep needs two checkpoints"),
        ({"late": "{run}/../run/checkpoint-10"}, "are one folder; a sweep needs two checkpoints"),
        ({"run": "{run}"}, "late and run are both there; run takes every late checkpoint of a folder"),
        ({"run": "{run}/no", "late": None}, "{run}/no does not exist or is not a directory"),
        ({"run": "{run}", "late": None, "early": "{run}/checkpoint-30"}, "run {run} has no whole checkpoint after"),
        (
            {"method": "bang", "calibration": {"x": 1.5}},
            "calibration has no temperature for {run}/checkpoint-10; it na",
        ),
        ({"model_args": {"load_in_4bit": True}}, "model_args load_in_4bit cannot be used in a sweep"),
        ({"tasks": "countdown"}, "there is no task countdown with K samples per problem; near it are countdown_passk"),
    ],
    ids=str,
)
def test_what_cannot_be_swept_is_named(changes, message, run, tmp_path):
    """One line each, with the names that the user wrote."""
    filled = {key: value.format(run=run) if isinstance(value, str) else value for key, value in changes.items()}
    assert message.format(run=run) in refusal(run, tmp_path / "results", **filled)


@pytest.mark.parametrize(("left", "said"), [(1, "1 whole checkpoint"), (0, "no whole checkpoint")])
def test_a_run_of_fewer_than_two_checkpoints_is_refused(left, said, run, tmp_path):
    """With how many are whole, and the command that shows what is wrong with the others."""
    for step in (10, 20, 30)[left:]:
        (run / f"checkpoint-{step}" / "model.safetensors").unlink()
    line = refusal(run, tmp_path / "results", run=str(run), early=None, late=None)
    assert line == (
        f"run {run} has {said}; a sweep needs an early and a late one: "
        f"`wise-merge checkpoints {run}` shows what is there"
    )


def test_too_little_memory_is_said_with_what_would_fit(run, tmp_path, monkeypatch):
    """Too little for the model is an error; too little for both checkpoints beside it is slow, and so a warning."""
    # In place of a machine with less memory.
    monkeypatch.setattr("wise_merge.search.engines.checkpoints.available", lambda: 1 << 30)
    line = refusal(run, tmp_path / "results")
    assert re.match(r"too little memory: the model takes 1\d\d\.\d kB while it runs", line)
    assert "what would fit: a GPU (device cuda) or" in line
    needed = sum((run / f"checkpoint-{step}" / "model.safetensors").stat().st_size for step in (10, 20))
    monkeypatch.setattr("wise_merge.search.engines.checkpoints.available", lambda: (1 << 30) + needed)
    done = check(run, tmp_path / "results")
    assert done.exit_code == 0
    assert f"Warning: the two checkpoints ({size(needed)}) do not fit into memory beside the model" in done.stderr
    # A soup has all of them open at once.
    steps = (10, 20, 30)
    needed = sum((run / f"checkpoint-{step}" / "model.safetensors").stat().st_size for step in steps)
    soup = {"method": "uniform_soup", "late": tuple(str(run / f"checkpoint-{step}") for step in steps[1:])}
    done = check(run, tmp_path / "results", alphas=None, **soup)
    assert done.exit_code == 0, done.stderr
    assert f"Warning: the 3 checkpoints ({size(needed)}) do not fit into memory beside the model" in done.stderr


# --- the folder of results ------------------------------------------------------------------------


def test_a_folder_for_results_is_new_or_that_of_a_sweep(run, tmp_path):
    """A file, a file on the way, something else, and a sweep that has lost what says which; a journal alone is fine."""
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "results"):
        assert f"--out {path}: {tmp_path / 'file'} is a file; name a folder" in refusal(run, path)
    assert "holds something else than a sweep; name a new folder" in refusal(run, run)
    out = tmp_path / "results"
    (out / "points").mkdir(parents=True)
    assert "holds something else than a sweep" in refusal(run, out)
    (out / "journal").mkdir()
    assert f"has lost its sweep.json, which says what its points are of; remove {out / 'points'}" in refusal(run, out)
    (out / "points").rmdir()
    assert check(run, out).exit_code == 0


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2}', '{"format": 1, "points": 3}', "\x00"])
def test_a_damaged_sweep_is_refused_with_what_to_remove(content, run, out):
    """Rather than sampled over."""
    (out / "sweep.json").write_text(content)
    line = refusal(run, out)
    assert f"{out / 'sweep.json'} cannot be read (" in line
    assert f"remove {out / 'sweep.json'} and {out / 'points'} and run the sweep again" in line


def test_results_of_another_model_are_refused(run, out):
    """Files of a late or of the early checkpoint that have changed since, under the same name; another early one."""
    line = refusal(run, out, early=str(run / "checkpoint-30"))
    assert f"{out} holds results of another model: early is {run}/checkpoint-10 there (digest " in line
    assert f"and {run}/checkpoint-30 now" in line
    for step, role in ((20, "late"), (10, "early")):
        make_checkpoint(run / f"checkpoint-{step}", seed=99)
        assert f"holds results of another model: {role} is {run}/checkpoint-{step} there" in refusal(run, out)
        make_checkpoint(run / f"checkpoint-{step}", seed=step)
        assert check(run, out).exit_code == 0


def test_a_checkpoint_keeps_its_name_in_one_folder(run, out):
    """The same files under another name are said to be so: recipes and titles of the results carry the first."""
    shutil.move(run / "checkpoint-10", run / "moved")
    line = refusal(run, out, early=str(run / "moved"))
    assert f"the early checkpoint {run}/moved is called {run}/checkpoint-10; call it so again" in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 7}, "seed (1234 there, 7 now)"),
        ({"metadata": {"problems": 10}}, "metadata ({} there, {'problems': 10} now)"),
        ({"gen_kwargs": {"max_gen_toks": 9}}, "gen_kwargs ({} there, {'max_gen_toks': 9} now)"),
        ({"num_fewshot": 0}, "num_fewshot (None there, 0 now)"),
        ({"dtype": "bfloat16", "seed": 7}, "dtype (None there, 'bfloat16' now), seed (1234 there, 7 now)"),
        ({"backend": "vllm"}, "backend ('hf' there, 'vllm' now)"),
    ],
    ids=str,
)
def test_other_settings_need_another_folder(changes, message, run, out):
    """Whatever makes samples that are not of one distribution, with what was and what is."""
    assert f"{out} holds a sweep with other settings: {message}; go on with those, or name" in refusal(
        run, out, **changes
    )


def test_another_calibration_needs_another_folder(run, tmp_path):
    """A temperature that is folded in makes another model; one for a further checkpoint does not change the others."""
    early, late, later = (f"{run}/checkpoint-{step}" for step in (10, 20, 30))
    bang = {"method": "bang", "calibration": {early: 0.9, late: 1.8}}
    out = tmp_path / "results"
    begin(plan_of(run, out, **bang).results)
    for name, role in ((early, "early"), (late, "late")):
        line = refusal(run, out, method="bang", calibration={**bang["calibration"], name: 1.5})
        assert f"results of another calibration: {role} {name} has temperature" in line
    grown = plan_of(run, out, method="bang", late=(late, later), calibration={**bang["calibration"], later: 1.1})
    assert len(grown.results.points) == 6


@pytest.mark.parametrize(
    "changes",
    [
        {"alphas": "0.25,0.75"},
        {"temperatures": "0.7"},
        {"late": 30},
        {"tasks": "sudoku4_passk"},
        {"samples": 2},
        {"samples": 16},
        {"limit": 3},
        {"until_ci": 0.1, "successive_halving": True, "batch_size": 7},
    ],
    ids=str,
)
def test_a_sweep_may_grow_and_forgets_nothing(changes, run, out):
    """Other points, tasks and samples in the same folder: all that was ever asked for stays there."""
    before = read_plan(out)
    if "late" in changes:
        changes = {"late": (str(run / f"checkpoint-{changes['late']}"),)}
    plan = plan_of(run, out, **changes)
    after = plan.results
    assert set(after.points) == set(before.points) | set(plan.points)
    assert len(set(after.points)) == len(after.points)
    assert after.points[: len(plan.points)] == plan.points
    assert after.tasks == tuple(dict.fromkeys([*before.tasks, *plan.settings.tasks]))
    assert after.samples == max(before.samples, plan.settings.samples)
    assert after.settings == before.settings
    # Once more, from what has been written: nothing is new then.
    write_plan(after)
    again = plan_of(run, out, **changes)
    assert again.results == after
    back = plan_of(run, out)
    assert set(back.results.points) == set(after.points)


def test_a_log_of_training_that_comes_later_makes_no_other_checkpoint(run, out):
    """The step is what it was, and so are the points: outcomes would be sampled again otherwise."""
    (run / "checkpoint-20" / "trainer_state.json").write_text(json.dumps({"global_step": 21, "log_history": []}))
    assert plan_of(run, out).points == read_plan(out).points
    with pytest.raises(WiseMergeError, match="a sweep with other settings"):
        make_plan(replace(plan_of(run, out).settings, seed=3), out)


# --- recipes and grids ----------------------------------------------------------------------------


def soup(run, *weights, **more):
    """A recipe of the three checkpoints; the weights of those that have any."""
    models = [{"model": str(run / f"checkpoint-{step}")} for step in (10, 20, 30)]
    for model, weight in zip(models, weights, strict=False):
        if weight is not None:
            model["parameters"] = {"weight": weight}
    return {"merge_method": "uniform_soup", "models": models, **more}


def over(run, recipe=None, /, **values):
    """Settings of a sweep over a recipe, by the steps of the checkpoints whose weights are varied."""
    grid = {"weight": {str(run / f"checkpoint-{step.removeprefix('w')}"): some for step, some in values.items()}}
    return {"recipe": recipe or soup(run), "grid": grid, "early": None, "late": None, "alphas": None}


def weights(plan):
    return [tuple(one.value for one in point.coordinates) for point in plan.points]


def test_a_grid_has_every_combination_and_each_checkpoint(run, tmp_path):
    """What the recipe fixes stays as it is; a combination that is one of the checkpoints is there once."""
    plan = plan_of(run, tmp_path / "results", **over(run, soup(run, 2), w20=[0, 0.5], w30="0:1:1"))
    assert weights(plan) == [(2, 0, 0), (2, 0, 1), (2, 0.5, 0), (2, 0.5, 1), (0, 1, 0), (0, 0, 1)]
    assert [point.unmerged for point in plan.points] == [0, None, None, None, 1, 2]
    assert len({point.model for point in plan.points}) == len({point.name for point in plan.points}) == 6
    plan = plan_of(run, tmp_path / "results", **over(run, w20=[0.5]), temperatures="0.7,1")
    assert weights(plan)[::2] == [(1, 0, 0), (1, 0.5, 1), (0, 1, 0), (0, 0, 1)]
    done = check(run, tmp_path / "results", **over(run, w20=[0, 0.5], w30=[1, 2]))
    assert done.exit_code == 0, done.output
    assert (
        "weight of checkpoint-20 0, 0.5 x weight of checkpoint-30 1, 2 and each checkpoint itself x temp" in done.stdout
    )
    assert "7 points of 7 models, 4 samples per problem" in done.stdout


def test_a_line_in_a_recipe_is_the_line_of_early_and_late(run, tmp_path):
    """The very points that alphas have: equal in digest, name and title, with both ends."""
    early, late = (str(run / f"checkpoint-{step}") for step in (10, 20))
    recipe = {"merge_method": "wise_ft", "base_model": early, "models": [{"model": late}], "dtype": "bfloat16"}
    gone = {"early": None, "late": None, "alphas": None}
    by_recipe = plan_of(run, tmp_path / "results", recipe=recipe, grid={"alpha": [0.25, 0.5]}, **gone)
    by_alphas = plan_of(run, tmp_path / "results", alphas="0.25,0.5", dtype="bfloat16")
    assert by_recipe.points == by_alphas.points
    assert [point.name for point in by_recipe.points] == [point.name for point in by_alphas.points]


def test_temperatures_of_checkpoints_may_be_varied_or_stay(run, tmp_path):
    """Each end once for each of its own temperatures, and a temperature that the recipe fixes is the checkpoint's."""
    early, late = (str(run / f"checkpoint-{step}") for step in (10, 20))
    models = [{"model": late, "parameters": {"temperature": 1.8}}]
    recipe = {"merge_method": "bang", "base_model": early, "models": models}
    grid = {"alpha": 0.5, "temperature": {early: [0.8, 1]}}
    plan = plan_of(run, tmp_path / "results", recipe=recipe, grid=grid, early=None, late=None, alphas=None)
    assert [(point.alpha, point.coordinates[1].value) for point in plan.points] == [
        *((0, 0.8), (0, 1), (0.5, 0.8), (0.5, 1), (1, 0.8)),
    ]
    assert {(point.early.temperature, point.late.temperature) for point in plan.points} == {(1, 1.8)}
    fixed = {**recipe, "parameters": {"alpha": 0.5}}
    grid = {"temperature": {early: [0.8, 1]}}
    plan = plan_of(run, tmp_path / "results", recipe=fixed, grid=grid, early=None, late=None, alphas=None)
    assert [point.alpha for point in plan.points] == [0, 0, 0.5, 0.5, 1]


def test_a_weight_by_layer_stays_one(run, tmp_path):
    """In every point but those of single checkpoints; where the weights sum to 0 at some layer, that is refused."""
    by_layer = [{"filter": "mlp", "value": [0, 1]}, {"value": 0.5}]
    plan = plan_of(run, tmp_path / "results", **over(run, soup(run, by_layer), w20=[1, 2]))
    assert [point.recipe()["models"][0]["parameters"]["weight"] for point in plan.points] == [
        1,
        by_layer,
        by_layer,
        0,
        0,
    ]
    assert len({point.model for point in plan.points}) == 5
    zero = soup(run, by_layer, None, 0)
    line = refusal(run, tmp_path / "results", **over(run, zero, w20=[0, 2]))
    assert line.startswith(f"grid: at weight of {run}/checkpoint-20 0: tensor model.layers.0.mlp.")
    assert line.endswith("the weights sum to 0; give at least one model a positive weight")


def test_a_recipe_names_models_that_are_not_there_as_models(run, tmp_path):
    """Nobody is early or late in a soup."""
    recipe = soup(run)
    recipe["models"][1]["model"] = str(run / "checkpoint-21")
    line = refusal(run, tmp_path / "results", **over(run, recipe, w30=[1]))
    assert f"the model checkpoint {run}/checkpoint-21 is neither a directory here nor" in line


@pytest.fixture
def grid_out(run, tmp_path):
    """The folder of a sweep over a recipe that has begun."""
    begin(plan_of(run, tmp_path / "grid", **over(run, w20=[0.5, 1], w30=[1])).results)
    return tmp_path / "grid"


@pytest.mark.parametrize(
    "values", [{"w20": [0, 0.5, 2], "w30": [0, 1]}, {"w20": [3], "w30": [0]}, {"w20": 1, "w30": 1}]
)
def test_a_grid_may_have_more_values(values, run, grid_out):
    """Or others: all that was ever asked for stays, each model once, whether it is a combination or a checkpoint."""
    before = read_plan(grid_out)
    after = plan_of(run, grid_out, **over(run, **values)).results
    assert {point.model for point in after.points} >= {point.model for point in before.points}
    assert (
        len({point.model for point in after.points}) == len({point.name for point in after.points}) == len(after.points)
    )
    write_plan(after)
    back = plan_of(run, grid_out, **over(run, w20=[0.5, 1], w30=[1]))
    assert set(back.results.points) == set(after.points)


def test_a_recipe_that_says_the_same_is_the_same(run, grid_out):
    """Whether a default is written down, and what the recipe has in the place of what the grid varies."""
    spelt = soup(run, 1, 7, parameters={"weight": 1})
    assert plan_of(run, grid_out, **over(run, spelt, w20=[0.5], w30=[1])).points


@pytest.mark.parametrize(
    ("recipe", "values", "message"),
    [
        (
            (2,),
            {"w20": 1, "w30": 1},
            "weight of {run}/checkpoint-10 (1.0 there, 2.0 now); go on with those, or name ano",
        ),
        ((), {"w20": 1}, "weight of {run}/checkpoint-30 ('in the grid' there, 1.0 now)"),
        ((), {"w10": 1, "w20": 1, "w30": 1}, "weight of {run}/checkpoint-10 (1.0 there, 'in the grid' now)"),
    ],
    ids=str,
)
def test_another_recipe_needs_another_folder(recipe, values, message, run, grid_out):
    """So do a grid of other numbers, other models, other dtypes, and a sweep without a recipe."""
    line = refusal(run, grid_out, **over(run, soup(run, *recipe), **values))
    assert f"{grid_out} holds a sweep with other settings: {message.format(run=run)}" in line


def test_other_models_and_no_recipe_need_another_folder(run, out, grid_out):
    """And a folder of early and late takes no recipe."""
    base = soup(run, base_model=str(run / "checkpoint-20"))
    assert "holds a sweep with other settings: models (['" in refusal(run, grid_out, **over(run, base, w20=1, w30=1))
    narrow = soup(run, dtype="bfloat16")
    assert "dtype (None there, 'bfloat16' now)" in refusal(run, grid_out, **over(run, narrow, w20=1, w30=1))
    plain = refusal(run, grid_out, method="uniform_soup", alphas=None)
    assert f"{grid_out} holds a sweep over a recipe, and this one is over early and late checkpoints" in plain
    line = refusal(run, out, **over(run, w20=1))
    assert f"{out} holds a sweep over early and late checkpoints, and this one is over a recipe" in line


def test_a_file_of_a_recipe_is_known_by_its_content(run, tmp_path):
    """One that was fitted again makes other models, and is refused in the same folder; a copy is the same."""
    models = []
    for step in (10, 20):
        folder, file = run / f"checkpoint-{step}", run / f"fisher-{step}.safetensors"
        tensors = {name: tensor.square() for name, tensor in load_file(folder / "model.safetensors").items()}
        norm = sum(float(tensor.double().square().sum()) for tensor in tensors.values()) ** 0.5
        write_file(file, "fisher", tensors, {"digest": fingerprint.of_weights(folder), "norm": repr(norm)})
        models.append({"model": str(folder), "parameters": {"fisher": str(file)}})
    settings = over(run, {"merge_method": "fisher", "models": models}, w20=[0.5, 1])
    out = tmp_path / "results"
    plan = plan_of(run, out, **settings)
    assert [point.unmerged for point in plan.points] == [0, None, None, 1]
    begin(plan.results)
    shutil.copy(file, tmp_path / "copy")
    (tmp_path / "copy").replace(file)
    assert plan_of(run, out, **settings).points == plan.points
    halves = {name: tensor / 2 for name, tensor in tensors.items()}
    write_file(file, "fisher", halves, {"digest": fingerprint.of_weights(folder), "norm": repr(norm / 2)})
    line = refusal(run, out, **settings)
    assert f"{out} holds results of another fisher: {file} has digest" in line
    others = plan_of(run, tmp_path / "others", **settings).points
    assert [one.model == two.model for one, two in zip(others, plan.points, strict=True)] == [True, False, False, True]
    write_file(file, "fisher", tensors, {"digest": "0" * 32, "norm": repr(norm)})
    assert f"the Fisher file {file} is of other weights" in refusal(run, tmp_path / "others", **settings)
