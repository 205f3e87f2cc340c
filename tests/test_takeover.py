"""Two machines, one store: a run that lives is left alone, a dead one is taken up, and whoever lost a run stops."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from leafexp import names
from tests.servers import free_port, wait_for
from tests.test_sweeps import Sweep

pytestmark = pytest.mark.slow

SHORT = """
import sys, time
from leafexp.tracking import claim
look_up = claim.look_up
def look_up_early(*given):
    found = look_up(*given)
    time.sleep({pause})
    return found
claim.look_up = look_up_early
claim.SILENT_SECONDS = {silent}
claim.HEARTBEAT_SECONDS = 1
import leafexp.tracking.run
leafexp.tracking.run.HEARTBEAT_SECONDS = 1
sys.argv[0] = "leafexp.train"
from leafexp.train import main
main()
"""


class Machine(Sweep):
    """A machine with a host name and process numbers of its own, and a cache of its own; `silent` is its patience.

    It begins a run `pause` seconds after it has seen that nobody trains it.
    """

    def __init__(self, folder: Path, name: str, silent: float, pause: float = 0) -> None:
        super().__init__(folder)
        self.name = name
        self.environment["XDG_CACHE_HOME"] = str(folder / name)
        self.script = folder / f"{name}.py"
        self.script.write_text(SHORT.format(silent=silent, pause=pause))

    def start(self, *overrides: str) -> subprocess.Popen[str]:
        typed = super().command(*overrides)
        inside = f'hostname {self.name}; exec "$@"'
        command = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command += ["bash", "-c", inside, "bash", sys.executable, str(self.script), *typed[3:]]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture(autouse=True)
def namespaces() -> None:
    tried = subprocess.run(["unshare", "--uts", "--pid", "--fork", "true"], check=False, stderr=subprocess.DEVNULL)
    if tried.returncode:
        pytest.skip("a machine of its own needs root")


def until(process: subprocess.Popen[str], sign: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if sign in line:
            return
    raise AssertionError(f"{sign!r} was not printed")


def test_a_run_that_lives_on_another_machine_is_left_alone_and_a_dead_one_taken_up(tmp_path: Path) -> None:
    one, other = Machine(tmp_path, "one", 12), Machine(tmp_path, "two", 12)
    training = one.start("freeze=unfrozen", "epochs=100000")
    until(training, "epoch 5/")
    # Another command, longer than the silence: the run's heartbeat moves.
    for seed in (1, 2):
        process = other.start("freeze=unfrozen", "epochs=1", f"seed={seed}")
        assert process.communicate(timeout=100)[0].count("Ended ") == 0
    by_seed = {run.data.tags[names.SEED]: run for run in one.runs()}
    assert [by_seed[seed].info.status for seed in "012"] == ["RUNNING", "FINISHED", "FINISHED"]
    assert by_seed["0"].data.tags[names.HOST] == "one"
    training.kill()  # and the process in it
    training.communicate()
    again = other.start("freeze=unfrozen", "epochs=100000")
    until(again, "one is training this very run, or was when it was cut off; waiting until it has finished")
    until(again, "epoch 2/")
    # Its checkpoint is on the other machine, so that it begins anew.
    by_host = {run.data.tags[names.HOST]: run for run in one.runs() if run.data.tags[names.SEED] == "0"}
    assert {host: run.info.status for host, run in by_host.items()} == {"one": "KILLED", "two": "RUNNING"}
    again.kill()
    again.communicate()


def test_two_machines_that_begin_a_run_at_once_train_it_once(tmp_path: Path) -> None:
    machines = [Machine(tmp_path, name, 900, pause=10) for name in ("one", "two")]
    both = [machine.start("freeze=unfrozen", "epochs=50") for machine in machines]
    texts = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert sum("%  finished before\n" in text for text in texts) == 1
    (run,) = machines[0].runs()
    assert run.info.status == "FINISHED"


def test_a_run_that_was_taken_over_stops_and_writes_nothing_more(tmp_path: Path) -> None:
    one, other = Machine(tmp_path, "one", 900), Machine(tmp_path, "two", 3)
    training = one.start("freeze=unfrozen", "epochs=100000")
    until(training, "epoch 5/")
    # What a machine that sleeps or has lost the network looks like.
    (child,) = [int(pid) for pid in Path(f"/proc/{training.pid}/task/{training.pid}/children").read_text().split()]
    os.kill(child, signal.SIGSTOP)
    taking = other.start("freeze=unfrozen", "epochs=50", "seed=1")
    taking.communicate(timeout=100)
    time.sleep(4)
    taking = other.start("freeze=unfrozen", "epochs=50", "seed=1")
    assert "Ended 1 run whose" in taking.communicate(timeout=100)[0]
    os.kill(child, signal.SIGCONT)
    out, _ = training.communicate(timeout=60)
    assert "was taken over by" in out
    assert "This one stops here" in out
    (run,) = [run for run in one.runs() if run.data.tags[names.SEED] == "0"]
    assert (run.info.status, "ended without a word" in run.data.tags[names.ERROR]) == ("KILLED", True)


def test_a_store_that_another_program_locks_for_long_is_waited_for(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    process = sweep.start("epochs=100", "freeze=unfrozen")
    until(process, "epoch 5/")
    with closing(sqlite3.connect(tmp_path / "mlflow.db", timeout=30, isolation_level=None)) as database:
        database.execute("begin exclusive")
        time.sleep(45)  # MLflow itself waits 20, and may do so twice
        database.execute("rollback")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert "The tracking store is locked by another program" in out + err
    (run,) = sweep.runs()
    history = MlflowClient(sweep.uri).get_metric_history(run.info.run_id, names.LOSS)
    assert [point.step for point in history] == list(range(1, 101))


OLDER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Older(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        experiment = b'{"experiment": {"experiment_id": "1", "name": "leafexp", "lifecycle_stage": "active"}}'
        known = {"/version": b"2.14.3", "/api/2.0/mlflow/experiments/get-by-name": experiment}
        answer = known.get(self.path.partition("?")[0])
        self.send_response(200 if answer else 404)
        self.end_headers()
        self.wfile.write(answer or b"Not Found")
    do_POST = do_GET

HTTPServer(("127.0.0.1", int(sys.argv[1])), Older).serve_forever()
"""


