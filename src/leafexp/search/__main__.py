"""The search for each arm's settings: `python -m leafexp.search -m model=cnn,mnv2 freeze=frozen,unfrozen,partial`."""

import importlib.util
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leafexp import stores
from leafexp.environment import begin_command, check_environment
from leafexp.errors import UserError
from leafexp.interrupt import Interrupted, ending, interruptible
from leafexp.overrides import without_address
from leafexp.paths import CONF_DIR, ROOT
from leafexp.wording import counted

if TYPE_CHECKING:
    from leafexp.search.trials import Search

_USAGE = """python -m leafexp.search [-m] [OVERRIDE ...]: the same number of trials for the settings of each arm.

The overrides are those of leafexp.train, and each combination of their values is an arm:
  python -m leafexp.search -m model=cnn,mnv2 freeze=frozen,unfrozen,partial search.trials=12
Settings are chosen on the validation photos; the test photos are held out. The same command again goes on where it
stopped, and in several terminals at once they share the work. Writes searches/NAME/: trials.csv, and an experiment that
trains and tests the chosen settings with new seeds. The keys of a search:
"""


def main() -> int:
    """Search; 0, 2 after a message, or 128 and the signal's number."""
    begin_command()
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(f"{_USAGE}\n{(CONF_DIR / 'search.yaml').read_text(encoding='utf-8')}")
        return 0
    with interruptible():
        try:
            _search(arguments)
        except UserError as error:
            print(stores.scrubbed(str(error)), file=sys.stderr)
            return 2
        except KeyboardInterrupt as interruption:
            ending()
            again = stores.scrubbed(shlex.join(["python", "-m", "leafexp.search", *arguments]))
            print(f"Interrupted. The same command goes on from here:\n  {again}", file=sys.stderr)
            return 128 + interruption.number if isinstance(interruption, Interrupted) else 130
    return 0


def _search(arguments: list[str]) -> None:
    if not importlib.util.find_spec("optuna"):
        raise UserError(
            "A search needs Optuna. Install it: pip install 'optuna>=4,<5', or leafexp with leafexp[search]."
        )
    search = _opened(arguments)
    from leafexp.search import outputs
    from leafexp.search.trials import work

    _announce(search)
    work(search)
    table, said = outputs.write(search)
    print(f"\n{said}\nAll trials: {table}\nTrain and test them: {outputs.command(search)}")


def _opened(arguments: list[str]) -> "Search":
    """The search that the command means, new or begun before."""
    from leafexp.cache.arrays import key_of
    from leafexp.search import outputs
    from leafexp.search.arms import arms, plain
    from leafexp.search.trials import Search
    from leafexp.settings import compose
    from leafexp.tracking.claim import end_silent_runs
    from leafexp.tracking.store import open_store

    words, given = without_address([word for word in arguments if word not in ("-m", "--multirun")])
    if flags := [word for word in words if word.startswith("-")]:
        raise UserError(f"A search takes -m and overrides, such as model=cnn,mnv2; it got {flags[0]}.")
    if others := [word for word in words if word.startswith(("sweep=", "rerun="))]:
        raise UserError(f"A search has no {others[0].partition('=')[0]}; search.name names it.")
    own = [word for word in words if word.lstrip("+~").startswith("search.")]
    overrides = [word for word in words if word not in own]
    config = compose.search(own)
    first = compose.check(overrides)
    uri = given or first.tracking.uri or stores.default_uri()
    if uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri = stores.usable(uri)
        overrides.append("tracking.uri=null")
    check_environment()
    found = arms(overrides, config)
    if len({arm.config.tracking.experiment for arm in found}) > 1:
        raise UserError("A search is kept in one tracking.experiment; got several.")
    asked = {arm.name: plain(arm, config) for arm in found}
    name = config.name or f"search-{key_of(asked, config.seed)[:8]}"
    outputs.check_name(name, found)
    folder = ROOT / "searches" / name
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    _check_same(folder, {"arms": asked, "seed": config.seed})
    store = open_store(uri, first.tracking.experiment, ROOT)
    if silent := end_silent_runs(store):
        print(f"Ended {counted(silent, 'run')} whose process was gone.")
    return Search(name, folder, found, config, store)


def _check_same(folder: Path, asked: dict[str, Any]) -> None:
    """Raise UserError where a search of this name was begun with other settings."""
    from leafexp.cache.arrays import write_whole
    from leafexp.locks import file_lock

    file = folder / "search.json"
    now = json.dumps(asked, indent=1)
    with file_lock(folder / "journal.held"):
        if not file.exists():
            write_whole(file, now)
        elif file.read_text(encoding="utf-8") != now:
            raise UserError(
                f"The search {folder.name} was begun with other arms, trials or ranges ({file}). Give the command of "
                "then, choose another search.name, or delete the folder."
            )


def _announce(search: "Search") -> None:
    per_arm = search.config.trials
    print(f"{search.name}: {counted(len(search.arms), 'arm')}, {counted(per_arm, 'trial')} each")
    for arm in search.arms:
        rungs = ", ".join(map(str, arm.rungs))
        print(f"  {arm.name}: {', '.join(key.rpartition('.')[2] for key in arm.space)}; compared after epoch {rungs}")
    print("Test photos are held out, and photos are not audited: python -m leafexp.audit does that.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
