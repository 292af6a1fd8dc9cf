"""One folder takes the place of another: whenever it is killed, one of the two is there."""

import os
import signal
import sys
from types import SimpleNamespace

import pytest

from wise_merge.checkpoints import replacing
from wise_merge.checkpoints.replacing import exchange, put_in_order, replace_folder
from wise_merge.errors import WiseMergeError
from wise_merge.merge.whole_folder import check_free, whole_folder
from wise_merge.training.early_checkpoints import KeepEarlyCheckpoints, keep_checkpoint

#: What Python announces before it changes something on the disk.
STEPS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "open", "ctypes.dlopen", "ctypes.dlsym")


@pytest.fixture
def can_exchange(tmp_path_factory):
    """Skips where the disk of the tests cannot exchange two names."""
    folder = tmp_path_factory.mktemp("probe")
    if not exchange(write(folder / "one", "1"), write(folder / "other", "2")):
        pytest.skip(f"the file system of {folder} cannot exchange two names")


@pytest.fixture(params=["exchange", "aside"])
def exchanging(request, monkeypatch):
    """Whether the file system can exchange two names."""
    if request.param == "exchange":
        request.getfixturevalue("can_exchange")
        return True
    monkeypatch.setattr(replacing, "exchange", lambda *_: False)
    return False


