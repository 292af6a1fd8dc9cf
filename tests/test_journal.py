"""The journal: whatever happens to its files, what is whole is found, what is not is never used, and it goes on."""

import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wise_merge.errors import WiseMergeError
from wise_merge.journal import Journal, Run, Sample, problem_id, read_runs
from wise_merge.journal.contents import evaluations

RUN = Run("gsm8k_passk", {"name": "org/model", "weights": "0a1b"}, {"temperature": 1.0, "until": ["\n"], "seed": 1234})
OTHER = replace(RUN, model={"name": "org/model", "weights": "ffff"})
PROMPT = "Question: 1 + 1?\nAnswer:"
PROBLEM = problem_id(PROMPT)

#: Texts that a format of lines may stumble over.
ODD = [
    "",
    "\n",
    "a\r\nb\rc",
    "NUL \0 here",
    "\u2028 and \u2029 and \x85",
    "\ud800 alone, \udc00 alone",
    "\ud83d\ude00 as two halves",
    "😀 as one character",
    "\\ud800 as six characters",
    '{"crc":"00000000","run":"0123456789abcdef","kind":"sample"}',
    "\ufeff",
    "\x1b[31mred",
    "long " * 5000,
]


def sample(index=0, text="2", **changes):
    facts = {"tokens": 3, "finish_reason": "stop", "logprob": -0.1 - index / 7, "seed": 2**61 + index}
    return Sample(**{"problem": PROBLEM, "index": index, "text": text, **facts, **changes})


def write(directory, samples, *, run=RUN, rank=0, prompt=PROMPT):
    """The file of a journal with these samples."""
    with Journal.open(directory, run, rank=rank) as journal:
        journal.ask([(prompt, 7, {"question": "1 + 1?"}, "2")])
        for one in samples:
            journal.append(one)
    return journal.path


def found(directory, run=RUN, rank=0):
    """What a run finds there, by index, and how many lines were damaged."""
    with Journal.open(directory, run, rank=rank) as journal:
        return journal.samples.get(PROBLEM, {}), journal.damaged


# --- what is written is read ------------------------------------------------------------------------


def test_every_text_comes_back_as_it_was(tmp_path):
    """Line ends, NULs, surrogates alone and in halves of pairs, and a text that looks like a line of a journal."""
    samples = [sample(index, text) for index, text in enumerate(ODD)]
    write(tmp_path, samples)
    assert found(tmp_path) == (dict(enumerate(samples)), 0)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.text(st.characters()), max_size=6),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**62),
)
def test_every_text_and_number_comes_back_bit_for_bit(texts, logprob, seed):
    """Of any characters, floats and seeds."""
    with tempfile.TemporaryDirectory() as directory:
        samples = [sample(index, text, logprob=logprob, seed=seed) for index, text in enumerate(texts)]
        write(Path(directory), samples)
        assert found(Path(directory)) == (dict(enumerate(samples)), 0)


def test_every_line_is_ascii_and_json_of_its_own(tmp_path):
    """Other programs can read the file, line by line."""
    path = write(tmp_path, [sample(index, text) for index, text in enumerate(ODD)])
    rows = [json.loads(line) for line in path.read_bytes().decode("ascii").split("\n")[:-1]]
    assert [row["kind"] for row in rows] == ["run", "problem", "evaluation"] + ["sample"] * len(ODD)
    assert {row["run"] for row in rows} == {RUN.fingerprint}
    assert rows[0]["settings"] == RUN.settings
    assert rows[3]["seed"] == 2**61


@pytest.mark.parametrize("logprob", [math.nan, math.inf, -math.inf])
def test_a_log_probability_that_is_no_finite_number_is_none(tmp_path, logprob):
    """JSON has neither NaN nor infinity; in memory it is the same as after a rerun."""
    with Journal.open(tmp_path, RUN) as journal:
        journal.append(sample(logprob=logprob))
        assert journal.samples[PROBLEM][0].logprob is None
    assert "NaN" not in journal.path.read_text()
    assert "Infinity" not in journal.path.read_text()
    assert found(tmp_path)[0][0].logprob is None


