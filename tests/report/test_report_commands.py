"""The commands that the report names: on the same photos, with the same settings, seeds and experiment."""

import shlex
from dataclasses import replace
from pathlib import Path

from golden import study_run
from hydra.core.override_parser.overrides_parser import OverridesParser

from leafexp import names
from leafexp.report.read.runs import Run
from leafexp.report.rows.row import make_rows
from leafexp.report.say.commands import would_tell
from leafexp.report.say.words import Code, markdown, say
from leafexp.settings.compose import check

ARMS = "model=mnv2 freeze=frozen,unfrozen"


def words(runs: list[Run], arms: str = ARMS) -> list[str]:
    """What the command is called with, after the arms."""
    (said,) = [part.text for part in would_tell(make_rows(runs), arms) if isinstance(part, Code)]
    before = ["python", "-m", "leafexp.train", "-m", *arms.split()]
    every = shlex.split(said)
    assert every[: len(before)] == before
    return every[len(before) :]


def typed(*overrides: str, row: str = "Simple_CNN", **changes: object) -> Run:
    tags = {names.COMMAND: shlex.join(["python", "-m", "leafexp.train", *overrides])}
    return study_run(row, tags=tags, **changes)


def test_all_that_differs_from_the_defaults_is_in_it_whoever_set_it() -> None:
    by_an_experiment = {
        "data.name": "table",
        "data.path": "/photos of leaves/it's.csv",
        "data.classes": "['healthy', 'early blight', 'null']",
        "data.group_pattern": r"^(\w+)_\d",
        "data.split_seed": "7",
        "data.image_size": "224",
        "data.validation_share": "0.15",
        "data.audit": "warn",
        "trainer.batch_size": "16",
        "trainer.cache_prefix": "True",
        "optimizer.name": "sgd",
        "optimizer.learning_rate": "0.01",
        "optimizer.keras.momentum": "0.8",
        "tracking.uri": "postgresql://me:secret@host/db",
        "cache_gb": "3.0",
    }
    called = ("experiment=mine", "tracking.uri=http://me:secret@host")
    runs = [typed(*called, params=by_an_experiment, seed=seed) for seed in (2, 0, 1)]
    found = words([replace(run, experiment="my study") for run in runs])
    assert sorted(found) == sorted(
        [
            "data=table",
            r"data.path='/photos of leaves/it\'s.csv'",
            "data.classes=[healthy,'early blight','null']",
            r"data.group_pattern='^(\w+)_\d'",
            "data.split_seed=7",
            "data.image_size=224",
            "data.audit=warn",
            "trainer.batch_size=16",
            "optimizer=sgd",
            "optimizer.keras.momentum=0.8",
            "seed=0,1,2",
            "tracking.experiment='my study'",
        ]
    )
    read = {item.key_or_group: item.value() for item in OverridesParser.create().parse_overrides(found[:-2])}
    assert read["data.path"] == "/photos of leaves/it's.csv"
    assert read["data.classes"] == ["healthy", "early blight", "null"]
    assert read["data.group_pattern"] == r"^(\w+)_\d"


def test_what_a_search_spent_on_one_arm_is_not_said_of_another() -> None:
    spent = {"tuning.trials": "12", "tuning.epochs": "75", "tuning.seconds": "300.5"}
    found = words([typed("experiment=tuned", "row=tuned_mnv2", params={**spent, "optimizer.learning_rate": "0.003"})])
    assert found == ["data=plantvillage6", "optimizer.learning_rate=0.003"]


def test_what_a_lever_set_is_said_once() -> None:
    assert words([typed("lever=patience", params={"trainer.patience": "3"})]) == [
        "data=plantvillage6",
        "trainer.patience=3",
    ]


def test_what_was_typed_is_taken_over_as_it_was_typed() -> None:
    overrides = ["data=leafsim", "epochs=3", "+optimizer.keras.clipnorm=1.0", "data.source.images=120", "seed=4"]
    run = typed("model=cnn", "freeze=unfrozen", "model.network.filters=[4]", "hydra/launcher=joblib", *overrides,
                seed=4, params={"data.name": "leafsim", "data.image_size": "128", "epochs": "3"})  # fmt: skip
    found = words([run])
    assert set(overrides) <= set(found)
    assert not [word for word in found if word.startswith(("model", "freeze", "hydra"))]
    check([*ARMS.split(), *found])  # leafexp takes it


def test_a_model_s_own_settings_go_with_that_model_alone() -> None:
    run = typed("model=mnv2", "model.network.dropout=0.4", row="MobileNetV2_frozen", params={"model.weights": "/w.h5"})
    assert {"model.network.dropout=0.4", "model.weights=/w.h5"} <= set(words([run]))
    assert [word for word in words([run], "model=mnv2 model.weights=null freeze=frozen") if "weights" in word] == []
    assert [word for word in words([run], "model=cnn freeze=unfrozen") if word.startswith("model.")] == []
    # the pretrained row at hand is the example, not the first one
    assert "model.weights=/w.h5" in words([study_run("Simple_CNN"), run])


def test_no_command_where_the_photos_are_not_known() -> None:
    run = study_run("Simple_CNN")
    del run.params["data.name"]
    said = markdown(say(*would_tell(make_rows([run]), ARMS)))
    assert "`" not in said
    assert "not logged" in said


def test_a_command_that_was_cut_off_or_holds_backticks_breaks_nothing(tmp_path: Path) -> None:
    cut = study_run("Simple_CNN", tags={names.COMMAND: "python -m leafexp.train 'data.path=/a b"})
    assert words([cut])[0].startswith("data=")
    folder = f"{tmp_path}/a`b``c"
    assert f"data.path='{folder}'" in words([study_run("Simple_CNN", params={"data.path": folder})])
