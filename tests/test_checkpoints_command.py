"""`wise-merge checkpoints` as typed, and both ways to merge what it writes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from support.adapters import make_adapter
from support.checkpoints import make_checkpoint
from support.runs import leave

from wise_merge.cli import main


def invoke(*arguments):
    return CliRunner().invoke(main, ["checkpoints", *map(str, arguments)])


def test_a_run_is_listed_and_its_recipe_merges(tmp_path, console_script):
    """From the folder where it was written, as it stands; halfway unless told otherwise, and the file says so."""
    model = make_checkpoint(tmp_path / "model", seed=0)
    for step in (25, 50, 60):
        leave(model, tmp_path / "runs" / "sft" / f"checkpoint-{step}", step)
    make_checkpoint(tmp_path / "late", seed=1)
    shutil.copy(tmp_path / "late" / "model.safetensors", tmp_path / "runs" / "sft" / "checkpoint-60")
    listing = ("checkpoints", "runs/sft", "--out", "wise.yml")
    listed = console_script("wise-merge", *listing, cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    lines = listed.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["25", "50", "60"]
    assert lines[-1] == "wise-merge merge wise.yml out/"
    assert "alpha 0.5, halfway" in lines[-2]
    recipe = (tmp_path / "wise.yml").read_text()
    assert "base_model: runs/sft/checkpoint-25\n" in recipe
    assert "alpha: 0.5 " in recipe
    for command, out in (lines[-1].split()[:-1], "out"), (["mergekit-yaml", "wise.yml"], "theirs"):
        merged = console_script(*command, out, cwd=tmp_path)
        assert merged.returncode == 0, merged.stderr
        early, late, average = (
            load_file(tmp_path / name / "model.safetensors")["model.norm.weight"]
            for name in ("runs/sft/checkpoint-25", "runs/sft/checkpoint-60", out)
        )
        assert torch.allclose(average, (early + late) / 2)
        assert not torch.allclose(average, early)
    again = console_script("wise-merge", *listing, cwd=tmp_path)
    assert again.returncode == 1
    assert "wise.yml exists and is not overwritten" in again.stderr
    assert (tmp_path / "wise.yml").read_text() == recipe


def test_adapters_merge_by_their_recipe(tmp_path, monkeypatch):
    """The last line of the output is the command that does it."""
    make_checkpoint(tmp_path / "base", seed=0)
    for step in (25, 60):
        make_adapter(tmp_path / "runs" / f"checkpoint-{step}", tmp_path / "base", seed=step)
    monkeypatch.chdir(tmp_path)
    command = invoke("runs", "--out", "wise.yml").stdout.splitlines()[-1].split()
    assert command == ["wise-merge", "merge", "wise.yml", "out/"]
    merged = CliRunner().invoke(main, command[1:])
    assert merged.exit_code == 0, merged.output
    assert (tmp_path / "out" / "mergekit_config.yml").is_file()


def test_steps_and_alpha_are_as_asked(tmp_path):
    """The comments say which steps they are."""
    model = make_checkpoint(tmp_path / "model", seed=0)
    for step in (25, 50, 60):
        leave(model, tmp_path / "run" / f"checkpoint-{step}", step)
    file = tmp_path / "wise.yml"
    result = invoke(tmp_path / "run", "--out", file, "--early", 50, "--late", 60, "--alpha", 0.3)
    assert result.exit_code == 0, result.output
    text = file.read_text()
    assert "# early: step 50, epoch 2.5, loss 1.75" in text
    assert "checkpoint-60" in text
    assert "alpha: 0.3 " in text
    result = invoke(tmp_path / "run", "--out", tmp_path / "other.yml", "--early", 30)
    assert result.exit_code == 1
    assert result.stderr == "Error: there is no checkpoint of step 30; there are 25, 50, 60\n"
    assert not (tmp_path / "other.yml").exists()
    assert invoke(tmp_path / "run", "--out", tmp_path / "none" / "wise.yml").exit_code == 1


def test_choices_without_a_file_are_a_mistake(tmp_path):
    """They would be ignored."""
    for options in (["--alpha", 0.3], ["--last", 2], ["--method", "uniform_soup"]):
        result = invoke(tmp_path, *options)
        assert result.exit_code == 2
        assert "--out" in result.stderr


@pytest.fixture
def soup_run(tmp_path, monkeypatch):
    """A run of four different models, from whose parent folder commands are typed."""
    for seed, step in enumerate((20, 30, 40, 50)):
        model = make_checkpoint(tmp_path / f"model-{seed}", seed=seed)
        leave(model, tmp_path / "run" / f"checkpoint-{step}", step)
    monkeypatch.chdir(tmp_path)


def norms(*folders):
    """The same tensor of each, in float64."""
    return [load_file(f"{folder}/model.safetensors")["model.norm.weight"].double() for folder in folders]


def test_a_soup_of_the_latest_merges(soup_run):
    """The mean of the last three, from either spelling of the file's option."""
    result = invoke("run", "--write", "soup.yml", "--method", "uniform_soup", "--last", 3)
    assert result.exit_code == 0, result.output
    said, command = result.stdout.splitlines()[-2:]
    assert (
        said
        == "soup.yml: the mean of 3 checkpoints, from step 30, epoch 1.5, loss 2.25 to step 50, epoch 2.5, loss 1.75"
    )
    merged = CliRunner().invoke(main, command.split()[1:])
    assert merged.exit_code == 0, merged.output
    *parts, average = norms("run/checkpoint-30", "run/checkpoint-40", "run/checkpoint-50", "out")
    assert torch.allclose(average, sum(parts) / 3, atol=1e-7)
    assert not torch.allclose(average, parts[0])


