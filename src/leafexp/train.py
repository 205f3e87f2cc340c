"""One training run, from its configuration to its tracked results; `main` runs one or a sweep of them."""

import contextlib
import os
import shlex
import sys
import time
import traceback
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from leafexp import names
from leafexp.errors import UserError
from leafexp.help import help_text
from leafexp.paths import CONF_DIR, ROOT

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from leafexp.config import Config

# Hydra's flags that show something instead of training.
_SHOWING = ("--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc")


def train(config: "Config", command: str) -> str:
    """Train, test and track one run.

    Args:
        config: the checked configuration.
        command: what to type to make this run again; tracked with it.

    Returns:
        The id of the MLflow run.

    Raises:
        UserError: in the configuration or the photos; the run is tracked as FAILED with the reason.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Operators side by side share oneDNN's threads by chance, and with them the order of sums: two runs of MobileNetV2
    # then differ from the sixth digit on (TensorFlow 2.21). One after the other they are bit-identical, and no slower.
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    # TensorFlow leaves oneDNN off on processors without AVX-512. On, MobileNetV2 learns 1.5 times faster there, and an
    # image's features do not depend on the size of its batch, which the cached prefix relies on.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _silent_libraries():
        import tensorflow as tf

    import keras
    import pandas as pd

    from leafexp import config as configuration
    from leafexp.data import dataset as datasets
    from leafexp.data.catalog import of_classes
    from leafexp.models.pretrained import Source
    from leafexp.tracking import pictures, run
    from leafexp.tracking.store import open_store
    from leafexp.training import evaluation, freeze, phases
    from leafexp.training.fit import Speed, fit
    from leafexp.training.optimizer import learning_rate_schedule

    data, optimizer, trainer = config.data, config.optimizer, config.trainer
    batch_size, cache_bytes = trainer.batch_size, int(config.cache_gb * 10**9)
    pretrained = config.model.weights is not None
    row = names.row_name(config.model.title, config.freeze.name, pretrained)
    tags = {
        names.MODEL: config.model.name,
        names.FREEZE: config.freeze.name,
        names.OPTIMIZER: optimizer.name,
        names.DATA: data.name,
        names.SEED: str(config.seed),
        names.SWEEP: str(config.sweep),
        names.PRETRAINED: str(pretrained).lower(),
        names.GIT_COMMIT: run.git_commit(),
        names.COMMAND: command,
    }
    store = open_store(config.tracking.uri, config.tracking.experiment, ROOT)
    with run.tracked(store, row, tags, asdict(config)) as run_id:
        catalog = configuration.build(data.source, path=data.path, group_pattern=data.group_pattern)
        if data.classes is not None:
            catalog = of_classes(catalog, data.classes)
        dataset = datasets.prepare(
            catalog,
            data.image_size,
            data.on_bad_image,
            data.validation_share,
            data.test_share,
            data.split_seed,
            cache_bytes,
        )
        run.log_data(
            dataset.table,
            dataset.skipped,
            Path(data.path).stem if data.path else data.name,
            data.path or data.name,
            dataset.data_hash,
            dataset.split_hash,
        )

        # One process, many models: its warnings of repeated tracing are about that.
        tf.get_logger().setLevel("ERROR")
        # Frees the graph of the run before this one in the same process.
        keras.backend.clear_session()
        keras.utils.set_random_seed(config.seed)
        keras.config.set_dtype_policy(trainer.precision)
        model: keras.Model
        source: Source | None
        model, source = configuration.build(
            config.model.network,
            image_size=data.image_size,
            num_classes=len(dataset.classes),
            weights=config.model.weights,
        )
        plan = phases.plan(config.freeze.phases, config.epochs, pretrained)
        run.log_tags(
            {
                names.WEIGHTS_SOURCE: source.description if source else "none (random)",
                names.WEIGHTS_SHA256: source.sha256 if source else "none",
                names.CONTROL: str(not pretrained and plan[-1].phase.learns != phases.ALL).lower(),
            }
        )

        steps = datasets.steps_per_epoch(dataset, batch_size)

        def make_optimizer(factor: float, epochs: int) -> keras.Optimizer:
            rate = learning_rate_schedule(
                optimizer.learning_rate * factor,
                optimizer.schedule,
                epochs,
                steps,
                optimizer.warmup_epochs,
                optimizer.step_epochs,
                optimizer.step_factor,
            )
            made: keras.Optimizer = configuration.build(optimizer.keras, learning_rate=rate)
            return made

        fitted = fit(
            model,
            plan,
            dataset,
            make_optimizer,
            batch_size,
            config.seed,
            run.log_epoch,
            Speed(trainer.cache_prefix, cache_bytes, trainer.fused_batch_norm, trainer.pointwise_matmul),
        )

        predictions = evaluation.predict(fitted.learner, fitted.seen, batch_size)
        last_phase = fitted.phases.iloc[-1]
        trainable, non_trainable = last_phase[names.PARAMS_TRAINABLE], last_phase[names.PARAMS_NON_TRAINABLE]
        reused = fitted.phases[names.PREFIX_REUSED_SECONDS].gt(0).any()
        run.log_tags({names.PREFIX_REUSED: str(reused).lower()})
        run.log_results(
            {
                names.PARAMS_TOTAL: trainable + non_trainable,
                names.PARAMS_TRAINABLE: trainable,
                names.PARAMS_NON_TRAINABLE: non_trainable,
                names.TOTAL_SECONDS: fitted.total_seconds,
                names.PREFIX_SECONDS: fitted.phases[names.PREFIX_SECONDS].sum(),
                names.PREFIX_REUSED_SECONDS: fitted.phases[names.PREFIX_REUSED_SECONDS].sum(),
                names.PREFIX_FORWARD_SECONDS: last_phase[names.PREFIX_FORWARD_SECONDS],
                names.STEADY_COMPUTE_SECONDS: fitted.steady_compute_seconds,
                names.PEAK_MEMORY_MB: run.peak_memory_mb(),
                names.OPTIMIZER_STEPS: steps * config.epochs,
                names.BEST_EPOCH: fitted.best_epoch,
                names.BEST_VAL_ACCURACY: fitted.history[names.VAL_ACCURACY].max(),
                **evaluation.score(predictions, dataset.classes),
                **evaluation.milestones(fitted.history),
                **{
                    names.in_phase(metric, phase["phase"]): phase[metric]
                    for phase in fitted.phases.to_dict("records")
                    for metric in (names.PARAMS_TRAINABLE, names.PARAMS_NON_TRAINABLE)
                },
            }
        )
        run.log_tables(
            {
                names.LAYERS_FILE: pd.DataFrame(freeze.layer_table(model)),
                names.PHASES_FILE: fitted.phases,
                names.HISTORY_FILE: fitted.history,
                names.PREDICTIONS_FILE: predictions,
            }
        )
        run.log_picture(pictures.confusion_matrix(predictions, dataset.classes, row), names.CONFUSION_FILE)
        run.log_picture(pictures.curves(fitted.history, fitted.best_epoch, row), names.CURVES_FILE)
        example = dataset.pixels[dataset.rows("test")[:1]]
        probabilities = evaluation.probabilities(predictions, dataset.classes)[:1]
        run.log_model(model, example, probabilities, dataset.classes)
    return run_id


@contextlib.contextmanager
def _silent_libraries() -> Iterator[None]:
    """Discard what compiled code writes to stderr: TensorFlow's remarks on GPUs and oneDNN, as no setting does."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def main() -> None:
    """The command line: one run, or with -m every combination of the values given."""
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(help_text(CONF_DIR))
    elif any(argument.split("=")[0] in _SHOWING for argument in arguments):
        _hydra()
    else:
        sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    """Check the arguments, run them and sum up; returns the exit code."""
    from hydra.errors import HydraException

    from leafexp import config as configuration

    overrides = [argument for argument in arguments if not argument.startswith("-") and "=" in argument]
    try:
        config = configuration.check(overrides, _option(arguments, "--config-dir", "-cd"))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    sweep = config.sweep or f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{uuid.uuid4().hex[:4]}"
    sys.argv.append(f"sweep={sweep}")
    # Hydra then hands exceptions on instead of printing the first of them and leaving.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    code = 0
    try:
        _hydra()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        code = 130
    except HydraException as error:
        print(" ".join(str(error).splitlines()[:2]), file=sys.stderr)
        return 2
    except Exception:
        # Each job has reported its own failure when it happened.
        code = 1
    _sum_up(config, sweep)
    return code


