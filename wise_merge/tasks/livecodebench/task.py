"""The class of `livecodebench_passk`."""

import hashlib
from collections.abc import Mapping
from typing import Any

from wise_merge.answers.benchmarks import Benchmark
from wise_merge.tasks.livecodebench.cases import Tests, read_tests
from wise_merge.tasks.livecodebench.judging import classify, program_in
from wise_merge.tasks.permission import check_permission
from wise_merge.tasks.task import PassKTask

_COLUMNS = ("question_content", "starter_code", "public_test_cases", "private_test_cases")


class LiveCodeBenchTask(PassKTask):
    """Programs for problems in the form of LiveCodeBench's files, run in a sandbox if `execute` allows it."""

    def __init__(self, config: dict[str, Any]) -> None:
        check_permission(config["task"], config.get("metadata") or {})
        # Kept apart from the problems, which stand in every logged sample: hidden tests have megabytes.
        self._tests: dict[str, Tests] = {}
        benchmark = Benchmark(
            name="programs",
            columns=_COLUMNS,
            gold=lambda document: document["tests"],
            extract=program_in,
            classify=lambda questions, processes: classify(questions, self._tests, processes),
        )
        super().__init__({**config, "benchmark": benchmark, "prepare": self._without_tests})

    @property
    def judged_by(self) -> str:
        """What says right or wrong: the tests, which `wise-merge score` does not run."""
        return f"the tests of {self.config.task}"

    def _without_tests(self, row: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Return a problem with the digest of its tests in their place."""
        tests = read_tests(row)
        key = hashlib.sha256(repr(tests).encode()).hexdigest()
        self._tests[key] = tests
        kept = {name: value for name, value in row.items() if name not in ("private_test_cases", "metadata")}
        return {**kept, "starter_code": row["starter_code"] or "", "tests": key}

    def check_judging(self) -> None:
        """Run one program, so that a sandbox that does not work ends the run before the sampling."""
        self._judge([(self.dataset[self.config.test_split][0], ("```\nprint()\n```",))])
