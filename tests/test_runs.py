"""Checkpoints of runs as people have them: found, judged whole, chosen, written into a recipe."""

import json
import os
import shutil

import pytest
import yaml
from support.checkpoints import make_checkpoint
from support.runs import LOSSES, leave

from wise_merge.checkpoints.folder import label
from wise_merge.checkpoints.recipe import recipe, soup_recipe
from wise_merge.checkpoints.runs import choose, choose_many, find_checkpoints
from wise_merge.checkpoints.table import table
from wise_merge.errors import WiseMergeError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model to copy."""
    return make_checkpoint(tmp_path_factory.mktemp("model") / "model", seed=0)


def keep_early(checkpoint, run, *, record=True):
    """Keep a checkpoint in early/ as the training callback does: hard links to the model and the trainer's state."""
    target = run / "early" / checkpoint.name
    target.mkdir(parents=True)
    for file in checkpoint.iterdir():
        if file.name != "optimizer.pt":
            os.link(file, target / file.name)
    if record:
        entries = [
            {"step": int(path.name.rpartition("-")[2]), "epoch": 0.5, "loss": 9.0, "path": path.name}
            for path in sorted((run / "early").glob("checkpoint-*"))
        ]
        (run / "early" / "checkpoints.json").write_text(json.dumps({"checkpoints": entries}))
    return target


def steps(checkpoints):
    return [checkpoint.step for checkpoint in checkpoints]


def test_steps_epochs_losses_and_sizes(model, tmp_path):
    """The loss is the last one logged up to the step; steps are in order, not names."""
    for step in (5, 25, 100):
        leave(model, tmp_path / f"checkpoint-{step}", step)
    evaluated = [{"step": 20, "loss": 2.5}, {"step": 25, "eval_loss": 2.6}, {"step": 30, "eval_loss": 1.0}]
    leave(model, tmp_path / "checkpoint-30", 30, log_history=evaluated)
    found = find_checkpoints(tmp_path)
    assert steps(found) == [5, 25, 30, 100]
    assert [checkpoint.loss for checkpoint in found] == [None, 2.5, 2.5, 1.5]
    assert [checkpoint.eval_loss for checkpoint in found] == [None, None, 1.0, None]
    assert [checkpoint.epoch for checkpoint in found] == [0.25, 1.25, 1.5, 5]
    assert {checkpoint.weight_bytes for checkpoint in found} == {(model / "model.safetensors").stat().st_size}
    files = (tmp_path / "checkpoint-5").iterdir()
    assert found[0].total_bytes == sum(path.stat().st_size for path in files) > found[0].weight_bytes + 5000
    assert all(checkpoint.problem is None and checkpoint.kind == "full" for checkpoint in found)


def test_early_checkpoints_are_found_and_listed_once(model, tmp_path):
    """The copy in early/, which no limit deletes, is the one to use; others are there alone."""
    for step in (25, 50):
        keep_early(leave(model, tmp_path / f"checkpoint-{step}", step), tmp_path)
    shutil.rmtree(tmp_path / "checkpoint-25")
    leave(model, tmp_path / "checkpoint-60", 60)
    found = find_checkpoints(tmp_path)
    assert steps(found) == [25, 50, 60]
    assert [checkpoint.path for checkpoint in found] == [
        tmp_path / "early" / "checkpoint-25",
        tmp_path / "early" / "checkpoint-50",
        tmp_path / "checkpoint-60",
    ]
    assert [checkpoint.loss for checkpoint in found] == [2.5, 1.75, 1.5]


def test_the_callbacks_record_stands_in_for_a_log(model, tmp_path):
    """Where nothing was logged up to the step."""
    keep_early(leave(model, tmp_path / "checkpoint-5", 5), tmp_path)
    assert find_checkpoints(tmp_path)[0].loss == 9.0