def test_numbers_of_numpy_are_numbers(tmp_path):
    """As backends hand them over."""
    write(tmp_path, [sample(np.int64(0), tokens=np.int32(5), logprob=np.float32(-0.5), seed=np.int64(9))])
    assert found(tmp_path)[0] == {0: sample(0, tokens=5, logprob=-0.5, seed=9)}


def test_a_problem_is_written_once_whatever_its_row_holds(tmp_path):
    """Also what JSON lacks: sets, dates, NaN, keys that are no texts, and objects that say where they are."""
    facts = {"question": "\ud800", "when": time.gmtime(0), "share": math.nan, "where": Path("x")}
    # Two objects that live at once, and a set whose order is that in which it was filled.
    for doc in [{**facts, 1: {0, 8}, "made": object()}, {**facts, 1: {8, 0}, "made": object()}]:
        with Journal.open(tmp_path, RUN) as journal:
            for _ in range(2):
                journal.ask([(PROMPT, 7, doc, None)] * 2)
    rows = [json.loads(line) for line in journal.path.read_text().splitlines()]
    (row,) = [row for row in rows if row["kind"] == "problem"]
    assert (row["problem"], row["prompt"], row["doc_id"], row["target"]) == (PROBLEM, PROMPT, 7, None)
    assert (row["doc"]["question"], row["doc"]["share"], row["doc"]["where"]) == ("\ud800", None, "x")
    (kept,) = read_runs(tmp_path).runs
    (problem,) = kept.problems.values()
    assert (problem.id, problem.doc) == (PROBLEM, row["doc"])


# --- what belongs together --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        replace(RUN, task="math500_passk"),
        replace(RUN, model={**RUN.model, "weights": "0a1c"}),
        replace(RUN, settings={**RUN.settings, "temperature": 0.7}),
        replace(RUN, settings={**RUN.settings, "seed": 1235}),
        replace(RUN, settings={**RUN.settings, "until": []}),
        replace(RUN, settings={**RUN.settings, "top_p": None}),
    ],
)
def test_another_model_task_setting_or_seed_finds_nothing(tmp_path, other):
    """Samples of two distributions never mix."""
    write(tmp_path, [sample()])
    assert other.fingerprint != RUN.fingerprint
    assert found(tmp_path, other) == ({}, 0)
    write(tmp_path, [sample(text="another")], run=other)
    assert found(tmp_path) == ({0: sample()}, 0)


def test_what_people_may_change_leaves_the_fingerprint(tmp_path):
    """The model's name, the order of settings, and 1 instead of 1.0."""
    same = Run(
        "gsm8k_passk",
        {"weights": "0a1b", "name": "/moved/elsewhere"},
        {"seed": 1234, "until": ("\n",), "temperature": 1},
    )
    assert same.fingerprint == RUN.fingerprint
    assert len(RUN.fingerprint) == 16
    write(tmp_path, [sample()])
    assert found(tmp_path, same) == ({0: sample()}, 0)


@pytest.mark.parametrize("value", [object(), math.nan, {1, 2}, np.float32(1)])
def test_settings_that_have_no_json_are_refused(value):
    """Two of them could not be told apart, or not be found again."""
    with pytest.raises(WiseMergeError, match=r"gsm8k_passk needs .* of texts, numbers"):
        _ = replace(RUN, settings={"odd": value}).fingerprint


def test_the_first_of_two_samples_of_one_index_counts_everywhere(tmp_path):
    """Within a file, across the files of ranks, in memory, and in what the command shows."""
    write(tmp_path, [sample(0, "first")], rank=1)
    # As if another process had not seen it.
    aside = tmp_path / "aside"
    second = write(aside, [sample(0, "second"), sample(1, "alone")], rank=0)
    with second.open("ab") as file:
        file.write(b"".join(line for line in (write(tmp_path / "third", [sample(0, "third")])).open("rb")))
    second.rename(tmp_path / second.name)
    expected = {0: sample(0, "second"), 1: sample(1, "alone")}
    for rank in (0, 1, 2):
        assert found(tmp_path, rank=rank) == (expected, 0)
    assert read_runs(tmp_path).runs[0].samples[PROBLEM] == expected
    with Journal.open(tmp_path, RUN) as journal:
        length = journal.path.stat().st_size
        journal.append(sample(0, "fourth"))
        assert journal.samples[PROBLEM] == expected
        assert journal.path.stat().st_size == length


