"""The report's command line: `python -m leafexp.report`, or `python scripts/report.py` in a checkout."""

import gc
import os
import sys
from argparse import ArgumentTypeError
from pathlib import Path

from leafexp.environment import Options, begin_command
from leafexp.report.read.store import no_garbage_collection

_DESCRIPTION = "Answer the study's questions from the tracked runs: on the terminal, as a page and as tables."
FORMATS = ("text", "md", "csv", "json", "tex")


def make_parser() -> Options:
    """The options of the report."""
    parser = Options(prog="report", description=_DESCRIPTION)
    parser.add_argument("--experiment", default="leafexp", help="MLflow experiment (default: %(default)s)")
    parser.add_argument("--sweep", default="latest", help="a sweep's name, latest or all (default: %(default)s)")
    parser.add_argument("--tracking-uri", help="MLflow store (default: MLFLOW_TRACKING_URI, else mlflow.db here)")
    parser.add_argument("--output", type=Path, help="folder to write to (default: reports/<experiment>)")
    parser.add_argument("--format", choices=FORMATS, default="text", help="what to print (default: one screen of text)")
    parser.add_argument(
        "--detect",
        type=_points,
        default=2.0,
        metavar="POINTS",
        help="say how many leaves or networks would show a difference of so many points (default: %(default)g)",
    )
    return parser


@no_garbage_collection()
def main() -> int:
    """Print the report and write its files; 0, or 1 after a message on stderr."""
    begin_command()
    arguments = make_parser().parse_args()

    from leafexp import stores
    from leafexp.errors import UserError
    from leafexp.paths import ROOT
    from leafexp.report.show.render import write_report

    try:
        text = write_report(
            ROOT,
            arguments.experiment,
            arguments.sweep,
            arguments.tracking_uri,
            arguments.output,
            arguments.format,
            arguments.detect / 100,
        )
    except UserError as error:
        print(stores.scrubbed(str(error), arguments.tracking_uri or ""), file=sys.stderr)
        return 1
    try:
        print(text.removesuffix("\n"), flush=True)
    except BrokenPipeError:  # the reader, such as head, had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    gc.freeze()  # else Python searches all that was read once more as it ends, a second for a thousand runs
    return 0


def _points(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 100:
        raise ArgumentTypeError(f"points of accuracy above 0 and below 100 are expected, not {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
