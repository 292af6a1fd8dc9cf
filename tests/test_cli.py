"""The command line itself: help, errors, exit codes."""

import click
import pytest
from click.testing import CliRunner

from wise_merge import __version__, cli
from wise_merge.cli import group
from wise_merge.errors import WiseMergeError


def test_the_version_is_printed():
    """`wise-merge --version` names the package and its version."""
    result = CliRunner().invoke(cli.main, ["--version"])
    assert result.output == f"wise-merge, version {__version__}\n"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["merge", "--help"], ["merge", "absent.yml", "out"]])
def test_the_module_is_the_command(arguments, console_script, tmp_path):
    """`python -m wise_merge` says what `wise-merge` says, its name included, with the same exit code."""
    command, module = (
        console_script(name, *options, *arguments, cwd=tmp_path, anew=True)
        for name, options in (("wise-merge", []), ("python", ["-m", "wise_merge"]))
    )
    assert (module.stdout, module.stderr, module.returncode) == (command.stdout, command.stderr, command.returncode)


@pytest.mark.parametrize("name", sorted(cli.main.commands))
def test_every_command_explains_itself(name):
    """Each command has a help text of more than one sentence."""
    result = CliRunner().invoke(cli.main, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.count(".") >= 2


def test_summaries_are_whole_sentences_at_80_columns():
    """The list of commands cuts none of them off, and each is the first sentence of its command's help."""
    printed = CliRunner().invoke(cli.main, ["--help"], terminal_width=80).output
    lines = dict(line.split(maxsplit=1) for line in printed.partition("Commands:\n")[2].splitlines())
    assert lines.keys() == cli.main.commands.keys()
    for name, line in lines.items():
        assert line == cli.main.commands[name].help.partition("\n\n")[0]
        assert line.endswith(".")
        assert not line.endswith("..")


@pytest.mark.parametrize(
    ("command", "option", "named"),
    [
        ("calibrate", "--out", "--alpha"),
        ("calibrate", "--alpha", "--out"),
        ("calibrate", "--metadata", "--task"),
        ("calibrate", "--num-fewshot", "--task"),
        ("push", "--include-samples", "--results"),
        ("checkpoints", "--early", "--write"),
        ("checkpoints", "--late", "--write"),
        ("checkpoints", "--alpha", "--write"),
    ],
)
def test_an_option_that_goes_with_another_says_so(command, option, named):
    """What the command refuses to do without the other stands in its help already."""
    (found,) = (one for one in cli.main.commands[command].params if option in one.opts)
    assert named in found.help


def test_a_mistake_of_the_user_is_one_line():
    """A `WiseMergeError` becomes one line and exit code 1; a bug keeps its traceback."""

    @click.command(cls=group._Command)
    def mistaken():
        raise WiseMergeError("alpha is missing")

    @click.command(cls=group._Command)
    def buggy():
        raise ZeroDivisionError

    result = CliRunner().invoke(mistaken)
    assert (result.exit_code, result.output) == (1, "Error: alpha is missing\n")
    assert isinstance(CliRunner().invoke(buggy).exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ["sweep", "--out", "here"],
            "every sample that was drawn is in here/journal; type the same command again, and ",
        ),
        (["demo", "here"], "type the same command again, and it goes on where it was."),
        (["push", "here", "anna/model"], "type the same command again: what has arrived at the Hub is not sent again."),
        (["merge", "wise.yml", "here"], "here is as it was before."),
        (["best", "here", "--objective", "pass@1"], "Interrupted."),
        (["calibrate", "a", "b"], "Interrupted."),
    ],
)
def test_ctrl_c_is_one_line_that_says_what_to_do(command, said, monkeypatch, tmp_path):
    """And the exit code of a program that SIGINT has ended; nothing of a traceback."""
    monkeypatch.chdir(tmp_path)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.main.commands[command[0]], "callback", interrupt)
    done = CliRunner().invoke(cli.main, command)
    assert (done.exit_code, done.output.count("\n")) == (130, 1)
    assert done.stderr.startswith("Interrupted")
    assert said in done.stderr


@pytest.mark.parametrize("settings", [None, "[]", "[1]", "{"])
def test_a_place_where_no_demo_can_be_is_one_line(settings, tmp_path):
    """A folder below a file, and a folder whose settings are not ours: exit code 1, no traceback."""
    place = tmp_path / "file" / "below"
    if settings is None:
        (tmp_path / "file").touch()
    else:
        place.mkdir(parents=True)
        (place / "settings.json").write_text(settings)
    result = CliRunner().invoke(cli.main, ["demo", str(place)])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert result.output.startswith("Error: ")
    assert str(place) in result.output


def test_the_doctor_finds_the_plugin(console_script, tmp_path):
    """In the environment of the tests both hosts see it; with the start-up file off, neither does."""
    healthy = console_script("wise-merge", "doctor", cwd=tmp_path)
    assert healthy.returncode == 0, healthy.stdout
    assert healthy.stdout.count("ok ") == 2
    assert "and the models hf-passk, vllm-passk\n" in healthy.stdout
    off = console_script("wise-merge", "doctor", cwd=tmp_path, WISE_MERGE_AUTOLOAD="0")
    assert off.returncode == 1
    assert off.stdout.count("unset it") == 2