def test_every_rank_reads_the_samples_of_all(tmp_path):
    """So a run may go on with another number of processes."""
    for rank in range(3):
        write(tmp_path, [sample(rank)], rank=rank)
    assert len(list(tmp_path.iterdir())) == 3
    assert set(found(tmp_path, rank=0)[0]) == {0, 1, 2}
    assert set(found(tmp_path, rank=7)[0]) == {0, 1, 2}


@pytest.mark.parametrize("task", ["", "..", "a/b\\c", "ü ü", "x" * 500, "-", "\ud800\0"])
def test_any_name_of_a_task_makes_a_file_within_the_folder(tmp_path, task):
    """Folders, dots, blanks and excess are taken out; the fingerprint tells tasks apart all the same."""
    run = replace(RUN, task=task)
    path = write(tmp_path, [sample()], run=run)
    assert path.parent == tmp_path
    assert [kept.task for kept in read_runs(tmp_path).runs] == [task]
    assert found(tmp_path, run) == ({0: sample()}, 0)


# --- what evaluations ask for ---------------------------------------------------------------------------


def kinds(path):
    return [json.loads(line)["kind"] for line in path.read_bytes().splitlines()]


def test_an_evaluation_is_written_when_it_asks_for_something_else(tmp_path):
    """More or fewer problems, a corrected answer, a second row of one prompt; nothing if it is the newest again."""
    one, two = (PROMPT, 7, {"question": "1 + 1?"}, "2"), ("2 + 2?", 8, {}, "4")
    asked = [
        ([one], ["problem", "evaluation"]),
        ([one], []),
        ([one, two], ["problem", "evaluation"]),
        ([two, one, one], []),
        ([one], ["evaluation"]),
        ([(*one[:3], "3")], ["problem", "evaluation"]),
        ([one], ["evaluation"]),
        ([one, (PROMPT, 9, *one[2:])], ["problem", "evaluation"]),
        ([], []),
    ]
    expected = ["run"]
    for problems, new in asked:
        expected += new
        with Journal.open(tmp_path, RUN) as journal:
            journal.ask(problems)
        assert kinds(journal.path) == expected


def test_the_shares_of_all_ranks_are_one_evaluation(tmp_path):
    """One problem more changes the share of one rank alone; a single process then asks for nothing new."""
    problems = [(f"{number} + 1?", number, {}, "2") for number in range(5)]
    for launch, count in enumerate((4, 5)):
        for rank in (1, 0):
            with Journal.open(tmp_path, RUN, rank=rank, evaluation=f"launch {launch}") as journal:
                journal.ask(problems[rank:count:2])
                for prompt, *_ in problems[rank:count:2]:
                    journal.append(sample(problem=problem_id(prompt)))
        (rows,) = evaluations(read_runs(tmp_path).runs[0])
        assert sorted(doc_id for _, doc_id in rows) == list(range(count))
    before = journal.path.read_bytes()
    with Journal.open(tmp_path, RUN) as journal:
        journal.ask(problems)
    assert journal.path.read_bytes() == before


# --- damage -----------------------------------------------------------------------------------------


def flip(data, at, value):
    return data[: at % len(data)] + bytes([value]) + data[at % len(data) + 1 :] if data else data


def insert(data, at, what):
    at %= len(data) + 1
    return data[:at] + what + data[at:]


def double_a_line(data, at, _):
    lines = data.splitlines(keepends=True)
    return b"".join(lines[: at % len(lines) + 1] + lines[at % len(lines) :]) if lines else data


