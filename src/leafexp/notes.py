"""What a person should know of the photos without being stopped: a line each on the terminal."""

import sys
import textwrap

_noted: set[str] = set()


def note(line: str) -> None:
    """Print a line on the photos, once a process: a sweep reads them for each of its cells."""
    if line not in _noted:
        _noted.add(line)
        text = f"Photos: {line}"
        print(textwrap.fill(text, 80, subsequent_indent="  ") if sys.stdout.isatty() else text, flush=True)
