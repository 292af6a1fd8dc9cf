"""What is taken from inside the hosts: it is there, it is missed where it is not, and the work goes on without it."""

import re
import sys
import types

import pytest
import tomllib
from conftest import HOST_CHANGED, REPOSITORY
from lm_eval.models.huggingface import HFLM
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from support.engines import GREEDY, PROMPTS, SAMPLED, ask, load

from wise_merge.hosts import doctor, transformers_parts, versions
from wise_merge.hosts.lm_eval import parts as lm_eval_parts
from wise_merge.hosts.mergekit import parts as mergekit_parts
from wise_merge.hosts.part import Part, first_fault
from wise_merge.sampling import cache_rows, decode
from wise_merge.sampling.hf import HFPassK

#: Without any of these samples are drawn in the parent's way.
NEEDED = (*lm_eval_parts.HF, *transformers_parts.LOOP)


@pytest.mark.parametrize("parts", [lists for _, _, lists in doctor._INSIDE], ids=lambda parts: parts[0].place)
def test_every_part_is_as_expected(parts):
    """With the versions under test, whichever they are."""
    if "vllm" in " ".join(part.place for part in parts) and versions.installed("vllm") is None:
        pytest.skip("needs vLLM, which `make test-vllm` has")
    assert first_fault(parts) is None


def test_what_is_not_as_expected_is_named(monkeypatch):
    """A module, a name, a parameter and a behaviour that are gone; a field without a value is there."""
    host = types.ModuleType("some_host")

    class Thing:
        field: int

        def method(self, old):
            return old

        def open(self, **settings):
            return settings

    host.Thing = Thing
    monkeypatch.setitem(sys.modules, "some_host", host)
    assert Part("some_host:Thing.field").fault() is None
    assert Part("some_host:Thing.method", takes=("old",)).fault() is None
    assert Part("some_host:Thing.open", takes=("whatever",)).fault() is None
    assert Part("some_host:Thing.method", takes=("new",)).fault() == "some_host:Thing.method takes no new"
    assert Part("some_host:Thing.gone").fault() == "some_host:Thing.gone is not there"
    assert "No module named 'no_host'" in Part("no_host:Thing").fault()
    assert Part("some_host:Thing", behaves=lambda: "it sinks").fault() == "it sinks"
    assert "ZeroDivisionError" in Part("some_host:Thing", behaves=lambda: str(1 / 0)).fault()


def only_without(monkeypatch, place):
    monkeypatch.setattr(Part, "fault", lambda part: f"{place} is not there" if part.place == place else None)


@pytest.fixture(scope="module")
def greedy_texts(checkpoints):
    """What lm-eval's own class generates."""
    return ask(load(HFLM, checkpoints("llama")), PROMPTS, **GREEDY)


@pytest.mark.hosts_changed
@pytest.mark.parametrize("place", [part.place for part in NEEDED])
def test_without_any_part_of_the_loop_samples_are_drawn_in_the_parents_way(
    checkpoints, greedy_texts, monkeypatch, caplog, place
):
    """The same greedy texts, K different samples, and one line that names version and part."""
    only_without(monkeypatch, place)
    ours = load(HFPassK, checkpoints("llama"), seed=1)
    assert ask(ours, PROMPTS, **GREEDY) == greedy_texts
    samples = ask(ours, PROMPTS[:2], repeats=8, **{**SAMPLED, "max_gen_toks": 8})
    assert all(len(set(texts)) > 4 for texts in samples)
    assert {text.finish_reason for texts in samples for text in texts} <= {"stop", "length"}
    (line,) = [record.getMessage() for record in caplog.records if HOST_CHANGED in record.getMessage()]
    assert place in line
    assert versions.installed("transformers") in line


@pytest.mark.hosts_changed
def test_a_change_that_only_shows_in_the_middle_loses_nothing(checkpoints, monkeypatch, caplog, tmp_path):
    """What was drawn before is kept, the rest is drawn in the parent's way, and the journal has all of it."""
    read, calls = decode._read, []

    def changed(*arguments):
        calls.append(arguments)
        if len(calls) == 12:
            raise AttributeError("'DynamicLayer' object has no attribute 'dtype'")
        return read(*arguments)

    whole = ask(load(HFPassK, checkpoints("llama"), seed=1), PROMPTS, repeats=4, **SAMPLED)
    monkeypatch.setattr(decode, "_read", changed)
    ours = load(HFPassK, checkpoints("llama"), seed=1, journal=str(tmp_path / "journal"))
    samples = ask(ours, PROMPTS, repeats=4, **SAMPLED)
    kept = sum(
        one == other
        for ones, others in zip(samples, whole, strict=True)
        for one, other in zip(ones, others, strict=True)
    )
    assert 0 < kept < 4 * len(PROMPTS)
    assert [HOST_CHANGED in record.getMessage() for record in caplog.records].count(True) == 1
    monkeypatch.setattr(decode, "_read", read)
    again = load(HFPassK, checkpoints("llama"), seed=1, journal=str(tmp_path / "journal"))
    assert ask(again, PROMPTS, repeats=4, **SAMPLED) == samples


