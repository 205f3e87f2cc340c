"""The epoch metrics of many runs at once, not with a call of the store for each run and metric."""

import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pandas as pd

from leafexp.names import EPOCH_METRICS, in_section, without_section

THREADS = 10  # as many connections as MLflow keeps open to a server
RUNS_A_CALL = 100  # the most that an MLflow server takes
POINTS_A_CALL = 25_000  # the most that it gives, without a word on the rest
STORED = tuple(dict.fromkeys(name for metric in EPOCH_METRICS for name in (metric, in_section(metric))))

Point = tuple[str, str, int, float]  # run, metric, epoch, value
Job = TypeVar("Job")
Result = TypeVar("Result")


def read_curves(client: Any, runs: Mapping[str, Iterable[str]]) -> dict[str, pd.DataFrame]:
    """The epoch metrics of runs, as MLflow's `get_metric_history` gives them; of a step logged twice the latest value.

    Args:
        client: an MlflowClient.
        runs: for each run's id, the metrics it has, by their names in the store.

    Returns:
        For each run's id a table with index epoch (from 1) and a column per epoch metric that the run has.
    """
    # MlflowClient has no call for many runs; its store has what MLflow's own server and pages are built on.
    store = client._tracking_client.store
    if hasattr(store, "ManagedSessionMaker"):
        found = [_from_database(store, run_ids) for run_ids in _some(list(runs))]
    else:
        having = {name: [run_id for run_id, metrics in runs.items() if name in metrics] for name in STORED}
        jobs = [(metric, some) for metric, run_ids in having.items() for some in _some(run_ids)]
        found = in_threads(lambda job: _from_server(client, *job), jobs)
    return _tables([point for points in found for point in points], runs)


def _some(run_ids: list[str]) -> list[list[str]]:
    return [run_ids[start : start + RUNS_A_CALL] for start in range(0, len(run_ids), RUNS_A_CALL)]


def in_threads(call: Callable[[Job], Result], jobs: Iterable[Job]) -> list[Result]:
    """What `call` returns for each job, in their order; the first error ends it."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(call, jobs))


def _from_database(store: Any, run_ids: list[str]) -> list[Point]:
    """As the store's own `get_metric_history_bulk` reads, for all metrics and without an object for each value."""
    from mlflow.store.tracking.dbmodels.models import SqlMetric

    columns = (SqlMetric.run_uuid, SqlMetric.key, SqlMetric.step, SqlMetric.value, SqlMetric.is_nan)
    with store.ManagedSessionMaker() as session:
        found = (
            session.query(*columns)
            .filter(SqlMetric.run_uuid.in_(run_ids), SqlMetric.key.in_(STORED))
            .order_by(SqlMetric.timestamp, SqlMetric.step, SqlMetric.value)
            .all()
        )
    return [(run_id, metric, step, math.nan if is_nan else value) for run_id, metric, step, value, is_nan in found]


def _from_server(client: Any, metric: str, run_ids: list[str]) -> list[Point]:
    from mlflow.utils.rest_utils import http_request

    store = client._tracking_client.store
    if hasattr(store, "get_host_creds"):
        wanted = {"run_id": run_ids, "metric_key": metric, "max_results": POINTS_A_CALL}
        path = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
        answer = http_request(store.get_host_creds(), path, "GET", params=wanted)
        if answer.status_code == 200 and answer.headers.get("Content-Type", "").startswith("application/json"):
            points = answer.json()["metrics"]
            if len(points) < POINTS_A_CALL:
                return [(point["run_id"], metric, point["step"], float(point["value"])) for point in points]
    return [point for run_id in run_ids for point in _one_by_one(client, metric, run_id)]


def _one_by_one(client: Any, metric: str, run_id: str) -> list[Point]:
    found = sorted(client.get_metric_history(run_id, metric), key=lambda point: point.timestamp)
    return [(run_id, metric, point.step, point.value) for point in found]


def _tables(points: list[Point], runs: Mapping[str, Iterable[str]]) -> dict[str, pd.DataFrame]:
    """A table per run from all points; those of a run and metric come in the order of their timestamps."""
    long = pd.DataFrame(points, columns=["run", "metric", "epoch", "value"])
    long["metric"] = long["metric"].map({name: without_section(name) for name in STORED})
    long = long.drop_duplicates(["run", "metric", "epoch"], keep="last").set_index(["run", "epoch"])
    by_metric = {str(metric): column.astype(float) for metric, column in long.groupby("metric")["value"]}
    wide = pd.DataFrame(by_metric, index=None if by_metric else long.index).sort_index()
    wide = wide[[name for name in EPOCH_METRICS if name in wide]]
    tables = {str(run_id): part.droplevel("run") for run_id, part in wide.groupby(level="run")}
    empty = pd.DataFrame(index=pd.Index([], dtype="int64", name="epoch"))
    having = {
        run_id: [name for name in EPOCH_METRICS if name in metrics or in_section(name) in metrics]
        for run_id, metrics in runs.items()
    }
    found = {run_id: tables.get(run_id, empty) for run_id in having}
    return {
        run_id: table if [*table] == having[run_id] else table.reindex(columns=having[run_id])
        for run_id, table in found.items()
    }