def overwrite(data, at, what):
    at %= len(data) + 1
    return data[:at] + what + data[at + len(what) :]


PLACES = st.integers(0, 10_000)
JUNK = st.binary(min_size=1, max_size=40) | st.sampled_from(
    [b"\0" * 512, b"\n", b"\r", b"\xff\xfe", b"\xed\xa0\x80", b"}", b'"', b"{}\n", b"[]\n", b"null\n", b'{"crc":"']
)
DAMAGES = st.one_of(
    st.tuples(st.just(flip), PLACES, st.integers(0, 255)),
    st.tuples(st.just(lambda data, at, _: data[: at % (len(data) + 1)]), PLACES, st.none()),
    st.tuples(st.just(lambda data, at, length: insert(data[:at] + data[at + length :], 0, b"")), PLACES, PLACES),
    st.tuples(st.just(insert), PLACES, JUNK),
    st.tuples(st.just(overwrite), PLACES, JUNK),
    st.tuples(st.just(double_a_line), PLACES, st.none()),
    st.tuples(st.just(lambda data, at, _: data + data[at % (len(data) + 1) :]), PLACES, st.none()),
    st.tuples(st.just(lambda data, *_: data.replace(b"\n", b"\r\n")), st.none(), st.none()),
    st.tuples(st.just(lambda data, *_: data.replace(b"\n", b"")), st.none(), st.none()),
    st.tuples(st.just(lambda data, *_: b"\xef\xbb\xbf" + data), st.none(), st.none()),
)


@settings(deadline=None, max_examples=500)
@given(st.lists(st.text(st.characters(), max_size=20), max_size=8), st.lists(DAMAGES, min_size=1, max_size=4))
def test_no_damage_is_used_and_nothing_undamaged_is_lost(texts, damages):
    """Cut, flipped, inserted, doubled, joined, overwritten: each line that is whole is found, and the run goes on."""
    samples = dict(enumerate(sample(index, text) for index, text in enumerate(texts)))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        path = write(directory, samples.values())
        lines = [line for line in path.read_bytes().split(b"\n") if b'"kind":"sample"' in line]
        data = path.read_bytes()
        for damage, *arguments in damages:
            data = damage(data, *arguments)
        path.write_bytes(data)
        there, _ = found(directory)
        assert there.items() <= samples.items()
        assert there.keys() == {index for index, line in enumerate(lines) if line in data}
        # What is missing is drawn again, and then everything is there, however it ended before.
        with Journal.open(directory, RUN) as journal:
            damaged = journal.damaged
            for one in samples.values():
                journal.append(one)
            journal.append(sample(len(samples), "new"))
        assert found(directory) == ({**samples, len(samples): sample(len(samples), "new")}, damaged)
        assert read_runs(directory).runs[0].samples[PROBLEM] == found(directory)[0]


def test_a_file_cut_at_any_byte_gives_back_every_whole_line(tmp_path):
    """All cuts of a small journal, one by one; an acknowledged sample after the cut is never glued to its stump."""
    path = write(tmp_path, [sample(index) for index in range(3)])
    data = path.read_bytes()
    ends = [end for end in range(len(data)) if data[end : end + 1] == b"\n"]
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        whole = max(0, sum(end <= cut for end in ends) - 3)
        there, damaged = found(tmp_path)
        assert list(there) == list(range(whole)), cut
        assert damaged == (cut > 0 and cut not in ends and data[cut - 1 : cut] != b"\n")
        write(tmp_path, [sample(9, "after")])
        assert found(tmp_path)[0] == {**there, 9: sample(9, "after")}


def test_damaged_lines_are_counted(tmp_path):
    """A flipped byte, a NUL block, a stump and foreign text: one each; blank lines and a doubled line are none."""
    path = write(tmp_path, [sample(index) for index in range(3)])
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"text":"2"', b'"text":"3"')
    path.write_bytes(b"".join(lines) + b"\n\r\n" + lines[3] + b"\0" * 100 + b"\nNotes of mine\n" + lines[5][:50])
    there, damaged = found(tmp_path)
    assert (sorted(there), damaged) == ([0, 2], 4)
    (kept,) = read_runs(tmp_path).runs
    assert (sorted(kept.samples[PROBLEM]), kept.damaged) == ([0, 2], 4)


