"""What the report on many runs takes, whole and by part.

python benchmarks/report.py [--uri URI] [--server] [--rows 4] [--runs 1000] [--epochs 10] [--photos 464]

Fills a store with made-up runs of the study's four arms, each with all metrics of every epoch and its predictions, in a
temporary folder: an SQLite file there, or the empty database at URI. `--rows 100` varies two settings of each arm, so
that a row has fewer seeds. `--server` reads through an `mlflow server` over that store; predictions too.
"""

import argparse
import functools
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leafexp import names
from leafexp.report import report
from leafexp.report.read import collect
from leafexp.report.show import render
from leafexp.settings.compose import check

ROOT = Path(__file__).resolve().parents[1]
ARMS = (("cnn", "unfrozen", 0.84), ("mnv2", "frozen", 0.92), ("mnv2", "partial", 0.93), ("mnv2", "unfrozen", 0.95))
CLASSES = [f"class {number}" for number in range(6)]
PARTS = [
    *((collect, name) for name in ("open_client", "read_runs", "read_curves", "read_texts", "parse_predictions")),
    *((report, name) for name in ("make_rows", "compare", "effects", "accuracies", "caveats", "q1", "q2", "q3")),
    *((render, name) for name in ("write_pictures", "make_page", "in_full", "as_json", "on_terminal")),
]


