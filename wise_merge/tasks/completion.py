"""A completion together with how it was drawn, as a subclass of `str` that lm-eval takes for a text."""

from typing import Any


class Completion(str):
    """The text of a completion that also knows how it was drawn; equal to, and hashed as, the text itself.

    lm-eval makes other texts of its class (`type(completion)(gold)`), so a text alone is enough; such a
    one was not drawn and knows nothing.

    Attributes:
        finish_reason: "stop" (the end-of-sequence token or a stop string) or "length" (cut at the longest
            completion allowed); "" of a text that was not drawn.
        tokens: how many were generated, the end-of-sequence token included.
        logprob: mean log-probability of these tokens, in nats, under the model's own distribution
            (before temperature, top-k and top-p); None where it is unknown.
        seed: of this sample.
    """

    finish_reason: str
    tokens: int
    logprob: float | None
    seed: int

    def __new__(
        cls, text: object = "", *, finish_reason: str = "", tokens: int = 0, logprob: float | None = None, seed: int = 0
    ) -> "Completion":
        """Return `text` with the details of its sampling; see the class."""
        self = super().__new__(cls, text)
        self.finish_reason, self.tokens, self.logprob, self.seed = finish_reason, tokens, logprob, seed
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the details when it is pickled, as between processes."""
        facts = (self.finish_reason, self.tokens, self.logprob, self.seed)
        return _restore, (str(self), *facts)


def _restore(text: str, finish_reason: str, tokens: int, logprob: float | None, seed: int) -> Completion:
    return Completion(text, finish_reason=finish_reason, tokens=tokens, logprob=logprob, seed=seed)