def test_a_moving_average_merges(soup_run):
    """As the recursion gives it, checkpoint by checkpoint."""
    result = invoke("run", "--out", "ema.yml", "--method", "uniform_soup", "--from", 30, "--ema", 0.75)
    assert "the exponential moving average (decay 0.75) of 3 checkpoints" in result.stdout
    merged = CliRunner().invoke(main, ["merge", "ema.yml", "out"])
    assert merged.exit_code == 0, merged.output
    first, *others, average = norms("run/checkpoint-30", "run/checkpoint-40", "run/checkpoint-50", "out")
    expected = first
    for other in others:
        expected = 0.75 * expected + 0.25 * other
    assert torch.allclose(average, expected, atol=1e-7)


def test_a_soup_of_adapters_merges(tmp_path, monkeypatch):
    """The mean of their dense products, base + scale * B A."""
    make_checkpoint(tmp_path / "base", seed=0)
    for step in (20, 40, 60):
        make_adapter(tmp_path / "run" / f"checkpoint-{step}", tmp_path / "base", seed=step)
    monkeypatch.chdir(tmp_path)
    result = invoke("run", "--out", "soup.yml", "--method", "uniform_soup")
    assert result.exit_code == 0, result.output
    merged = CliRunner().invoke(main, ["merge", "soup.yml", "out"])
    assert merged.exit_code == 0, merged.output
    base, average = (load_file(f"{folder}/model.safetensors") for folder in ("base", "out"))
    adapters = [load_file(f"run/checkpoint-{step}/adapter_model.safetensors") for step in (20, 40, 60)]
    config = json.loads(Path("run/checkpoint-20/adapter_config.json").read_text())
    trained = [name.removesuffix(".lora_A.weight") for name in adapters[0] if name.endswith("lora_A.weight")]
    assert trained
    for name in trained:
        parts = [one[f"{name}.lora_B.weight"].double() @ one[f"{name}.lora_A.weight"].double() for one in adapters]
        target = name.removeprefix("base_model.model.") + ".weight"
        expected = base[target].double() + config["lora_alpha"] / config["r"] * sum(parts) / 3
        assert torch.allclose(average[target].double(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--last", 2], "--last is an option of --method uniform_soup; wise_ft, the method unless given, takes"),
        (["--method", "wise_ft", "--ema", 0.5], "--ema is an option of --method uniform_soup; wise_ft takes"),
        (["--method", "uniform_soup", "--alpha", 0.5], "--alpha is an option of --method wise_ft; uniform_soup takes"),
        (["--method", "uniform_soup", "--last", 9], "the last 9 checkpoints are wanted, and there are 4 whole ones"),
        (["--method", "uniform_soup", "--ema", 1], "decay of a moving average must lie between 0 and 1"),
    ],
)
def test_what_makes_no_recipe_is_one_line_and_no_file(options, message, soup_run):
    """Options of another method are not ignored."""
    result = invoke("run", "--out", "soup.yml", *options)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert message in line
    assert not Path("soup.yml").exists()


def test_broken_checkpoints_are_listed_with_their_reason(tmp_path):
    """The table goes to stdout, the reasons to stderr."""
    model = make_checkpoint(tmp_path / "model", seed=0)
    for step in (25, 50):
        leave(model, tmp_path / "run" / f"checkpoint-{step}", step)
    (tmp_path / "run" / "checkpoint-25" / "model.safetensors").unlink()
    result = invoke(tmp_path / "run")
    assert result.exit_code == 0
    assert "broken" in result.stdout.splitlines()[1]
    assert result.stderr.startswith(f"broken: {tmp_path}/run/checkpoint-25 has a config.json but no weights")


def test_listing_needs_no_torch(tmp_path):
    """A table of headers is there at once."""
    import subprocess
    import sys

    leave(make_checkpoint(tmp_path / "model", seed=0), tmp_path / "run" / "checkpoint-25", 25)
    code = (
        "import sys; from click.testing import CliRunner; from wise_merge.cli import main\n"
        f"assert CliRunner().invoke(main, ['checkpoints', {str(tmp_path / 'run')!r}]).exit_code == 0\n"
        "heavy = {'torch', 'transformers', 'peft', 'mergekit'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
