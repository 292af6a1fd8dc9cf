"""The command line itself: help, errors, exit codes."""

import click
import pytest
from click.testing import CliRunner

from wise_merge import __version__, cli
from wise_merge.cli.command import Command
from wise_merge.errors import WiseMergeError
from wise_merge.tasks.gold import parse_metadata


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


def every_command(group=cli.main, before=()):
    """Words as typed -> command; those of groups too, former names not."""
    for name, command in group.commands.items():
        yield (*before, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*before, name))


COMMANDS = dict(every_command())


def found(*words):
    """The command of these words, by today's or by a former name."""
    command = cli.main
    for word in words:
        command = command.get_command(None, word)
    return command


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(words):
    """Each command has a help text of more than one sentence."""
    result = CliRunner().invoke(cli.main, [*words, "--help"])
    assert result.exit_code == 0
    assert result.output.count(".") >= 2


def listed(*words):
    """Title of each section of a group's help -> its lines, name -> sentence."""
    printed = CliRunner().invoke(cli.main, [*words, "--help"], terminal_width=80).output
    sections = [part.splitlines() for part in printed.split("\n\n")]
    return {
        first.rstrip(":"): dict(line.split(maxsplit=1) for line in lines)
        for first, *lines in sections
        if first.endswith(":") and first != "Options:"
    }


@pytest.mark.parametrize("words", [(), ("fit",)])
def test_summaries_are_whole_sentences_at_80_columns(words):
    """The list of commands cuts none of them off, and each is the first sentence of its command's help."""
    lines = {name: line for section in listed(*words).values() for name, line in section.items()}
    assert lines.keys() == found(*words).commands.keys()
    for name, line in lines.items():
        assert line == found(*words, name).help.partition("\n\n")[0]
        assert line.endswith(".")
        assert not line.endswith("..")


def test_the_help_has_a_section_for_each_thing_to_do():
    """In the order of work; each command is in one of them, and names that are no more are in none."""
    sections = listed()
    assert list(sections) == ["Merge", "Sample and score", "Choose and show", "Train", "Publish", "Try and check"]
    assert sorted(name for section in sections.values() for name in section) == sorted(cli.main.commands)
    assert list(sections["Sample and score"]) == ["sweep", "journal", "score"]


def test_the_help_is_plain_text_where_it_is_piped(console_script, tmp_path):
    """Letters, digits and what stands on a keyboard: no colours, no boxes."""
    printed = console_script("wise-merge", "--help", cwd=tmp_path, FORCE_COLOR="1").stdout
    assert printed.isascii()
    assert printed.replace("\n", "").isprintable()


def test_the_former_name_of_a_command_is_the_command():
    """`calibrate` is `fit temperature`; its own help says by which name it was called."""
    assert found("calibrate") is found("fit", "temperature")
    printed = CliRunner().invoke(cli.main, ["calibrate", "--help"]).output
    assert printed.startswith("Usage: main calibrate ")
    assert "calibrate" not in CliRunner().invoke(cli.main, ["--help"]).output


#: What these commands cannot do without; the others want one argument.
NEEDED = {"best": ["here", "--objective", "pass@1"], "sweep": [], "fit temperature": ["a", "b"]}


def read(command, *arguments):
    """What the command would be called with."""
    return found(*command.split()).make_context(command, [*NEEDED.get(command, ["here"]), *arguments]).params


@pytest.mark.parametrize(
    ("command", "today", "former", "value"),
    [
        ("fit temperature", "--figure", "--plot", ["a.png"]),
        ("checkpoints", "--out", "--write", ["a.yml"]),
        ("best", "--out", "--write", ["a.yml"]),
        ("best", "--tasks", "--task", ["a"]),
        ("report", "--tasks", "--task", ["a"]),
        ("journal", "--out", "--export", ["a"]),
        ("score", "--figures", "--plots", ["a"]),
        ("sweep", "--model-args", "--model_args", ["a=1"]),
        ("sweep", "--batch-size", "--batch_size", ["8"]),
        ("sweep", "--gen-kwargs", "--gen_kwargs", ["a=1"]),
        ("sweep", "--num-fewshot", "--num_fewshot", ["8"]),
        ("sweep", "--apply-chat-template", "--apply_chat_template", []),
    ],
)
def test_the_former_spelling_of_an_option_is_the_option(command, today, former, value):
    """Either gives the same value to the same parameter; help shows today's alone."""
    assert read(command, today, *value) == read(command, former, *value) != read(command)
    words = CliRunner().invoke(found(*command.split()), ["--help"]).output.split()
    assert today in words
    assert former not in words