def test_a_broken_copy_gives_way_to_the_whole_one(model, tmp_path):
    """Either way round."""
    early = keep_early(leave(model, tmp_path / "checkpoint-25", 25), tmp_path)
    (early / "model.safetensors").unlink()
    (found,) = find_checkpoints(tmp_path)
    assert (found.path, found.problem) == (tmp_path / "checkpoint-25", None)
    shutil.rmtree(tmp_path / "early")
    early = keep_early(tmp_path / "checkpoint-25", tmp_path)
    (tmp_path / "checkpoint-25" / "model.safetensors").unlink()
    (found,) = find_checkpoints(tmp_path)
    assert (found.path, found.problem) == (early, None)


def test_a_leftover_of_another_run_is_never_chosen(model, tmp_path):
    """By its weights, if the step is there twice; by its log, if not."""
    keep_early(leave(model, tmp_path / "checkpoint-25", 25), tmp_path)
    keep_early(leave(model, tmp_path / "checkpoint-30", 30), tmp_path)
    for name in ("checkpoint-25", "checkpoint-30"):
        shutil.rmtree(tmp_path / name)
    newer = {step: loss / 2 for step, loss in LOSSES.items()}
    for step in (25, 60):
        leave(model, tmp_path / f"checkpoint-{step}", step, newer)
    found = find_checkpoints(tmp_path)
    assert "is of another run than" in next(c.problem for c in found if c.step == 30)
    assert [checkpoint.path.parent == tmp_path for checkpoint in choose(found)] == [True, True]
    leave(model, tmp_path / "checkpoint-5", 5)
    shutil.copytree(tmp_path / "checkpoint-60", tmp_path / "early" / "checkpoint-5")
    (tmp_path / "early" / "checkpoint-5" / "trainer_state.json").write_text('{"global_step": 5}')
    (stray,) = [c for c in find_checkpoints(tmp_path) if c.path == tmp_path / "early" / "checkpoint-5"]
    assert "differ" in stray.problem


def truncate(path):
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def lose_a_shard(path):
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


