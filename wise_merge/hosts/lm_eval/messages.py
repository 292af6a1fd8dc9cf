"""How the tasks speak to whoever runs `lm_eval`: its log, and errors that end it with one line."""

import logging

from wise_merge.errors import WiseMergeError

#: A child of lm-eval's logger, the only one that its command line shows and --verbosity governs.
log = logging.getLogger("lm_eval.wise_merge")


class TaskInputError(WiseMergeError, SystemExit):
    """A `WiseMergeError` that ends `lm_eval` with one line and exit code 1 instead of a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message