def test_a_server_that_can_not_keep_models_is_said_before_training(tmp_path: Path) -> None:
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", OLDER, str(port)], stderr=subprocess.DEVNULL) as server:
        wait_for(port)
        code, out, err = Sweep(tmp_path, f"http://127.0.0.1:{port}").run("epochs=1", "freeze=unfrozen")
        server.kill()
    assert (code, out) == (2, "")
    assert err.strip() == (
        f"The tracking server http://127.0.0.1:{port} is too old (MLflow 2.14.3): it can't keep models. "
        "leafexp needs a server of MLflow 3; or choose another store with tracking.uri=URI."
    )


def test_what_the_shell_holds_for_other_programs_changes_no_run(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    client = MlflowClient(sweep.uri)
    foreign = client.create_run(client.create_experiment("elsewhere"), run_name="a colleague's")
    sweep.environment |= {
        "MLFLOW_RUN_ID": foreign.info.run_id,
        "MLFLOW_EXPERIMENT_ID": foreign.info.experiment_id,
        "MLFLOW_EXPERIMENT_NAME": "elsewhere",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
        "MLFLOW_ACTIVE_MODEL_ID": "m-0",
        "MLFLOW_RUN_CONTEXT": '{"mlflow.user": "someone"}',
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
    }
    code, out, err = sweep.run("epochs=2", "freeze=unfrozen", "hydra.job.chdir=true", "data.path=photos")
    assert code == 0, err
    (run,) = sweep.runs()
    assert (run.info.status, run.info.run_id in out) == ("FINISHED", False)
    (model,) = run.outputs.model_outputs
    assert client.get_logged_model(model.model_id).experiment_id == run.info.experiment_id
    after = client.get_run(foreign.info.run_id)
    assert (after.info.run_name, after.info.status) == ("a colleague's", "RUNNING")
    assert not after.data.params