DAMAGES = {
    "not a whole safetensors file": truncate,
    "model-00001-of-00002.safetensors is missing": lose_a_shard,
    "no weights": lambda path: (path / "model.safetensors").unlink(),
    "no config.json": lambda path: (path / "config.json").unlink(),
    "trainer_state.json is missing": lambda path: (path / "trainer_state.json").unlink(),
    "trainer_state.json cannot be read": lambda path: (path / "trainer_state.json").write_text('{"global_step": 2'),
    "DeepSpeed": lambda path: ((path / "model.safetensors").unlink(), (path / "zero_to_fp32.py").touch()),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_what_is_not_whole_is_listed_and_never_chosen(reason, model, tmp_path):
    """Neither as the first nor by its step."""
    for step in (25, 30, 60):
        leave(model, tmp_path / f"checkpoint-{step}", step)
    DAMAGES[reason](tmp_path / "checkpoint-25")
    found = find_checkpoints(tmp_path)
    assert steps(found) == [25, 30, 60]
    assert reason in found[0].problem
    assert found[1].problem is None
    assert "broken" in table(found).splitlines()[1]
    assert steps(choose(found)) == [30, 60]
    with pytest.raises(WiseMergeError, match="checkpoint of step 25 cannot be used: "):
        choose(found, early="25")


def test_adapters_are_told_from_models(model, tmp_path):
    """Their weights are small, whatever the Trainer leaves beside them."""
    from support.adapters import make_adapter

    for step in (25, 60):
        folder = make_adapter(tmp_path / f"checkpoint-{step}", model, seed=step)
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    found = find_checkpoints(tmp_path)
    assert [checkpoint.kind for checkpoint in found] == ["LoRA", "LoRA"]
    (tmp_path / "checkpoint-25" / "adapter_model.safetensors").write_bytes(b"")
    assert "adapter_model.safetensors is not a whole" in find_checkpoints(tmp_path)[0].problem


@pytest.mark.parametrize(
    ("names", "found_steps", "epochs"),
    [
        (["step_25", "step_100"], [25, 100], [None, None]),
        (["epoch_0", "epoch_2", "epoch_10"], [None, None, None], [0, 2, 10]),
        (["global_step50", "global_step100"], [50, 100], [None, None]),
        (["checkpoint-50", "checkpoint-100"], [50, 100], [None, None]),
    ],
)
def test_folders_of_other_programs_go_by_their_names(names, found_steps, epochs, model, tmp_path):
    """Without trainer_state.json, and whatever else is in the folder."""
    for name in names:
        leave(model, tmp_path / name)
    (tmp_path / "logs").mkdir()
    (tmp_path / "tokenized-2").mkdir()
    found = find_checkpoints(tmp_path)
    assert steps(found) == found_steps
    assert [checkpoint.epoch for checkpoint in found] == epochs
    assert all(checkpoint.problem is None for checkpoint in found)
    first, last = choose(found, early=names[0])
    assert (first.path.name, last.path.name) == (names[0], names[-1])


def test_the_final_model_is_listed_and_taken_where_it_is_named(model, tmp_path):
    """It is last; the last numbered checkpoint, whose step is known, goes before it."""
    for step in (25, 60):
        leave(model, tmp_path / f"checkpoint-{step}", step)
    for file in model.iterdir():
        shutil.copy(file, tmp_path)
    (tmp_path / "training_args.bin").touch()
    found = find_checkpoints(tmp_path)
    assert [checkpoint.final for checkpoint in found] == [False, False, True]
    assert found[-1].total_bytes < 2 * found[0].total_bytes
    assert steps(choose(found)) == [25, 60]
    assert choose(found, late="final")[1].path == tmp_path
    shutil.rmtree(tmp_path / "checkpoint-25")
    assert choose(find_checkpoints(tmp_path))[1].path == tmp_path


def test_wrong_choices_are_told_what_there_is(model, tmp_path):
    """Near steps, one checkpoint twice, the wrong order, too few."""
    for step in (25, 50, 100):
        leave(model, tmp_path / f"checkpoint-{step}", step)
    found = find_checkpoints(tmp_path)
    for choice, message in (
        ({"early": "30"}, "there is no checkpoint of step 30; there are 25, 50, 100"),
        ({"early": "100"}, "early and late are both .*checkpoint-100"),
        ({"early": "100", "late": "25"}, "early must come before late; got step 100.* and step 25"),
        ({"late": "best"}, "there is no checkpoint best; there are 25, 50, 100"),
    ):
        with pytest.raises(WiseMergeError, match=message):
            choose(found, **choice)
    with pytest.raises(WiseMergeError, match="needs two whole checkpoints; there is 1 of 1"):
        choose(found[:1])


def test_of_many_steps_the_nearest_are_named(model, tmp_path):
    """A list of dozens helps nobody."""
    for step in range(10, 130, 10):
        leave(model, tmp_path / f"checkpoint-{step}", step, {})
    with pytest.raises(WiseMergeError, match=r"step 52; the nearest are 40, 50, 60, 70$"):
        choose(find_checkpoints(tmp_path), early="52")


def test_folders_without_checkpoints_are_named(tmp_path):
    """Nothing there, or nothing in it."""
    with pytest.raises(WiseMergeError, match="holds no checkpoints"):
        find_checkpoints(tmp_path)
    with pytest.raises(WiseMergeError, match="does not exist"):
        find_checkpoints(tmp_path / "none")


def test_the_table_is_aligned_and_shows_eval_loss_where_there_is_one(model, tmp_path):
    """A line for each checkpoint, below a line of names."""
    for step in (25, 100):
        leave(model, tmp_path / f"checkpoint-{step}", step)
    lines = table(find_checkpoints(tmp_path)).splitlines()
    assert lines[0].split() == ["step", "epoch", "loss", "weights", "total", "kind", "path"]
    cells = lines[1].split()
    assert cells[:5] == ["25", "1.25", "2.5", "110.0", "kB"]
    assert 115 < float(cells[5]) < 125
    assert cells[6:] == ["kB", "full", f"{tmp_path}/checkpoint-25"]
    assert len({line.index("kB") for line in lines[1:]}) == 1
    state = {"global_step": 25, "log_history": [{"step": 25, "eval_loss": 0.125}]}
    (tmp_path / "checkpoint-25" / "trainer_state.json").write_text(json.dumps(state))
    lines = table(find_checkpoints(tmp_path)).splitlines()
    assert "eval_loss" in lines[0]
    assert "0.125" in lines[1]


@pytest.mark.parametrize("name", ["plain", "with blank", "a: b #c", "größe", "12", "it's", '"', "-x"])
def test_every_path_survives_the_recipe(name, model, tmp_path, monkeypatch):
    """YAML reads back what was meant."""
    monkeypatch.chdir(tmp_path)
    for step in (25, 60):
        leave(model, tmp_path / name / f"checkpoint-{step}", step)
    from pathlib import Path

    early, late = choose(find_checkpoints(Path(name)))
    assert label(early) == "step 25, epoch 1.25, loss 2.5"
    text = recipe(early, late, 0.25)
    assert "# early: step 25, epoch 1.25, loss 2.5\n# late:  step 60, epoch 3, loss 1.5\n" in text
    assert yaml.safe_load(text) == {
        "merge_method": "wise_ft",
        "base_model": f"{name}/checkpoint-25",
        "models": [{"model": f"{name}/checkpoint-60"}],
        "parameters": {"alpha": 0.25},
    }


def test_what_mergekit_would_misread_is_refused(model, tmp_path):
    """Its own signs in a path, and an alpha beyond the ends."""
    for step in (25, 60):
        leave(model, tmp_path / "a+b" / f"checkpoint-{step}", step)
    early, late = choose(find_checkpoints(tmp_path / "a+b"))
    with pytest.raises(WiseMergeError, match=r"takes \+ and @"):
        recipe(early, late, 0.5)
    for alpha in (1.5, float("nan")):
        with pytest.raises(WiseMergeError, match="alpha must lie in"):
            recipe(early, late, alpha)


def test_the_base_of_adapters_comes_from_their_config(model, tmp_path, monkeypatch):
    """A folder that is there or a name on the Hub; a path that leads nowhere is an error."""
    from support.adapters import make_adapter, recorded

    for step in (25, 60):
        make_adapter(tmp_path / f"step-{step}", model, seed=step)
    early, late = choose(find_checkpoints(tmp_path))
    content = yaml.safe_load(recipe(early, late, 0.5))
    assert content["base_model"] == f"{model}+{tmp_path}/step-25"
    assert content["models"] == [{"model": f"{model}+{tmp_path}/step-60"}]
    recorded(early.path, "meta-llama/Llama-3.1-8B")
    assert f"base_model: meta-llama/Llama-3.1-8B+{tmp_path}/step-25\n" in recipe(early, late, 0.5)
    for base, message in (("/gone/llama", "/gone/llama .* is not there"), (None, "does not name the base")):
        recorded(early.path, base)
        with pytest.raises(WiseMergeError, match=message):
            recipe(early, late, 0.5)


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ({}, [10, 20, 30, 40, 50, 60]),
        ({"last": 2}, [50, 60]),
        ({"start": "30"}, [30, 40, 50, 60]),
        ({"start": "31"}, [40, 50, 60]),
        ({"start": "checkpoint-50"}, [50, 60]),
        ({"every": 1}, [10, 20, 30, 40, 50, 60]),
        ({"every": 2}, [20, 40, 60]),
        ({"every": 4}, [20, 60]),
        ({"every": 2, "last": 2}, [40, 60]),
        ({"every": 2, "start": "30"}, [40, 60]),
        ({"every": 2, "start": "10", "last": 3}, [20, 40, 60]),
    ],
)
def test_many_are_chosen_from_the_last_backwards(choice, chosen, model, tmp_path):
    """`start` is where they begin, `every` counts back from the last, `last` then takes the latest of them."""
    for step in range(10, 70, 10):
        leave(model, tmp_path / f"checkpoint-{step}", step)
    assert steps(choose_many(find_checkpoints(tmp_path), **choice)) == chosen


