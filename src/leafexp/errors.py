"""The exceptions that have a meaning of their own: a message for the person at the keyboard, a pause of training."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake the user can mend: shown as its message alone, without a traceback."""


class Diverged(UserError):
    """Training ended as its loss is no longer a finite number: a matter of its settings alone.

    `seconds` are those of the epoch in which that was seen.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Paused(Exception):
    """Training ends here on purpose, to go on from its checkpoint if it is wanted again."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """A sentence naming the options nearest to `name`.

    An option a.learning_rate is compared whole, by its last part learning_rate and by that part's initials lr.
    """
    by_spelling: dict[str, str] = {}
    for option in sorted(options, key=len, reverse=True):
        last = option.rpartition(".")[2]
        initials = "".join(word[:1] for word in last.split("_"))
        by_spelling |= {option: option, last: option} | ({initials: option} if len(initials) > 1 else {})
    if not by_spelling:
        return "There are none to choose from."
    near = get_close_matches(name, by_spelling, n=1, cutoff=0.7) or get_close_matches(name, by_spelling, n=3, cutoff=0)
    return f"Did you mean {' or '.join(dict.fromkeys(by_spelling[spelling] for spelling in near))}?"


def first_line(error: BaseException) -> str:
    """What a library's error says first; its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
