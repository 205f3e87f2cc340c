"""Values as Hydra's command line has them, for commands that a person copies."""

import re
from typing import Any

_UNQUOTED = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_/.][\w/.+-]*", re.IGNORECASE | re.ASCII)


def written(value: Any) -> str:
    """The value in Hydra's grammar, which gives it back: in quotes where it holds what has a meaning there.

    Args:
        value: None, a truth value, a number, a text, or a list or dictionary of these.
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return f"[{','.join(map(written, value))}]"
        case dict():
            return f"{{{','.join(f'{written(key)}:{written(item)}' for key, item in value.items())}}}"
        case str() if not _UNQUOTED.fullmatch(value):
            # Backslashes count as such unless a quote follows.
            quoted = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
            return f"'{quoted}'"
    return str(value)