def configurations(rows: int) -> list[tuple[dict[str, str], dict[str, str], float]]:
    """Parameters, tags and about the test accuracy of each row."""
    made = []
    for model, freeze, accuracy in ARMS:
        config = check([f"model={model}", f"freeze={freeze}", "sweep=benchmark"])
        pretrained = model != "cnn"
        tags = {
            names.ROW: names.row_name(config.model.title, freeze, pretrained),
            names.MODEL: model,
            names.FREEZE: freeze,
            names.OPTIMIZER: config.optimizer.name,
            names.DATA: config.data.name,
            names.SWEEP: "benchmark",
            names.PRETRAINED: str(pretrained).lower(),
            names.CONTROL: "false",
            names.GIT_COMMIT: "0" * 40,
            names.COMMAND: f"python -m leafexp.train -m model={model} freeze={freeze} " + "x" * 60,
            names.DATA_HASH: "d" * 64,
            names.SPLIT_HASH: "5" * 64,
            names.WEIGHTS_SOURCE: "ImageNet, Keras host" if pretrained else "none (random)",
            names.WEIGHTS_SHA256: "a" * 64 if pretrained else "none",
            names.THREADS: "2",
            names.HOST: "benchmark",
        }
        params = {name: str(value)[:6000] for name, value in names.flat(asdict(config)).items()}
        for number in range(max(1, rows // len(ARMS))):
            changed = {
                "optimizer.learning_rate": f"{1e-3 / 2 ** (number // 5):g}",
                "trainer.batch_size": str(16 + number % 5),
            }
            made.append((params | changed if rows > len(ARMS) else params, tags, accuracy - number / 500))
    return made


def predictions(accuracy: float, photos: int, random: np.random.Generator) -> pd.DataFrame:
    """A table as training logs it."""
    labels = np.arange(photos) % len(CLASSES)
    probabilities = random.dirichlet(np.ones(len(CLASSES)), photos).astype(np.float32)
    predicted = np.where(random.random(photos) < accuracy, labels, (labels + 1) % len(CLASSES))
    best = probabilities.argmax(axis=1)
    every = np.arange(photos)
    probabilities[every, best], probabilities[every, predicted] = (
        probabilities[every, predicted],
        probabilities.max(axis=1),
    )
    return pd.DataFrame(
        {
            "path": [f"{CLASSES[label]}/a photo of a leaf {index}.JPG" for index, label in enumerate(labels)],
            "label": [CLASSES[label] for label in labels],
            "group": [f"leaf {index // 4}" for index in every],
            "predicted": [CLASSES[label] for label in predicted],
            **{f"probability_{name}": probabilities[:, index] for index, name in enumerate(CLASSES)},
        }
    )


def fill(uri: str, folder: Path, location: str, options: argparse.Namespace) -> None:
    """Write the runs' rows as MLflow does, thirty times as fast; `location` stands for the artifacts' `folder`."""
    from mlflow import MlflowClient
    from mlflow.store.tracking.dbmodels import models
    from sqlalchemy import create_engine, insert

    experiment = int(MlflowClient(uri).create_experiment("leafexp", artifact_location=location))
    random = np.random.default_rng(0)
    chosen = configurations(options.rows)
    lines: dict[type, list[dict[str, Any]]] = defaultdict(list)
    for number in range(options.runs):
        run_id = f"{random.integers(2**60):032x}"
        params, tags, accuracy = chosen[number % len(chosen)]
        seed = {"seed": str(number // len(chosen))}
        table = predictions(accuracy + random.normal(0, 0.01), options.photos, random)
        (folder / run_id / "artifacts").mkdir(parents=True)
        table.to_csv(folder / run_id / "artifacts" / names.PREDICTIONS_FILE, index=False)
        run = {"name": tags[names.ROW], "status": "FINISHED", "start_time": number, "end_time": number + 1}
        run |= {
            "source_type": "LOCAL",
            "source_name": "",
            "user_id": "",
            "experiment_id": experiment,
            "lifecycle_stage": "active",
        }
        lines[models.SqlRun].append(run | {"run_uuid": run_id, "artifact_uri": f"{location}/{run_id}/artifacts"})
        for kind, values in ((models.SqlParam, params | seed), (models.SqlTag, tags | seed)):
            lines[kind] += [{"run_uuid": run_id, "key": key, "value": value} for key, value in values.items()]
        points = epochs(accuracy, options.epochs, random)
        results = once(float((table["label"] == table["predicted"]).mean()), options)
        for kind, some in (
            (models.SqlMetric, [*points, *results]),
            (models.SqlLatestMetric, [*points[-10:], *results]),
        ):
            lines[kind] += [{**point, "run_uuid": run_id, "is_nan": False} for point in some]
    engine = create_engine(uri)
    with engine.begin() as connection:
        for kind, some in lines.items():
            connection.execute(insert(kind), some)
    engine.dispose()


def epochs(accuracy: float, count: int, random: np.random.Generator) -> list[dict[str, Any]]:
    """The metrics of every epoch, the last epoch's at the end."""
    curve = accuracy - 0.4 / np.arange(1, count + 1) + random.normal(0, 0.01, count)
    return [
        {
            "key": name,
            "value": float(value) if "accuracy" in name else 2 - float(value),
            "step": epoch,
            "timestamp": 1000 * epoch,
        }
        for epoch, value in enumerate(curve, 1)
        for name in names.EPOCH_METRICS
    ]


def once(test_accuracy: float, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The metrics that a run has one value of."""
    values = {
        names.TEST_ACCURACY: test_accuracy,
        names.TEST_MACRO_F1: test_accuracy,
        names.TEST_LOSS: 0.2,
        names.TOTAL_SECONDS: 20 + 300 * (1 - test_accuracy),
        names.PARAMS_TOTAL: 2_422_726,
        names.PARAMS_TRAINABLE: 164_742,
        names.PARAMS_NON_TRAINABLE: 2_257_984,
        names.TRAIN_IMAGES: 2224,
        names.VALIDATION_IMAGES: 464,
        names.TEST_IMAGES: options.photos,
        names.OPTIMIZER_STEPS: 70 * options.epochs,
        names.PREFIX_SECONDS: 20.0,
        names.STEADY_COMPUTE_SECONDS: 2.0,
        names.PEAK_MEMORY_MB: 1000.0,
        names.BEST_EPOCH: options.epochs,
        names.BEST_VAL_ACCURACY: test_accuracy,
        names.epochs_to(80): 3,
    }
    return [{"key": name, "value": value, "step": 0, "timestamp": 0} for name, value in values.items()]


@contextmanager
def served(uri: str, artifacts: Path) -> Iterator[str]:
    """The address of an `mlflow server` with as many workers as MLflow starts by itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--port", str(port)]
    command += ["--artifacts-destination", str(artifacts)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.2)
        time.sleep(10)  # until its other workers are there
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def clocked(owner: Any, name: str, seconds: dict[str, float]) -> None:
    """Replace a function by itself, its time noted."""
    call: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(call)
    def timed(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            seconds[name] += time.perf_counter() - started

    setattr(owner, name, timed)


def measure(uri: str, output: Path) -> None:
    """Print the seconds of the command, three times, and of its parts, once."""
    command = [sys.executable, str(ROOT / "scripts" / "report.py"), "--tracking-uri", uri, "--output", str(output)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"python scripts/report.py: {wall:.2f} s, {processor:.2f} s of processor time", flush=True)
    print(f"at most {after.ru_maxrss / 1000:.0f} MB of memory")
    seconds: dict[str, float] = defaultdict(float)
    for owner, name in PARTS:
        clocked(owner, name, seconds)
    started = time.perf_counter()
    render.write_report(ROOT, tracking_uri=uri, output=output)
    print(f"by part, without imports: {time.perf_counter() - started:.2f} s")
    for name, taken in seconds.items():
        print(f"  {name} {taken:.2f}")


def main() -> None:
    """Fill a store and report on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uri", help="an empty database, such as postgresql+psycopg://user@host/name")
    parser.add_argument("--server", action="store_true", help="read through an mlflow server")
    parser.add_argument("--rows", type=int, choices=(4, 100), default=4)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--photos", type=int, default=464)
    options = parser.parse_args()
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "artifacts"
        uri = options.uri or f"sqlite:///{scratch}/mlflow.db"
        started = time.perf_counter()
        fill(
            uri,
            folder / "leafexp",
            "mlflow-artifacts:/leafexp" if options.server else (folder / "leafexp").as_uri(),
            options,
        )
        print(f"filled in {time.perf_counter() - started:.0f} s", flush=True)
        if options.server:
            with served(uri, folder) as address:
                measure(address, Path(scratch) / "report")
        else:
            measure(uri, Path(scratch) / "report")


if __name__ == "__main__":
    main()