def write(folder, text, files=3):
    """Fill a folder as a model, all files of which say `text`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors", *(f"file{number}" for number in range(files))):
        (folder / name).write_text(text)
    return folder


def read(folder):
    """What all files of a whole folder say."""
    assert len(list(folder.iterdir())) == 5
    (text,) = {path.read_text() for path in folder.iterdir()}
    return text


def killed_at(step, function):
    """Run a function in a process that kills itself before the given step; return whether it came so far."""
    child = os.fork()
    if not child:
        left = [step]

        def watch(event, _):
            if event in STEPS:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(watch)
            function()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0
    return killed


@pytest.mark.usefixtures("can_exchange")
def test_two_folders_change_places(tmp_path):
    """The names, in one step; where one of them is missing, nothing happens."""
    one, other = write(tmp_path / "one", "1"), write(tmp_path / "other", "2")
    assert exchange(one, other)
    assert (read(one), read(other)) == ("2", "1")
    assert not exchange(one, tmp_path / "absent")
    assert read(one) == "2"


def test_a_system_without_it_changes_nothing(tmp_path, monkeypatch):
    """Neither the function nor the call; nor a system that is neither Linux nor macOS."""
    one, other = write(tmp_path / "one", "1"), write(tmp_path / "other", "2")
    with monkeypatch.context() as patch:
        patch.setattr(replacing.ctypes, "CDLL", lambda _: SimpleNamespace(syscall=lambda *_: -1))
        assert not exchange(one, other)
        patch.setattr(replacing.platform, "machine", lambda: "abacus")
        assert not exchange(one, other)
        patch.setattr(replacing.sys, "platform", "win32")
        assert not exchange(one, other)
    assert (read(one), read(other)) == ("1", "2")


@pytest.mark.usefixtures("can_exchange")
def test_the_system_call_does_without_the_function(tmp_path, monkeypatch):
    """For C libraries older than the call."""
    library = replacing.ctypes.CDLL(None)
    monkeypatch.setattr(replacing.ctypes, "CDLL", lambda _: SimpleNamespace(syscall=library.syscall))
    if replacing.platform.machine() not in replacing._SYSCALL:
        pytest.skip("its number on this machine is not known")
    one, other = write(tmp_path / "one", "1"), write(tmp_path / "other", "2")
    assert exchange(one, other)
    assert (read(one), read(other)) == ("2", "1")


def test_what_was_there_is_returned_for_its_caller_to_delete(exchanging, tmp_path):
    """Nothing is deleted here."""
    new, place, aside = (tmp_path / name for name in ("new", "place", "aside"))
    assert replace_folder(write(new, "1"), place, aside) is None
    assert replace_folder(write(new, "2"), place, aside) == (new if exchanging else aside)
    assert read(place) == "2"
    assert read(new if exchanging else aside) == "1"


def test_an_exception_in_between_puts_back_what_was_there(tmp_path, monkeypatch):
    """Ctrl-C between the two renames, too."""
    monkeypatch.setattr(replacing, "exchange", lambda *_: False)
    new, place, aside = write(tmp_path / "new", "2"), write(tmp_path / "place", "1"), tmp_path / "aside"
    rename = type(new).rename

    def interrupted(self, target):
        if self == new:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(type(new), "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(new, place, aside)
    assert (read(place), read(new), aside.exists()) == ("1", "2", False)


def test_killed_before_any_step_a_model_is_there(exchanging, tmp_path):
    """A merge with --force: old or new, whole, at once where names can be exchanged, else when the next run looks."""
    out = write(tmp_path / "out", "0")

    def replace():
        with whole_folder(out, force=True) as partial:
            write(partial, str(step + 1))

    seen = set()
    step, current = 0, "0"
    while True:
        killed = killed_at(step, replace)
        if not exchanging:
            check_free(out, [], force=True)
        found = read(out)
        assert found in (current, str(step + 1))
        seen.add(found == current)
        current = found
        if not killed:
            break
        step += 1
    assert seen == {True, False}
    assert step > 20
    with whole_folder(out, force=True) as partial:
        write(partial, "last")
    assert read(out) == "last"
    assert os.listdir(tmp_path) == ["out"]


def test_killed_before_any_step_an_early_checkpoint_is_there(exchanging, tmp_path):
    """One that a resumed run replaces: old or new, at once or when the run is resumed again."""
    early = tmp_path / "early"
    keep_checkpoint(write(tmp_path / "checkpoint-4", "0"), early)
    args, state = SimpleNamespace(should_save=True, output_dir=tmp_path), SimpleNamespace(global_step=2)
    seen = set()
    step, current, killed = 0, "0", True
    while killed:
        # Its weights are linked: not written into, but made anew.
        (tmp_path / "checkpoint-4/model.safetensors").unlink()
        write(tmp_path / "checkpoint-4", str(step + 1))
        killed = killed_at(step, lambda: keep_checkpoint(tmp_path / "checkpoint-4", early))
        if not exchanging:
            KeepEarlyCheckpoints().on_train_begin(args, state, None)
        found = read(early / "checkpoint-4")
        assert found in (current, str(step + 1))
        seen.add(found == current)
        current = found
        KeepEarlyCheckpoints().on_train_begin(args, state, None)
        step += 1
    assert seen == {True, False}
    assert sorted(os.listdir(early)) == ["checkpoint-4", "checkpoints.json"]


def test_what_would_be_lost_is_named_and_left(tmp_path):
    """Killed between two renames, and then something else came to the place: the old one is nowhere else."""
    out = write(tmp_path / "out", "from elsewhere")
    old, new = write(tmp_path / ".out.01234567.replaced", "old"), write(tmp_path / ".out.01234567.partial", "new")
    (tmp_path / ".out.01234567.lock").write_text("")
    for _ in range(2):
        with pytest.raises(WiseMergeError, match=r"01234567.replaced holds what was at .*move one of the two away"):
            check_free(out, [], force=True)
        with pytest.raises(WiseMergeError, match="move one of the two away"), whole_folder(out, force=True):
            pass
    assert [read(folder) for folder in (out, old, new)] == ["from elsewhere", "old", "new"]
    old.rename(tmp_path / "kept")
    check_free(out, [], force=True)
    assert sorted(os.listdir(tmp_path)) == ["kept", "out"]
    assert not put_in_order(write(new, "new"), out, write(old, "old"))


def test_the_next_run_finds_the_old_model_before_it_looks(tmp_path):
    """What stood at the place is back when it is asked whether the place is free, so nothing overwrites it unasked."""
    write(tmp_path / ".out.01234567.replaced", "old")
    (tmp_path / ".out.01234567.lock").write_text("")
    with pytest.raises(WiseMergeError, match="is there already"):
        check_free(tmp_path / "out", [], force=False)
    assert read(tmp_path / "out") == "old"
    assert os.listdir(tmp_path) == ["out"]
