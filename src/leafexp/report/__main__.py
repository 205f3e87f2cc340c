"""The report's command line: `python -m leafexp.report`, or `python scripts/report.py` in a checkout."""

import os
import sys
from pathlib import Path

from leafexp.environment import Options, begin_command
from leafexp.report.store import no_garbage_collection

_DESCRIPTION = (
    """Answer the study's questions from the tracked runs: a table, sentences with their figures, and charts."""
)


def make_parser() -> Options:
    """The options of the report."""
    parser = Options(prog="report", description=_DESCRIPTION)
    parser.add_argument("--experiment", default="leafexp", help="MLflow experiment (default: %(default)s)")
    parser.add_argument("--sweep", default="latest", help="a sweep's name, latest or all (default: %(default)s)")
    parser.add_argument("--tracking-uri", help="MLflow store (default: MLFLOW_TRACKING_URI, else mlflow.db here)")
    parser.add_argument("--output", type=Path, help="folder to write to (default: reports/<experiment>)")
    parser.add_argument("--format", choices=("text", "markdown", "csv"), default="text", help="what to print")
    return parser


@no_garbage_collection()
def main() -> int:
    """Print the report and write its files; 0, or 1 after a message on stderr."""
    begin_command()
    arguments = make_parser().parse_args()

    from leafexp import stores
    from leafexp.errors import UserError
    from leafexp.paths import ROOT
    from leafexp.report.render import write_report

    try:
        text, warnings, files = write_report(
            ROOT, arguments.experiment, arguments.sweep, arguments.tracking_uri, arguments.output, arguments.format
        )
    except UserError as error:
        print(stores.scrubbed(str(error), arguments.tracking_uri or ""), file=sys.stderr)
        return 1
    wrote = f"Wrote {', '.join(map(str, files))}"
    if arguments.format == "csv":  # stdout holds the table and nothing else, so that it can be piped
        print(text, end="")
        print("\n".join([*warnings, wrote]), file=sys.stderr)
    else:
        try:
            print(f"{text}\n{wrote}", flush=True)
        except BrokenPipeError:  # the reader, such as head, had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
