"""A folder that is there whole or not at all."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wise_merge.errors import WiseMergeError
from wise_merge.merge.whole_folder import check_free, check_space, whole_folder


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_folder_appears_with_everything_in_it(tmp_path):
    """Until the block ends there is nothing; afterwards there is nothing beside it."""
    out = tmp_path / "new" / "out"
    with whole_folder(out, force=False) as partial:
        (partial / "a").write_text("1")
        assert not out.exists()
    assert content(out) == {"a": "1"}
    assert os.listdir(out.parent) == ["out"]


def test_an_exception_leaves_nothing(tmp_path):
    """Neither the folder nor what was written beside its place."""

    def fail():
        with whole_folder(tmp_path / "out", force=False) as partial:
            (partial / "a").write_text("1")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path):
    """What the system says, and that nothing is left."""

    def fill():
        with whole_folder(tmp_path / "out", force=False) as partial, open("/dev/full", "w") as full:
            (partial / "a").write_text("1")
            full.write("x" * 100_000)

    with pytest.raises(WiseMergeError, match=r"out was not written: No space left on device.*nothing is left"):
        fill()
    assert os.listdir(tmp_path) == []


def test_what_was_there_is_replaced_whole(tmp_path):
    """No file of the old folder is left in the new one; without force it is not touched."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("0")
    with pytest.raises(WiseMergeError, match="appeared while"), whole_folder(out, force=False):
        pass
    assert content(out) == {"old": "0"}
    with whole_folder(out, force=True) as partial:
        (partial / "new").write_text("1")
    assert content(out) == {"new": "1"}
    assert os.listdir(tmp_path) == ["out"]


def test_the_folder_has_the_permissions_of_the_umask(tmp_path):
    """Others may read it if the umask says so."""
    before = os.umask(0o027)
    try:
        with whole_folder(tmp_path / "out", force=False):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    """The living one beside it is left alone."""
    script = (
        "import sys, time, pathlib\nfrom wise_merge.merge.whole_folder import whole_folder\n"
        f"with whole_folder(pathlib.Path({str(tmp_path / 'out')!r}), force=False) as partial:\n"
        "    (partial / 'a').write_text('1'); print('ready', flush=True); time.sleep(60)\n"
    )
    dead, living = (subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2))
    try:
        for process in (dead, living):
            assert process.stdout.readline() == b"ready\n"
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert len(list(tmp_path.glob(".out.*.partial"))) == 2
        with whole_folder(tmp_path / "out", force=False) as partial:
            (partial / "b").write_text("2")
        assert len(list(tmp_path.glob(".out.*.partial"))) == 1
        assert content(tmp_path / "out") == {"b": "2"}
    finally:
        living.kill()
        living.wait()


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("early", "is also an input"),
        ("early/../early", "is also an input"),
        ("link", "symbolic link"),
        (".", "holds the input"),
        ("early/out", "lies within the input"),
        ("there", "is there already.*--force"),
        ("file/out", "cannot be made: .*file is a file, not a folder"),
        ("file", "file is a file; name a folder"),
    ],
)
def test_a_place_that_would_harm_something_is_refused(out, words, tmp_path):
    """Inputs are never written to, and nothing is overwritten unasked."""
    for name in ("early", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "early")
    (tmp_path / "file").write_text("")
    with pytest.raises(WiseMergeError, match=words):
        check_free(tmp_path / out, [tmp_path / "early"], force=False)
    check_free(tmp_path / "new" / "out", [tmp_path / "early"], force=False)
    check_free(tmp_path / "there", [tmp_path / "early"], force=True)


def test_force_replaces_models_and_nothing_else(tmp_path, monkeypatch):
    """A folder with other things, the current one, or one with the recipe in it stays."""
    for name in ("model", "home", "many/alpha-0.1"):
        (tmp_path / name).mkdir(parents=True)
    for file in ("model/config.json", "model/wise.yml", "home/thesis.tex", "many/alpha-0.1/config.json"):
        (tmp_path / file).write_text("")
    check_free(tmp_path / "model", [], force=True)
    check_free(tmp_path / "many", [], force=True)
    with pytest.raises(WiseMergeError, match="holds other things than a model"):
        check_free(tmp_path / "home", [], force=True)
    with pytest.raises(WiseMergeError, match=r"--force would delete .*wise\.yml"):
        check_free(tmp_path / "model", [], force=True, keep=[tmp_path / "model" / "wise.yml"])
    monkeypatch.chdir(tmp_path / "model")
    for here in (".", "", "../model"):
        with pytest.raises(WiseMergeError, match="--force would delete"):
            check_free(Path(here), [], force=True)


def test_a_link_and_two_dots_lead_to_one_place(tmp_path):
    """What is checked is what is written: link/../x lies beside the link's target, not beside the link."""
    (tmp_path / "other" / "sub").mkdir(parents=True)
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "other" / "sub")
    out = tmp_path / "link" / ".." / "x"
    check_free(out, [tmp_path / "x"], force=False)
    with whole_folder(out, force=False) as partial:
        (partial / "a").write_text("1")
    assert content(tmp_path / "other" / "x") == {"a": "1"}
    assert content(tmp_path / "x") == {}


def test_names_with_brackets_are_cleaned_up_too(tmp_path):
    """They are no patterns."""
    (tmp_path / ".run[1].01234567.partial").mkdir()
    (tmp_path / ".run[1].01234567.lock").write_text("")
    with whole_folder(tmp_path / "run[1]", force=False):
        pass
    assert os.listdir(tmp_path) == ["run[1]"]


def test_too_little_space_is_said_before(tmp_path):
    """With what is needed and what is there."""
    with pytest.raises(WiseMergeError, match=r"out needs 1000000\.0 TB, which is .* TB more than .* has free"):
        check_space(tmp_path / "out", 10**18)
    check_space(tmp_path / "new" / "out", 1)


def test_a_place_that_is_on_no_disk_is_called_that(tmp_path):
    """Such as /proc, which has no bytes at all, free or not."""
    with pytest.raises(WiseMergeError, match="/proc is not on a disk; name a folder on one"):
        check_space(Path("/proc/out"), 1)
