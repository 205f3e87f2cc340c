"""The end of a trial of a search: it is not tested, and says so by its status."""

import functools

from mlflow.tracking import MlflowClient

from leafexp import names
from leafexp.tracking.claim import MAX_TAG_CHARACTERS
from leafexp.tracking.store import Store


def end(store: Store, trial: str, accuracy: float, lost: str) -> list[str]:
    """End the paused runs of a trial: FINISHED where it was trained to the end, KILLED with the reason where it `lost`.

    Returns:
        The ids of all its runs, those that were ended before included.
    """
    client = MlflowClient(store.uri)
    its = f"tags.{names.TRIAL} = '{trial}'"
    runs = store.patiently(lambda: client.search_runs([store.experiment_id], its))
    for run in runs:
        if run.info.status == names.PAUSED:
            store.patiently(functools.partial(_end, client, run.info.run_id, accuracy, lost))
    return [run.info.run_id for run in runs]


def _end(client: MlflowClient, run_id: str, accuracy: float, lost: str) -> None:
    client.log_metric(run_id, names.in_section(names.BEST_VAL_ACCURACY), accuracy)
    if lost:
        client.set_tag(run_id, names.ERROR, lost[:MAX_TAG_CHARACTERS])
    client.set_terminated(run_id, "KILLED" if lost else "FINISHED")
