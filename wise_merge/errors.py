"""The one exception for expected failures, and how it quotes others; everything else that is raised is a bug."""


class WiseMergeError(Exception):
    """A failure that the user can mend: says what was wanted, what came, and what to do next."""


def first_line(error: object) -> str:
    """Return the first line of what an exception of somebody else's says, or its type if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
