"""A tracked run trained again, and compared with what is tracked: `python -m leafexp.verify RUN_ID`."""

import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from leafexp import names, stores
from leafexp.environment import Options, begin_command, check_environment
from leafexp.errors import UserError
from leafexp.interrupt import ending, interruptible
from leafexp.paths import ROOT
from leafexp.wording import counted, duration

if TYPE_CHECKING:
    from leafexp.verify.compare import Comparison
    from leafexp.verify.tracked import Tracked

EQUAL, DIFFERS, NOT_DONE = 0, 1, 2
_SHOWN = 5  # differences
_DESCRIPTION = """Train a tracked run again and compare it with what is tracked, epoch by epoch and photo by photo: bit
by bit with the same processor, versions and threads, within bounds elsewhere. The tracked run is only read. Exit code
0: equal. 1: it differs. 2: it can't be done."""


def make_parser() -> Options:
    """The options of the command."""
    parser = Options(prog="python -m leafexp.verify", description=_DESCRIPTION)
    parser.add_argument("run_id", metavar="RUN_ID", help="the run's id in MLflow, or how it begins")
    parser.add_argument("--tracking-uri", help="MLflow store (default: MLFLOW_TRACKING_URI, else mlflow.db here)")
    parser.add_argument("--data-path", help="where the photos lie now, if not where the run had them")
    parser.add_argument("--no-cache", action="store_true", help="decode and compute everything anew")
    return parser


def main() -> int:
    """Print the comparison; 0 if both are equal, 1 if they differ, 2 after a message."""
    begin_command()
    arguments = make_parser().parse_args()
    with interruptible():
        try:
            return _verify(arguments.run_id, arguments.tracking_uri, arguments.data_path, arguments.no_cache)
        except UserError as error:
            print(stores.scrubbed(str(error), arguments.tracking_uri or ""), file=sys.stderr)
            return NOT_DONE
        except KeyboardInterrupt:
            ending()
            print("Interrupted.", file=sys.stderr)
            return 130
        except Exception:  # Python's own exit code, 1, would say that the run differs
            print(stores.scrubbed(traceback.format_exc(), arguments.tracking_uri or ""), file=sys.stderr)
            return NOT_DONE


def _verify(run_id: str, tracking_uri: str | None, data_path: str | None, no_cache: bool) -> int:
    check_environment()
    from leafexp.report.read.store import default_tracking_uri, open_client
    from leafexp.verify.tracked import find, settings

    client = open_client(tracking_uri or default_tracking_uri(ROOT))
    tracked = find(client, run_id)
    # Before TensorFlow is imported: another number rounds sums otherwise.
    if threads := tracked.tags.get(names.THREADS):
        os.environ["TF_NUM_INTRAOP_THREADS"] = threads
    from leafexp.verify import again
    from leafexp.verify.compare import compare

    config, assumed = again.configuration(tracked, settings(tracked, client.tracking_uri), data_path)
    for key, value in assumed.items():
        print(f"The run is of a version without {key}: taken as {value}.")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="leafexp-verify-") as scratch:
        if no_cache:
            again.use_empty_cache(Path(scratch))
        again.check_inputs(tracked, config, client.tracking_uri)
        print(f"Training run {tracked.label} again: {counted(config.epochs, 'epoch')}.", flush=True)
        trained = again.train(tracked, config, Path(scratch))
    comparison = compare(tracked, trained, patient=config.trainer.patience is not None)
    print(_text(tracked, trained, comparison, time.monotonic() - begun))
    return EQUAL if comparison.equal else DIFFERS


def _text(tracked: "Tracked", again: "Tracked", comparison: "Comparison", seconds: float) -> str:
    from tabulate import tabulate

    rows = [(part.what, part.count, len(part.differences)) for part in comparison.parts]
    table = str(tabulate(rows, headers=["compared", "values", "differ"], tablefmt="simple"))
    strict = not comparison.other
    how = (
        "Processor, versions and number of threads are those of the run, so every bit must be equal."
        if strict
        else f"Other than with the run: {', '.join(comparison.other)}. So values are compared within bounds."
    )
    differences = [difference for part in comparison.parts for difference in part.differences]
    more = len(differences) - _SHOWN
    ended = "Equal, bit for bit." if strict else "Equal within the bounds."
    made, now = (run.tags.get(names.GIT_COMMIT, "an unknown commit") for run in (tracked, again))
    lines = [
        f"It took {duration(seconds)}. {how}\n\n{table}\n",
        f"Not compared: {'; '.join(['times and memory', *comparison.left_out])}.",
        *(f"Differs: {difference}" for difference in differences[:_SHOWN]),
        *([f"and {more} more."] if more > 0 else []),
        *([f"The run was made by {made}; this is {now}."] if made != now else []),
        f"Not equal: {counted(len(differences), 'value')} of run {tracked.label} can't be made again."
        if differences
        else ended,
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
