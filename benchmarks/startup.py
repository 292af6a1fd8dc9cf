"""What the start-up file costs every interpreter of the environment and `lm_eval ls tasks`; what our help takes.

Run it with the Python in question. Two views of the first cost: `-X importtime` counts what Python spends on our two
modules; whole starts with the hook on and off, taken in turn, show the rest of it in the noise of a real start.
"""

import os
import re
import statistics
import subprocess
import sys
import time

RUNS = 40
LISTINGS = 2
OURS = ("wise_merge", "wise_merge.autoload")


def import_times() -> dict[str, int]:
    """Return the cumulative microseconds that one start spends on each of our modules."""
    run = subprocess.run([sys.executable, "-X", "importtime", "-c", "pass"], capture_output=True, text=True, check=True)
    lines = re.findall(r"import time:\s*\d+ \|\s*(\d+) \|\s*(\S+)", run.stderr)
    found = {module: int(microseconds) for microseconds, module in lines if module in OURS}
    if set(found) != set(OURS):
        raise SystemExit(f"{sys.executable} does not run the start-up file; install wise-merge there")
    return found


def start_time(autoload: str, *arguments: str) -> float:
    """Return the wall time in microseconds of one start, with WISE_MERGE_AUTOLOAD set to `autoload`."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, *(arguments or ("-c", "pass"))],
        env={**os.environ, "WISE_MERGE_AUTOLOAD": autoload},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return 1e6 * (time.perf_counter() - begin)


def listing_cost(autoload: str) -> float:
    """Return the seconds of CPU that lm-eval's list of its tasks takes, with WISE_MERGE_AUTOLOAD set to `autoload`."""
    listing = subprocess.Popen(
        [sys.executable, "-m", "lm_eval", "ls", "tasks"],
        env={**os.environ, "WISE_MERGE_AUTOLOAD": autoload},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(listing.pid, 0)
    if status:
        raise SystemExit("lm_eval ls tasks failed")
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table."""
    import_times()  # compiles, if nobody has yet
    counted = [import_times() for _ in range(RUNS)]
    # In turn, so that a machine that slows down slows both.
    starts = [(start_time("1"), start_time("0"), start_time("1", "-m", "wise_merge", "--help")) for _ in range(RUNS)]
    package, hook = (statistics.median(run[module] for run in counted) for module in OURS)
    # The package is imported on the way to the hook, so the second figure contains the first.
    rows = {"of which wise_merge": package, "import wise_merge.autoload": hook}
    rows["python -c pass"] = statistics.median(on for on, _, _ in starts)
    rows["python -c pass, WISE_MERGE_AUTOLOAD=0"] = statistics.median(off for _, off, _ in starts)
    rows["python -m wise_merge --help"] = statistics.median(shown for _, _, shown in starts)
    print(f"Python {sys.version.split()[0]}, median of {RUNS} starts")
    for what, microseconds in rows.items():
        print(f"{what:40}{microseconds / 1000:9.3f} ms")
    ratio = statistics.median(shown / on for on, _, shown in starts)
    print(f"the help / an empty start {ratio:.1f}")
    listings: dict[str, list[float]] = {"1": [], "0": []}
    # In either order, as a machine that gets warm slows the second of two.
    for autoload in ("1", "0", "0", "1") * LISTINGS:
        listings[autoload].append(listing_cost(autoload))
    on, off = (statistics.median(listings[autoload]) for autoload in ("1", "0"))
    print(f"lm_eval ls tasks, with the hook {on:.2f} s of CPU, without {off:.2f} s: {100 * (on / off - 1):+.1f} %")


if __name__ == "__main__":
    main()