def _sum_up(config: "Config", sweep: str) -> None:
    """Print the sweep's table, what is missing from it and where to look further."""
    if "leafexp.tracking.store" not in sys.modules:
        # No job got as far as opening the store.
        return
    from leafexp.report.collect import collect
    from leafexp.report.render import unfinished_runs
    from leafexp.report.rows import make_rows
    from leafexp.report.store import default_tracking_uri
    from leafexp.report.table import make_table, print_table
    from leafexp.tracking.store import open_store

    experiment = config.tracking.experiment
    try:
        runs = collect(config.tracking.uri or default_tracking_uri(ROOT), experiment, sweep)
        store = open_store(config.tracking.uri, experiment, ROOT)
    except UserError as error:
        print(error, file=sys.stderr)
        return
    print(f"\nSweep {sweep} of experiment {experiment}:\n\n{print_table(make_table(make_rows(runs.finished)))}")
    print("\n".join(["", *unfinished_runs(runs.unfinished)]))
    if command := store.ui_command():
        print(f"Charts: {command}, then {store.charts_link(sweep)}")
    else:
        print(f"Charts: {store.charts_link(sweep)}")
    print(f"Report: python -m leafexp.report --experiment {shlex.quote(experiment)} --sweep {shlex.quote(sweep)}")


def _hydra() -> None:
    import hydra

    from leafexp import config as configuration  # noqa: F401  registers the schema

    hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")(_job)()


def _option(arguments: list[str], *flags: str) -> str | None:
    """The value of a command-line option given as `--flag value` or `--flag=value`."""
    for position, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in flags:
            return value if equals else next(iter(arguments[position + 1 :]), None)
    return None


def _job(composed: "DictConfig") -> None:
    from hydra.core.hydra_config import HydraConfig

    from leafexp import config as configuration

    overrides = [item for item in HydraConfig.get().overrides.task if not item.startswith("sweep=")]
    print(f"\n── {' '.join(overrides) or 'defaults'}", flush=True)
    try:
        train(configuration.load(composed), shlex.join(["python", "-m", "leafexp.train", *overrides]))
    except UserError as error:
        print(f"This run failed: {error}", file=sys.stderr)
        raise
    except Exception:
        traceback.print_exc()
        raise


if __name__ == "__main__":
    main()