def test_a_line_that_is_just_being_written_is_no_damage(tmp_path):
    """Where it goes on shortly after; where it does not, whoever holds the lock, it is damaged."""
    path = write(tmp_path, [sample(0)])
    data = path.read_bytes()
    end = data.splitlines(keepends=True)[-1]
    with Journal.open(tmp_path, RUN):
        path.write_bytes(data + end[:100])
        assert read_runs(tmp_path).runs[0].damaged == 1
        with path.open("ab") as file:
            later = threading.Timer(0.05, lambda: (file.write(end[100:]), file.flush()))
            later.start()
            assert read_runs(tmp_path).runs[0].damaged == 0
            later.join()


def test_what_was_lost_of_a_run_is_written_anew(tmp_path):
    """Its settings and its problems, by whoever goes on."""
    path = write(tmp_path, [sample()])
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[3])
    (kept,) = read_runs(tmp_path).runs
    assert (kept.run, kept.task, kept.problems, len(kept.samples)) == (None, "gsm8k_passk", {}, 1)
    write(tmp_path, [sample(1)])
    (kept,) = read_runs(tmp_path).runs
    assert (kept.run, [ask.problem for ask in kept.problems], len(kept.samples[PROBLEM])) == (RUN, [PROBLEM], 2)


def test_files_put_together_stay_apart(tmp_path):
    """Two runs in one file: each record goes to its own, and the run whose file it is not is told of all the same."""
    path, other = write(tmp_path, [sample(0, "mine")]), write(tmp_path, [sample(0, "theirs")], run=OTHER)
    path.write_bytes(other.read_bytes() + path.read_bytes())
    other.unlink()
    assert found(tmp_path) == ({0: sample(0, "mine")}, 0)
    assert found(tmp_path, OTHER) == ({}, 0)
    texts = {kept.fingerprint: kept.samples[PROBLEM][0].text for kept in read_runs(tmp_path).runs}
    assert texts == {RUN.fingerprint: "mine", OTHER.fingerprint: "theirs"}


@pytest.mark.parametrize("content", [b"", b"\n", b"\0" * 4096, b"\xff" * 100, b"{}", b"[1]\nnull\n", os.urandom(5000)])
def test_a_file_with_nothing_in_it_is_a_beginning(tmp_path, content):
    """Empty, zeros, noise: nothing is found, and what is appended then is."""
    path = write(tmp_path, [])
    path.write_bytes(content)
    assert found(tmp_path)[0] == {}
    write(tmp_path, [sample()])
    assert found(tmp_path)[0] == {0: sample()}


# --- processes --------------------------------------------------------------------------------------

APPENDS = """
import sys
from pathlib import Path
from wise_merge.journal import Journal, Run, Sample, problem_id
run = Run("gsm8k_passk", {"name": "org/model", "weights": "0a1b"}, {"temperature": 1.0, "until": ["\\n"], "seed": 1234})
problem = problem_id("Question: 1 + 1?\\nAnswer:")
with Journal.open(Path(sys.argv[1]), run) as journal:
    journal.ask([("Question: 1 + 1?\\nAnswer:", 7, {"question": "1 + 1?"}, "2")])
    start = len(journal.samples.get(problem, {}))
    print("open", flush=True)
    for index in range(start, start + int(sys.argv[2])):
        text = f"text of {index} " * (index % 50)
        journal.append(Sample(problem, index, text, 3, "stop", -0.1 - index / 7, 2**61 + index))
        print(index, flush=True)
    sys.stdin.read()
"""


