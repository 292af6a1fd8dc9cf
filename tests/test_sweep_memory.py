"""Whether a sweep fits into memory: what the groups of processes leave, and what is said before anything is loaded."""

import re

import pytest

from wise_merge.errors import WiseMergeError
from wise_merge.search.engines.memory import (
    available,
    check_memory,
    default_device,
    free_in_groups,
    running_bytes,
)

GB = 10**9
RESERVE = 1 << 30


def group(folder, limit, used, *, files=0, old=False):
    """Make a group of processes as Linux shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else ("memory.max", "memory.current")
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    prefix = "total_" if old else ""
    facts = {"anon": 5, f"{prefix}active_file": files // 4, f"{prefix}inactive_file": files - files // 4}
    (folder / "memory.stat").write_text("".join(f"{key} {value}\n" for key, value in facts.items()))


def belongs(tmp_path, line):
    """Say to which group a process belongs."""
    own = tmp_path / "own"
    own.write_text(f"{line}\n")
    return own


def test_the_narrowest_group_around_a_process_counts(tmp_path):
    """A job within a user's share within a machine: the limit of each holds; "max" is none."""
    groups, own = tmp_path / "cgroup", belongs(tmp_path, "0::/slurm/job_7/step")
    group(groups / "slurm", 9 * GB, 2 * GB)
    group(groups / "slurm" / "job_7", 8 * GB, 5 * GB)
    group(groups / "slurm" / "job_7" / "step", "max", 4 * GB)
    group(groups / "slurm" / "job_8", 1 * GB, 1 * GB)
    assert free_in_groups(groups, own) == 3 * GB
    group(groups / "slurm", 9 * GB, 7 * GB)
    assert free_in_groups(groups, own) == 2 * GB


def test_files_that_were_read_are_no_used_memory(tmp_path):
    """They leave as soon as their place is needed: a checkpoint that was hashed does not count against itself."""
    group(tmp_path / "cgroup", 8 * GB, 7 * GB, files=5 * GB)
    assert free_in_groups(tmp_path / "cgroup", belongs(tmp_path, "0::/")) == 6 * GB


@pytest.mark.parametrize("files", [0, 1000])
def test_a_group_beyond_its_limit_leaves_nothing(files, tmp_path):
    """Rather than a number below 0."""
    group(tmp_path / "cgroup", GB, 2 * GB, files=files)
    assert free_in_groups(tmp_path / "cgroup", belongs(tmp_path, "0::/")) == 0


def test_a_container_sees_its_own_group_at_the_root(tmp_path):
    """The path from outside is named, and nothing is there."""
    group(tmp_path / "cgroup", 4 * GB, GB)
    assert free_in_groups(tmp_path / "cgroup", belongs(tmp_path, "0::/docker/123abc")) == 3 * GB
    assert free_in_groups(tmp_path / "cgroup", tmp_path / "nothing") == 3 * GB


def test_groups_of_the_older_kind_are_read(tmp_path):
    """Under memory/, with names of their own and sums over what is below."""
    group(tmp_path / "cgroup" / "memory" / "job", 6 * GB, 5 * GB, files=2 * GB, old=True)
    own = belongs(tmp_path, "5:cpu,cpuacct:/elsewhere\n4:memory:/job\n0::/")
    assert free_in_groups(tmp_path / "cgroup", own) == 3 * GB


def test_without_limits_nothing_is_said(tmp_path):
    """No groups at all, no limit, and files of another form."""
    groups, own = tmp_path / "cgroup", belongs(tmp_path, "0::/")
    assert free_in_groups(groups, own) is None
    group(groups, "max", GB)
    assert free_in_groups(groups, own) is None
    group(groups, "many", GB)
    assert free_in_groups(groups, belongs(tmp_path, "no colons")) is None


def test_some_memory_is_available_here():
    """A number of bytes of this machine, more than the interpreter takes."""
    import psutil

    assert 1 << 20 < available() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("dtype", "loaded", "expected"),
    [
        ("float32", None, 8),
        ("float32", "auto", 8),
        ("float32", "bfloat16", 4),
        ("bfloat16", "float32", 16),
        ("float16", "float64", 32),
        (None, "bfloat16", 8),
        ("float32", "int4", 8),
    ],
)
def test_a_model_takes_the_bytes_of_the_dtype_it_is_loaded_in(dtype, loaded, expected):
    """Averages in another dtype are cast as they are put in place; what is not known counts as it is averaged."""
    assert running_bytes(8, dtype, loaded) == expected


def check(model=10 * GB, files=(10 * GB, 10 * GB), dtype="float32", *, free, in_memory=True):
    return check_memory(model, files, dtype, free=free, in_memory=in_memory)


def test_both_checkpoints_beside_the_model_are_no_matter_of_words():
    """From exactly as much as all three and the rest of the process take."""
    assert check(free=30 * GB + RESERVE) is None
    assert check(free=20 * GB + RESERVE, in_memory=False) is None


def test_checkpoints_that_do_not_fit_are_read_again_and_again():
    """A byte less than for all three: slower, said as a warning with the sizes."""
    said = check(free=30 * GB + RESERVE - 1)
    assert "the two checkpoints (20.0 GB) do not fit into memory beside the model (10.0 GB of 31.1 GB free)" in said
    assert check(free=20 * GB + RESERVE - 1, in_memory=False) is not None
    # On a GPU the model takes nothing of this memory, so nothing here can be too little for it.
    assert check(free=0, in_memory=False) is not None


def test_a_model_that_does_not_fit_is_refused_with_what_would():
    """Half as wide where that fits, another device, or the memory that it takes: numbers that this check accepts."""
    assert check(free=10 * GB + RESERVE) is not None
    with pytest.raises(WiseMergeError) as refused:
        check(free=10 * GB + RESERVE - 1)
    message = str(refused.value)
    assert "too little memory: the model takes 10.0 GB while it runs and everything else 1.1 GB" in message
    assert "what would fit: model_args dtype=bfloat16 (5.0 GB), a GPU (device cuda) or 11.1 GB of memory" in message
    assert check(model=5 * GB, dtype="bfloat16", free=10 * GB + RESERVE - 1) is not None


@pytest.mark.parametrize(("dtype", "free"), [("bfloat16", 10 * GB), ("float16", 10 * GB), ("float32", 6 * GB)])
def test_a_narrower_dtype_is_proposed_only_where_it_helps(dtype, free):
    """Not for a model that is as narrow already, nor where half is too much as well."""
    with pytest.raises(WiseMergeError, match=re.escape("what would fit: a GPU")):
        check(dtype=dtype, free=free)


def test_a_machine_without_an_accelerator_samples_on_its_processor(monkeypatch):
    """Also where torch was built for one, as PyPI's is: it names CUDA then, unless it is asked to look."""
    import torch

    def built_for_cuda(check_available=False):
        return None if check_available else torch.device("cuda")

    monkeypatch.setattr(torch.accelerator, "current_accelerator", built_for_cuda)
    assert default_device() == "cpu"
