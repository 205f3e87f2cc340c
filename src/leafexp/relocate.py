"""Mend the paths in a tracking store whose folder was moved: `python -m leafexp.relocate [mlflow.db]`.

MLflow keeps the absolute path of every run's files.
"""

import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from leafexp.environment import Options, begin_command
from leafexp.errors import UserError
from leafexp.paths import ROOT
from leafexp.stores import shown_file

_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def relocate(database: Path) -> dict[str, int]:
    """Let all paths into a folder mlruns/ point to the one beside `database`, in one transaction.

    Returns:
        How many paths were changed, by the folder they pointed to.

    Raises:
        UserError: no store, or no mlruns/ beside it; nothing was changed.
    """
    database = database.expanduser().absolute()
    if not database.is_file():
        raise UserError(f"There is no tracking store {shown_file(database)}.")
    folder = database.parent / "mlruns"
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Move the runs' files there first.")
    new = folder.as_uri()
    changed: dict[str, int] = {}
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection, connection:
            connection.execute("begin immediate")
            for table, column in _PATHS:
                for (path,) in connection.execute(f"select distinct {column} from {table}").fetchall():
                    match = re.match(r"file://.*/mlruns(?=/|$)", path or "")
                    if match and match.group() != new:
                        done = connection.execute(
                            f"update {table} set {column} = ? where {column} = ?", (new + path[match.end() :], path)
                        )
                        changed[match.group()] = changed.get(match.group(), 0) + done.rowcount
    except sqlite3.Error as error:
        raise UserError(f"{database} can't be changed: {error}. Nothing was.") from None
    return changed


def main() -> int:
    """Say what was changed; returns the exit code."""
    parser = Options(prog="leafexp.relocate", description="Mend a tracking store after it was moved.")
    parser.add_argument("database", type=Path, nargs="?", default=ROOT / "mlflow.db", help="default: %(default)s")
    begin_command()
    database = parser.parse_args().database
    try:
        changed = relocate(database)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    for old, count in changed.items():
        print(f"{count} paths pointed to {old}; they now point beside {database}.")
    if not changed:
        print(f"All paths in {database} are right.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
