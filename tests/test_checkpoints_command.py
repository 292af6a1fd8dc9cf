"""`wise-merge checkpoints` as typed, and both ways to merge what it writes."""

import shutil

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
    result = invoke(tmp_path, "--alpha", 0.3)
    assert result.exit_code == 2
    assert "--out" in result.stderr


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