def appender(directory, count=10**9):
    """A process that appends from where the journal ends, prints the index of each sample that is kept, and waits."""
    command = [sys.executable, "-c", APPENDS, str(directory), str(count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "open\n"
    return process


def kill(process):
    """What it still had printed."""
    process.send_signal(signal.SIGKILL)
    with process.stdin, process.stdout:
        rest = process.stdout.read()
        assert process.wait() == -signal.SIGKILL
    return rest


def test_killed_at_20_random_moments_nothing_acknowledged_is_lost(tmp_path):
    """Each time it goes on where it was: no sample twice, none missing, all as they were drawn."""
    rng = random.Random(4)
    acknowledged = []
    for _ in range(20):
        process = appender(tmp_path)
        acknowledged += [int(process.stdout.readline()) for _ in range(rng.randrange(300))]
        time.sleep(rng.random() / 500)
        # The last number may be cut in the middle.
        acknowledged += map(int, kill(process).split("\n")[:-1])
    there, damaged = found(tmp_path)
    assert damaged <= 20
    assert len(acknowledged) > 1000
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= there.keys()
    # One each may have been kept without a chance to say so.
    assert len(acknowledged) <= len(there) <= len(acknowledged) + 20
    assert there == {index: sample(index, f"text of {index} " * (index % 50)) for index in range(len(there))}
    # Linux ends a write of several pages between two of them when the process is killed: then there is a stump.
    (path,) = tmp_path.glob("*.jsonl")
    whole = [line for line in path.read_text().splitlines() if '"kind":"sample"' in line and line.endswith("}")]
    assert len(whole) == len(there)


def test_a_second_process_stops_with_one_line_until_the_first_is_gone(tmp_path):
    """Another rank or another run may go on meanwhile; even after SIGKILL the journal is free again."""
    process = appender(tmp_path, 1)
    process.stdout.readline()
    with pytest.raises(WiseMergeError) as refused:
        Journal.open(tmp_path, RUN)
    message = str(refused.value)
    assert "\n" not in message
    assert str(tmp_path) in message
    assert "gsm8k_passk" in message
    assert "another process" in message
    assert found(tmp_path, rank=1)[0].keys() == {0}
    assert found(tmp_path, OTHER) == ({}, 0)
    kill(process)
    assert found(tmp_path)[0].keys() == {0}


def test_a_journal_is_not_opened_twice_within_a_process(tmp_path):
    """Nor can one be closed wrongly: a second close does nothing, and appending to a closed one is a bug."""
    with Journal.open(tmp_path, RUN) as journal:
        with pytest.raises(WiseMergeError, match="in use"):
            Journal.open(tmp_path, RUN)
        journal.append(sample())
    journal.close()
    with pytest.raises(ValueError, match="closed"):
        journal.append(sample(1))
    assert found(tmp_path) == ({0: sample()}, 0)


def test_a_run_that_needs_nothing_leaves_nothing(tmp_path):
    """Neither empty files nor locks; and the folder's files are as they were."""
    with Journal.open(tmp_path / "new", RUN):
        pass
    assert list((tmp_path / "new").iterdir()) == []
    path = write(tmp_path, [sample()])
    before = path.read_bytes()
    for rank in (0, 1):
        with Journal.open(tmp_path, RUN, rank=rank, evaluation="again") as journal:
            journal.ask([(PROMPT, 7, {"question": "1 + 1?"}, "2")])
            journal.append(sample())
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["new", path.name])


# --- what the system refuses ------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_one_clear_line(tmp_path):
    """It names file, reason, what is safe and what to do; nothing that failed counts as kept."""
    path = write(tmp_path, [sample(index) for index in range(3)])
    path.rename(tmp_path / f"copy-{path.name}")
    path.symlink_to("/dev/full")
    with Journal.open(tmp_path, RUN) as journal:
        with pytest.raises(WiseMergeError) as refused:
            journal.append(sample(3))
        assert set(journal.samples[PROBLEM]) == {0, 1, 2}
    assert path.is_symlink()
    message = str(refused.value)
    assert "\n" not in message
    for part in (
        str(path),
        "No space left on device",
        "samples of gsm8k_passk that are safe in it: 3;",
        "make room",
        "same command",
    ):
        assert part in message


@pytest.mark.parametrize("room", [0, 1, 150, 151])
def test_the_line_that_found_no_room_is_cut_off_again(tmp_path, room):
    """A real limit of the file's size stops a line after some bytes; then there is room again and it goes on."""
    path = write(tmp_path, [sample(0)])
    whole = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal.open(tmp_path, RUN) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + room, hard))
        try:
            with pytest.raises(WiseMergeError, match=r"File too large; samples of gsm8k_passk .* safe in it: 1; "):
                journal.append(sample(1, "x" * 1000))
            assert path.read_bytes() == whole
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        journal.append(sample(1, "y"))
    assert found(tmp_path) == ({0: sample(0), 1: sample(1, "y")}, 0)