@pytest.mark.hosts_changed
def test_an_error_of_the_model_is_still_an_error(checkpoints, monkeypatch):
    """What the parent meets, too, is raised: the way round hides nothing."""

    def broken(*_, **__):
        raise TypeError("the model is broken")

    ours = load(HFPassK, checkpoints("llama"), seed=1)
    monkeypatch.setattr(type(ours.model), "forward", broken)
    with pytest.raises(TypeError, match="the model is broken"):
        ask(ours, PROMPTS, **GREEDY)


@pytest.mark.parametrize("parts", [transformers_parts.SHARED_PREFILL, transformers_parts.ROOM], ids=["shared", "room"])
def test_without_the_cache_that_we_know_the_samples_are_the_same(checkpoints, monkeypatch, caplog, parts):
    """Only slower, as one line says."""
    expected = ask(load(HFPassK, checkpoints("llama"), seed=1, dtype="float64"), PROMPTS, repeats=3, **SAMPLED)
    only_without(monkeypatch, parts[0].place)
    cache_rows._room_is_possible.cache_clear()
    try:
        ours = load(HFPassK, checkpoints("llama"), seed=1, dtype="float64")
        assert ask(ours, PROMPTS, repeats=3, **SAMPLED) == expected
    finally:
        cache_rows._room_is_possible.cache_clear()
    (line,) = [record.getMessage() for record in caplog.records if parts[0].place in record.getMessage()]
    assert versions.described("transformers") in line


@pytest.mark.parametrize("parts", [mergekit_parts.METHODS, mergekit_parts.PLAN], ids=["methods", "plan"])
def test_mergekit_gets_no_method_that_it_might_carry_out_wrongly(monkeypatch, parts):
    """One line with the version and the way round."""
    from wise_merge.errors import WiseMergeError
    from wise_merge.hosts.mergekit import methods as mergekit_methods
    from wise_merge.hosts.mergekit import patches

    only_without(monkeypatch, parts[0].place)
    with pytest.raises(
        WiseMergeError, match=rf"mergekit {re.escape(versions.installed('mergekit'))}.*wise-merge merge"
    ):
        patches.check_parts(parts)
    if parts is mergekit_parts.METHODS:
        with pytest.raises(WiseMergeError, match="is not as expected inside"):
            mergekit_methods.register()


def test_the_doctor_names_version_part_and_consequence(monkeypatch):
    """Of each host that is here; of vLLM nothing where it is not."""
    assert doctor.look_inside() == []
    monkeypatch.setattr(Part, "fault", lambda part: f"{part.place} is not there")
    lines = doctor.look_inside()
    assert len(lines) == sum(versions.installed(host) is not None for host, _, _ in doctor._INSIDE)
    assert all(HOST_CHANGED in line for line in lines)
    assert any("hf-passk samples in the way of hf" in line for line in lines)


def test_versions_beyond_the_tested_ones_are_called_so(monkeypatch):
    """Builds do not count: 2.13.0+cpu is 2.13.0."""
    row = versions.Tested("some_host", "1.2.0", "1.10.0")
    assert [versions.beyond(row, here) for here in ("1.1.9", "1.2.0", "1.9.0+cpu", "1.10.0", "1.10.1", "odd")] == [
        *("older", None, None, None, "newer", "other")
    ]
    monkeypatch.setattr(versions, "installed", lambda name: {"transformers": "99.0", "mergekit": None}.get(name, "1.0"))
    lines = {line.split()[0]: line for line in doctor.compare_versions()}
    assert lines["transformers"].endswith("newer than tested")
    assert "not installed" in lines["mergekit"]


def test_the_tested_versions_are_those_of_the_ranges():
    """The oldest that is tested is the oldest that pyproject.toml allows, and the newest is within its range."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    ranges = {one.name.replace("-", "_"): one.specifier for one in map(Requirement, project["dependencies"] + extras)}
    for row in versions.TESTED:
        allowed = ranges.get(row.name)
        if row.name == "vllm":  # not ours to install
            assert allowed is None
            continue
        (lowest,) = [one.version for one in allowed if one.operator == ">="]
        assert Version(row.oldest).release == (*Version(lowest).release, 0, 0)[:3], row.name
        assert row.newest in SpecifierSet(str(allowed)), row.name
