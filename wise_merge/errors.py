"""The one exception for expected failures; everything else that is raised is a bug."""


class WiseMergeError(Exception):
    """A failure that the user can mend: says what was wanted, what came, and what to do next."""
