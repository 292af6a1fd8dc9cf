"""What lm-eval notes of the machine with every evaluation is found out once, as it stays what it is.

It has pip list what is installed, in a process that takes longer than the evaluation of two problems.
"""

import functools

from torch.utils import collect_env

collect_env.get_pip_packages = functools.cache(collect_env.get_pip_packages)


def ask_ahead() -> None:
    """Have the answer before a process is forked that asks for it."""
    collect_env.get_pip_packages(collect_env.run)