def test_a_soup_has_no_broken_checkpoint_and_no_final_model(model, tmp_path):
    """The final model repeats the last checkpoint, or it is the only second one."""
    for step in (25, 30, 60):
        leave(model, tmp_path / f"checkpoint-{step}", step)
    truncate(tmp_path / "checkpoint-30")
    for file in model.iterdir():
        shutil.copy(file, tmp_path)
    assert steps(choose_many(find_checkpoints(tmp_path))) == [25, 60]
    shutil.rmtree(tmp_path / "checkpoint-25")
    assert [one.final for one in choose_many(find_checkpoints(tmp_path))] == [False, True]


def test_many_of_folders_without_steps(model, tmp_path):
    """They begin at a name; a step is told what there is."""
    for name in ("epoch_0", "epoch_2", "epoch_10"):
        leave(model, tmp_path / name)
    found = find_checkpoints(tmp_path)
    assert [one.epoch for one in choose_many(found, start="epoch_2")] == [2, 10]
    with pytest.raises(WiseMergeError, match="no checkpoint of step 2; there are epoch_0, epoch_2, epoch_10"):
        choose_many(found, start="2")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"last": 4}, "the last 4 checkpoints are wanted, and there are 3 whole ones"),
        ({"last": 3, "every": 2}, "the last 3 checkpoints are wanted, and there are 2 whole ones"),
        ({"last": 1}, "needs two checkpoints or more; of the 3 whole ones 1 is chosen"),
        ({"start": "60"}, "of the 3 whole ones 1 is chosen"),
        ({"start": "61"}, "of the 3 whole ones 0 are chosen"),
        ({"every": 3}, "of the 3 whole ones 1 is chosen"),
        ({"start": "best"}, "there is no checkpoint best; there are 25, 50, 60"),
    ],
)
def test_fewer_than_two_make_no_soup(choice, message, model, tmp_path):
    """And fewer than asked for are no silent other mean."""
    for step in (25, 50, 60):
        leave(model, tmp_path / f"checkpoint-{step}", step)
    with pytest.raises(WiseMergeError, match=message):
        choose_many(find_checkpoints(tmp_path), **choice)


