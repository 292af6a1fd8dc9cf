"""What keeps a program from doing harm: an existing sandbox where one works, else what the system lets us do."""


def describe_sandbox() -> str:
    """Return in a sentence or two what programs are kept from here, and what not."""
    raise NotImplementedError