@pytest.mark.parametrize("command", ["best", "report", "sweep"])
def test_a_list_of_tasks_is_spelt_in_one_way(command):
    """Names with commas, repeated or not; the former `--task` of one name each says the same."""
    for way in (["--tasks", "a, b"], ["--tasks", "a", "--tasks", "b"], ["--task", "a", "--task", "b"]):
        assert read(command, *way)["tasks"] == ("a", "b")


def test_metadata_are_given_as_in_lm_eval():
    """Several in one text, several texts or JSON; both commands that take them read the same."""
    wanted = {"problems": 20, "data_file": "a.jsonl"}
    ways = [
        ["problems=20,data_file=a.jsonl"],
        ["problems=20", "data_file=a.jsonl"],
        ['{"problems": 20}', "data_file=a.jsonl"],
    ]
    for way in ways:
        options = [word for text in way for word in ("--metadata", text)]
        assert read("sweep", *options)["metadata"] == wanted
        assert parse_metadata(read("fit temperature", *options)["metadata"]) == wanted


#: Options that several commands have, and what stands for their value in the help of each.
SHARED = {
    "--json": "FILE",
    "--csv": "FILE",
    "--data": "FILE",
    "--seed": "N",
    "--device": "NAME",
    "--dtype": "NAME",
    "--out-dtype": "NAME",
    "--batch-size": "N",
    "--num-fewshot": "N",
    "--limit": "N",
    "--metadata": "ARGS",
    "--tasks": "NAME,...",
    "--alphas": "LIST",
    "--alpha": "A",
    "--figures": "DIR",
}


def test_what_means_the_same_is_spelt_the_same():
    """With hyphens, with the same word for the value, and without a second spelling in the help."""
    options = [
        (words, option)
        for words, command in COMMANDS.items()
        for option in command.params
        if isinstance(option, click.Option)
    ]
    for words, option in options:
        (name,) = option.opts
        assert "_" not in name, words
        assert name not in ("--write", "--export", "--plot", "--plots", "--output", "--task_name"), words
        assert SHARED.get(name, option.metavar) == option.metavar, (words, name)
        if name == "--out":
            assert option.metavar in ("DIR", "FILE", "YAML", "HTML"), words
    assert {name for _, option in options for name in option.opts} >= SHARED.keys()


@pytest.mark.parametrize(
    ("command", "option", "named"),
    [
        ("fit temperature", "--out", "--alpha"),
        ("fit temperature", "--alpha", "--out"),
        ("fit temperature", "--metadata", "--task"),
        ("fit temperature", "--num-fewshot", "--task"),
        ("fit fisher", "--metadata", "--task"),
        ("fit fisher", "--num-fewshot", "--task"),
        ("push", "--include-samples", "--results"),
        ("checkpoints", "--method", "--out"),
        *(("checkpoints", option, "wise_ft") for option in ("--early", "--late", "--alpha")),
        *(("checkpoints", option, "uniform_soup") for option in ("--last", "--from", "--every", "--ema")),
    ],
)
def test_an_option_that_goes_with_another_says_so(command, option, named):
    """What the command refuses to do without the other stands in its help already."""
    (one,) = (one for one in found(*command.split()).params if option in one.opts)
    assert named in one.help


def test_a_mistake_of_the_user_is_one_line():
    """A `WiseMergeError` becomes one line and exit code 1; a bug keeps its traceback."""

    @click.command(cls=Command)
    def mistaken():
        raise WiseMergeError("alpha is missing")

    @click.command(cls=Command)
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
        (["fit", "temperature", "a", "b"], "Interrupted."),
        (
            ["fit", "fisher", "a", "--data", "b", "--out", "c.safetensors"],
            "type the same command again; it goes on from the sums beside c.safetensors, written every 30 seconds.",
        ),
        (["calibrate", "a", "b"], "Interrupted."),
    ],
)
def test_ctrl_c_is_one_line_that_says_what_to_do(command, said, monkeypatch, tmp_path):
    """And the exit code of a program that SIGINT has ended; nothing of a traceback."""
    monkeypatch.chdir(tmp_path)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    called = found(*command[:2]) if command[0] == "fit" else found(command[0])
    monkeypatch.setattr(called, "callback", interrupt)
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


@pytest.mark.slow
def test_the_doctor_finds_the_plugin(console_script, tmp_path):
    """In the environment of the tests both hosts see it; with the start-up file off, neither does."""
    healthy = console_script("wise-merge", "doctor", cwd=tmp_path)
    assert healthy.returncode == 0, healthy.stdout
    assert healthy.stdout.count("ok ") == 2
    assert "and the models hf-passk, vllm-passk\n" in healthy.stdout
    off = console_script("wise-merge", "doctor", cwd=tmp_path, WISE_MERGE_AUTOLOAD="0")
    assert off.returncode == 1
    assert off.stdout.count("unset it") == 2