def test_models_and_adapters_make_no_soup(model, tmp_path):
    """Both are named."""
    from support.adapters import make_adapter

    leave(model, tmp_path / "step-25")
    for step in (50, 60):
        make_adapter(tmp_path / f"step-{step}", model, seed=step)
    found = find_checkpoints(tmp_path)
    with pytest.raises(WiseMergeError, match=r"step-25 is a full checkpoint and .*step-50 is LoRA"):
        choose_many(found)
    lora = choose_many(found, last=2)
    content = yaml.safe_load(soup_recipe(lora))
    assert content["models"] == [{"model": f"{model}+{tmp_path}/step-{step}"} for step in (50, 60)]


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999, 0.00001])
def test_the_recipe_of_a_moving_average_has_the_weights_of_the_recursion(decay, model, tmp_path):
    """Of five checkpoints, in the order of their steps; YAML reads every weight as a number."""
    from fractions import Fraction

    for step in range(10, 60, 10):
        leave(model, tmp_path / f"checkpoint-{step}", step)
    keep = Fraction(str(decay))
    average = [Fraction(1)] + [Fraction(0)] * 4
    for i in range(1, 5):
        average = [keep * share for share in average]
        average[i] += 1 - keep
    text = soup_recipe(choose_many(find_checkpoints(tmp_path)), decay)
    models = yaml.safe_load(text)["models"]
    assert [one["model"] for one in models] == [f"{tmp_path}/checkpoint-{step}" for step in range(10, 60, 10)]
    assert [one["parameters"]["weight"] for one in models] == [float(share) for share in average]
    assert f"decay {decay:g}" in text


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, float("nan")])
def test_a_decay_beyond_its_ends_is_refused(decay, model, tmp_path):
    """At them the average is one checkpoint."""
    for step in (25, 60):
        leave(model, tmp_path / f"checkpoint-{step}", step)
    with pytest.raises(WiseMergeError, match="decay of a moving average must lie between 0 and 1"):
        soup_recipe(choose_many(find_checkpoints(tmp_path)), decay)
