"""The command line of training: one run, or with -m every combination of the values given."""

import contextlib
import io
import os
import shlex
import sys
import time
import traceback
import uuid
from typing import TYPE_CHECKING

from leafexp import stores
from leafexp.audit.findings import counted
from leafexp.environment import begin_command, check_environment, print_everything, processors
from leafexp.errors import UserError
from leafexp.interrupt import Interrupted, ending, interruptible
from leafexp.overrides import without_address, written
from leafexp.paths import CONF_DIR, ROOT
from leafexp.runs import outcomes
from leafexp.runs.outcomes import Outcome
from leafexp.settings.help import help_text

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from leafexp.tracking.store import Store

# Hydra's flags that show something instead of training.
_SHOWING = ("--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")
_DRIVER = "LEAFEXP_DRIVER"  # number of the process that began the sweep; its workers inherit it


def main() -> None:
    """Train what the command line says."""
    begin_command()
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(help_text(CONF_DIR))
    elif any(argument.split("=")[0] in _SHOWING for argument in arguments):
        _show(arguments)
    else:
        with interruptible():
            try:
                code = _run(arguments)
            except KeyboardInterrupt as interruption:
                # Before or after the runs, where there is nothing to end.
                ending()
                print("Interrupted.", file=sys.stderr)
                code = _exit_code(interruption)
        sys.stdout.flush()
        sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Check the arguments, run them and sum up; returns the exit code."""
    from hydra.errors import HydraException

    from leafexp.settings import compose as configuration

    try:
        arguments, given = without_address(arguments)
        overrides = _overrides(arguments)
        config, every_fold = configuration.planned(overrides, _config_dir(arguments))
        uri = given or config.tracking.uri or stores.default_uri()
        if uri:
            # Runs take it from here, so that no file of Hydra's, no title and no parameter holds what may be secret.
            os.environ["MLFLOW_TRACKING_URI"] = uri = stores.usable(uri)
            overrides.append("tracking.uri=null")
        check_environment()
    except UserError as error:
        print(stores.scrubbed(str(error)), file=sys.stderr)
        return 2
    from leafexp.runs.progress import in_place
    from leafexp.tracking.claim import end_silent_runs
    from leafexp.tracking.store import open_store

    try:
        store = open_store(uri, config.tracking.experiment, ROOT)
        if silent := end_silent_runs(store):
            print(
                f"Ended {counted(silent, 'run')} whose process was gone. Each goes on when its command is given again."
            )
    except UserError as error:
        print(stores.scrubbed(str(error)), file=sys.stderr)
        return 2
    sweep = config.sweep or f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{uuid.uuid4().hex[:4]}"
    flags = [word for word in arguments if word not in overrides]
    if every_fold:
        # Last, so that the folds of a replicate are trained one after the other.
        overrides.append(every_fold)
        flags += [] if {"-m", "--multirun"} & {*flags} else ["-m"]
    # Hydra's parser takes no flags between overrides.
    sys.argv[1:] = [*flags, *overrides, f"sweep={sweep}"]
    outcomes.begin(sweep)
    os.environ[_DRIVER] = str(os.getpid())
    # joblib's workers end at once on a signal; that they leave its semaphores behind is of no interest.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker")
    # Hydra then hands exceptions on instead of printing the first of them and leaving.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    code = 0
    try:
        with in_place():
            _hydra()
    except KeyboardInterrupt as interruption:
        ending()
        code = _exit_code(interruption)
    except HydraException as error:
        print(stores.scrubbed(" ".join(str(error).splitlines()[:2])), file=sys.stderr)
        return 2
    except Exception as error:
        code = 1
        print(stores.scrubbed(f"The sweep broke off: {type(error).__name__}: {error}"), file=sys.stderr)
    if not code and any(outcome.status == outcomes.FAILED for outcome in outcomes.read(sweep)):
        code = 1
    _sum_up(store, sweep)
    if code > 1:
        print(f"Interrupted. What is finished is kept; {_again(arguments, given)}", file=sys.stderr)
    return code


def _again(arguments: list[str], uri: str | None) -> str:
    """The command that goes on, to be copied; an address that may be secret is not in it."""
    words, first = ["python", "-m", "leafexp.train", *arguments], ""
    if uri and stores.shown(uri) == uri:
        words.append(f"tracking.uri='{uri}'")
    elif uri:
        first = ", once MLFLOW_TRACKING_URI is set to the store's address"
    return f"the same command goes on from here{first}:\n  {shlex.join(words)}"


def _show(arguments: list[str]) -> None:
    """Let Hydra show what it is asked for, and no address that may be secret."""
    from leafexp.settings import compose as configuration

    try:
        arguments, uri = without_address(arguments)
    except UserError as error:
        sys.exit(stores.scrubbed(str(error)))
    overrides = _overrides(arguments)
    uri = uri or configuration.tracking_uri(overrides, _config_dir(arguments))
    # Hydra's parser takes no flags between overrides.
    sys.argv[1:] = [*(word for word in arguments if word not in overrides), *overrides]
    if uri:
        sys.argv.append(f"tracking.uri={written(stores.shown(uri))}")
    shown, complaints = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(complaints):
            _hydra()
    finally:
        print(stores.scrubbed(shown.getvalue(), uri or ""), end="")
        print(stores.scrubbed(complaints.getvalue(), uri or ""), end="", file=sys.stderr)


def _sum_up(store: "Store", sweep: str) -> None:
    """Print the sweep's table, what is missing from it and where to look further."""
    from leafexp.report.read.collect import collect, why_not
    from leafexp.report.show.terminal import sweep_table

    cells = outcomes.read(sweep)
    print(f"\nSweep {sweep} of experiment {store.experiment}: {outcomes.count(cells) or 'no run was begun'}.")
    if any(cell.status == outcomes.SKIPPED for cell in cells):
        print("rerun=true trains again what was finished before.")
    if table := outcomes.failures(cells):
        print(f"\n{table}")
    if not any(cell.status in (outcomes.TRAINED, outcomes.SKIPPED) for cell in cells):
        return
    try:
        runs = collect(store.uri, store.experiment, sweep)
    except UserError as error:
        print(stores.scrubbed(str(error)), file=sys.stderr)
        return
    print(f"\n{sweep_table(runs.finished)}\n")
    for run in runs.unfinished:
        if run.status != "FAILED":  # those have been named
            seed, status = run.params.get("seed", "?"), run.status.lower()
            fold = f", fold {run.fold}" if run.fold else ""
            print(f"Not in the table: {run.row}, seed {seed}{fold}, {status} ({why_not(run)}).")
    for replicate in runs.incomplete:
        print(f"Not in the table: {replicate}.")
    if command := store.ui_command():
        print(f"Charts: {command}, then {store.charts_link(sweep)}")
    else:
        print(f"Charts: {store.charts_link(sweep)}")
    print(f"Report: python -m leafexp.report --experiment {shlex.quote(store.experiment)} --sweep {shlex.quote(sweep)}")