def test_a_stump_that_cannot_be_cut_off_harms_nobody(tmp_path):
    """As on a device that can only be appended to: the next line begins on its own."""
    path = write(tmp_path, [sample(0)])
    with path.open("ab") as file:
        file.write(path.read_bytes()[-100:-50])
    write(tmp_path, [sample(1)])
    assert found(tmp_path) == ({0: sample(0), 1: sample(1)}, 1)


@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_place_of_the_folder_is_refused(tmp_path, below):
    """With its name, in one line."""
    (tmp_path / "file").touch()
    directory = tmp_path / "file" / "below" if below else tmp_path / "file"
    with pytest.raises(WiseMergeError, match=rf"the journal {directory} (is a file|cannot be made: Not a dir)"):
        Journal.open(directory, RUN)


READS = """
import errno, os, sys
from pathlib import Path
from wise_merge.errors import WiseMergeError
from wise_merge.journal import Journal, Run, Sample, problem_id
run = Run("gsm8k_passk", {"name": "org/model", "weights": "0a1b"}, {"temperature": 1.0, "until": ["\\n"], "seed": 1234})
prompt = "Question: 1 + 1?\\nAnswer:"
problem = prompt, 7, {"question": "1 + 1?"}, "2"
second = "2 + 2?", 8, {}, "4"
if os.geteuid() == 0:
    # Nothing is unwritable for root.
    os.setuid(65534)
for rank in (0, 1):
    with Journal.open(Path(sys.argv[1]), run, rank=rank, evaluation="again") as journal:
        assert journal.damaged == 0
        journal.ask([problem, second])
        journal.ask([problem])
        journal.append(journal.samples[problem_id(prompt)][0])
        for write in (
            lambda: journal.ask([problem, ("another", 9, {}, None)]),
            lambda: journal.ask([(prompt, 7, {"question": "1 + 1?"}, "3")]),
            lambda: journal.append(Sample(problem_id(prompt), 1, "2", 3, "stop", None, 1)),
        ):
            try:
                write()
            except WiseMergeError as error:
                print(error)
"""


def test_a_folder_that_cannot_be_written_can_be_read(tmp_path):
    """A finished evaluation and a part of it find everything; the first thing to write is refused with what to do."""
    with tempfile.TemporaryDirectory() as name:
        # Pytest's own folders are closed to other users.
        directory = Path(name)
        with Journal.open(directory, RUN) as journal:
            journal.ask([(PROMPT, 7, {"question": "1 + 1?"}, "2"), ("2 + 2?", 8, {}, "4")])
            journal.append(sample())
        with journal.path.open("ab") as file:
            # Another user may be writing.
            file.write(b'{"crc":"')
        directory.chmod(0o555)
        try:
            result = subprocess.run(
                [sys.executable, "-c", READS, name], capture_output=True, text=True, cwd="/", check=False
            )
        finally:
            directory.chmod(0o755)
    assert (result.returncode, result.stderr) == (0, "")
    line = f"the journal {name} cannot be written to: Permission denied; make it writable or choose another folder\n"
    assert result.stdout == 6 * line


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write: Linux's /proc")
def test_a_place_where_no_folder_can_be_made_is_refused():
    """Whoever asks."""
    with pytest.raises(WiseMergeError, match=r"the journal /proc/journal cannot be made: No such file"):
        Journal.open(Path("/proc/journal"), RUN)