def _hydra() -> None:
    import hydra

    from leafexp.settings import compose as configuration  # noqa: F401  registers the schema

    hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")(_job)()


def _overrides(arguments: list[str]) -> list[str]:
    return [word for word in arguments if word.startswith("~") or ("=" in word and not word.startswith("-"))]


def _config_dir(arguments: list[str]) -> str | None:
    """The folder of own YAML files, given as `--config-dir DIR` or `--config-dir=DIR`."""
    for position, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in ("--config-dir", "-cd"):
            return value if equals else next(iter(arguments[position + 1 :]), None)
    return None


def _exit_code(interruption: KeyboardInterrupt) -> int:
    return 128 + interruption.number if isinstance(interruption, Interrupted) else 130


def _job(composed: "DictConfig") -> None:
    """Train one cell and note its outcome."""
    from hydra.utils import get_original_cwd

    # Paths begin where the command was typed, with hydra.job.chdir=true too.
    os.chdir(get_original_cwd())
    if os.environ.get(_DRIVER) == str(os.getpid()):
        _train(composed)
        return
    # A worker of a launcher, such as joblib's.
    print_everything()
    _share_processors()
    with interruptible(worker=True):
        try:
            _train(composed)
        except KeyboardInterrupt as interruption:
            # Not handed on: the worker would take the next cell.
            sys.stdout.flush()
            os._exit(_exit_code(interruption))


def _share_processors() -> None:
    """Give this worker its share of the processors: to be done before TensorFlow is imported."""
    from hydra.core.hydra_config import HydraConfig

    workers = int(HydraConfig.get().launcher.get("n_jobs", 1))
    available = processors()
    if workers < 0:
        workers = available + 1 + workers
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, available // max(1, workers))))


def _train(composed: "DictConfig") -> None:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from leafexp.runs import progress
    from leafexp.runs.cell import train
    from leafexp.settings import compose as configuration

    hydra_config = HydraConfig.get()
    number = 0 if OmegaConf.is_missing(hydra_config.job, "num") else int(hydra_config.job.num)
    overrides = progress.own_words(hydra_config.overrides.task)
    words = " ".join(overrides) or "defaults"
    sweep = str(composed.sweep)
    in_parallel = os.environ.get(_DRIVER) != str(os.getpid())
    cell = progress.Cell(number, overrides, composed, outcomes.planned(sweep), in_parallel)
    cell.begin()
    try:
        command = shlex.join(["python", "-m", "leafexp.train", *overrides])
        result = train(configuration.load(composed), command, cell.epoch)
    except KeyboardInterrupt:
        ending()
        outcomes.note(sweep, number, Outcome(words, outcomes.INTERRUPTED))
        raise
    except Exception as error:
        reason = stores.scrubbed(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}")
        cell.failed(reason)
        outcomes.note(sweep, number, Outcome(words, outcomes.FAILED, reason), stores.scrubbed(traceback.format_exc()))
        return  # not handed on: Hydra would stop after this batch of cells, and print all overrides
    (cell.skipped if result.skipped else cell.done)(result.test_accuracy)
    outcomes.note(sweep, number, Outcome(words, outcomes.SKIPPED if result.skipped else outcomes.TRAINED))


if __name__ == "__main__":
    main()
