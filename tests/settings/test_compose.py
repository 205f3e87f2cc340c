"""What people type wrong, and what they are told."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from leafexp.errors import UserError
from leafexp.paths import CONF_DIR
from leafexp.settings.compose import check, planned, recompose
from leafexp.settings.help import help_text

MISTAKES = {
    ("modl=cnn",): "no group or key 'modl'. Did you mean model?",
    ("+lrr=0.1",): "no key 'lrr'. Did you mean optimizer.learning_rate?",
    ("model=cn",): "no model=cn. Did you mean cnn?",
    ("model=cnn,mnv",): "no model=mnv. Did you mean mnv2?",
    ("freeze=frozn",): "no freeze=frozn. Did you mean frozen?",
    ("experiment=report12",): "no experiment=report12. Did you mean report128?",
    ("epochs=ten",): "epochs=ten: Value 'ten'",
    ("epochs=1,two",): "epochs=two: Value 'two'",
    ("epochs=0",): "epochs must be at least 1; got 0.",
    ("optimizer.learning_rat=1",): "no group or key 'optimizer.learning_rat'. Did you mean optimizer.learning_rate?",
    ("optimizer.learning_rate=-1",): "optimizer.learning_rate must be over 0; got -1.0.",
    ("optimizer.schedule=cosin",): "no optimizer.schedule=cosin. Did you mean cosine?",
    ("freeze.phases.head.batch_norm=trian",): "Did you mean train?",
    ("freeze.phases.head.batch_norm_momentum=1.5",): "must be in [0, 1), auto or null; got 1.5",
    ("data.folds=2",): "data.folds must be at least 3, or null; got 2.",
    ("data.fold=0",): "data.fold must be null where data.folds is not set; got 0.",
    ("data.folds=5", "data.fold=5"): "data.fold must be from 0 to 4; got 5.",
    ("data.folds=3,5",): "data.folds takes one number: a command trains all of its folds.",
    ("data.folds=null,5",): "data.folds takes one number: a command trains all of its folds.",
    ("data=folder",): "data.path must be set with data=folder",
    ("data=folder", "data.path=/nowhere"): "data.path=/nowhere does not exist",
    ("data.group_pattern='['",): "not a regular expression",
    ("data.on_bad_image=skp",): "Did you mean skip?",
    ("data.test_share=0.6", "data.validation_share=0.5"): "must be under 1; got 1.1.",
    ("model.weights=/nowhere.h5",): "model.weights=/nowhere.h5 is not a file",
    ("sweep=..",): "sweep must be a name for a folder and a tag",
    ("sweep=a/b",): "sweep must be a name for a folder and a tag",
    ("sweep=all",): "sweep must be a name for a folder and a tag",
    ("sweep=" + "x" * 300,): "sweep must be a name for a folder and a tag",
    ("model=[cnn",): "Can't read the command line",
    ("++freeze.phases.head.lerns=all",): "Did you mean freeze.phases.head.learns?",
    ("optimizer.learning_rate=inf",): "optimizer.learning_rate must be a finite number; got inf.",
    ("optimizer.learning_rate=nan",): "optimizer.learning_rate must be a finite number; got nan.",
    ("model=cnn", "model.network.filters=[8,inf]"): "model.network.filters must be a finite number; got [8, inf].",
    ("seed=5000000000",): "seed must be in [0, 2147483647]; got 5000000000.",
    ("trainer.class_weights=balancd",): "no trainer.class_weights=balancd. Did you mean balanced?",
    ("trainer.label_smoothing=1",): "trainer.label_smoothing must be in [0, 1); got 1.0.",
    ("trainer.patience=0",): "trainer.patience must be at least 1 epoch, or null; got 0.",
    ("optimizer.clipnorm=0",): "optimizer.clipnorm must be over 0, or null; got 0.0.",
    ("data.split_seed=-1",): "data.split_seed must be in [0, 4294967295], or null; got -1.",
    (
        "optimizer.clipnorm=1",
        "+optimizer.keras.clipnorm=1",
    ): "must be null where optimizer.keras.clipnorm is set",
    ("optimizer.step_factor=-1",): "optimizer.step_factor must be over 0; got -1.0.",
    ("data.image_size=100000",): "from 32 to 4096 pixels; got 100000.",
    ("data.white=0.5",): "data.white=0.5: Value '0.5' of type 'float' could not be converted to Integer",
    ("data.white=0",): "data.white must be a whole number of at least 1, or null; got 0.",
    ("+optimizer.keras.use_ema=true",): "optimizer.keras.use_ema must be false, as a run that was cut off could not",
    ("hydra.sweeper.params={seed:1}",): "hydra.sweeper.params belongs into YAML files.",
    ("+hydra.sweeper.params.seed=1",): "hydra.sweeper.params belongs into YAML files.",
    ("model=null",): "model=null can't be composed",
    ("~model",): "model.name",
    ("experiment=why_partial_failed,report128",): "can't be one of several values: experiment=why_partial_failed, ",
    ("seed=0,1", "experiment=smoke,report128"): "can't be one of several values: experiment=smoke, ",
}


@pytest.mark.parametrize("overrides", MISTAKES, ids=" ".join)
def test_a_mistake_is_named_with_what_was_meant(overrides: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as raised:
        check(overrides)
    message = str(raised.value)
    assert MISTAKES[overrides] in message
    assert len(message.splitlines()) <= 2


def test_every_option_of_every_group_and_the_grid_are_valid(tmp_path: Path) -> None:
    (tmp_path / "photos.csv").touch()
    for group in (folder for folder in CONF_DIR.iterdir() if folder.is_dir()):
        for option in group.glob("*.yaml"):
            check([f"{group.name}={option.stem}", f"++data.path={tmp_path / 'photos.csv'}"])
    check(["model=cnn,mnv2", "freeze=frozen,unfrozen,partial", "seed=range(0,3)"])


def test_report128_has_the_budget_of_the_study() -> None:
    budget = {
        row: check(["experiment=report128", f"row={row}"])
        for row in ("simple_cnn", "mnv2_frozen", "mnv2_unfrozen", "mnv2_partial")
    }
    assert [config.epochs for config in budget.values()] == [10, 10, 10, 5]
    assert {config.data.image_size for config in budget.values()} == {128}
    for row in ("mnv2_unfrozen", "mnv2_partial"):
        phases = budget[row].freeze.phases
        assert phases["head"].epoch_share == 0
        assert phases["tune"].batch_norm_momentum is None


def test_your_own_yaml_files_are_found_and_checked(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "slow.yaml").write_text(
        "name: slow\nlearning_rate: 1e-5\nkeras: {_target_: keras.optimizers.SGD}"
    )
    assert check(["optimizer=slow"], str(tmp_path)).optimizer.learning_rate == 1e-5


def test_help_names_every_group_and_option_and_documents_the_keys() -> None:
    text = help_text(CONF_DIR)
    for option in CONF_DIR.glob("*/*.yaml"):
        assert f"  {option.parent.name}=" in text
        assert f"    {option.stem} " in text
    for key in (
        "epochs:",
        "seed:",
        "image_size:",
        "on_bad_image:",
        "weights:",
        "learning_rate:",
        "batch_size:",
        "uri:",
    ):
        assert key in text


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "leafexp.train", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--help"], 0), (["--cfg", "job"], 0), (["modl=cnn"], 2), (["-m", "model=cnn,mnv", "freeze=frozen"], 2)],
)
def test_help_and_mistakes_import_nothing_heavy(arguments: list[str], code: int, tmp_path: Path) -> None:
    done = command(*arguments, cwd=tmp_path)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "leafexp" in imported
    assert not imported & {"tensorflow", "keras", "mlflow", "pandas", "sklearn", "matplotlib"}
    assert ("hydra" in imported) == (arguments != ["--help"])
    assert done.returncode == code
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert len(said) == (1 if code else 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [[], ["model=cnn", "freeze=partial", "optimizer=sgd", "epochs=3"], ["row=simple_cnn"]]
)
def test_a_tracked_configuration_gives_itself_and_lacking_keys_are_as_today(words: list[str]) -> None:
    config = check([*words, "data.classes=[a,b]", "+optimizer.keras.beta_1=0.8", "model.name=own", "data.name=mine"])
    tracked = asdict(config)
    del tracked["tracking"]
    assert recompose(tracked) == config
    del tracked["trainer"]["precision"], tracked["data"]["groups"], tracked["optimizer"]["warmup_epochs"]
    assert recompose(tracked) == config
    # A network's value that is not there was not set.
    del tracked["optimizer"]["keras"]["beta_1"]
    assert "beta_1" not in recompose(tracked).optimizer.keras
    with pytest.raises(UserError, match="no key 'trainer.batches'"):
        recompose({**tracked, "trainer": {"batches": 3}})
    with pytest.raises(UserError, match="epochs must be at least 1"):
        recompose({**tracked, "epochs": 0})


def test_folds_that_nobody_names_are_all_trained(tmp_path: Path) -> None:
    every = "data.fold=0,1,2,3,4"
    assert planned(["data.folds=5", "seed=0,1"])[1] == every
    assert planned(["experiment=every_photo"])[1] == every
    assert planned(["experiment=every_photo", "data.folds=3"])[1] == "data.fold=0,1,2"
    for named in (["data.fold=2"], ["data.fold=1,3"]):
        assert planned(["data.folds=5", *named])[1] is None
    assert planned(["experiment=every_photo", "data.folds=null"])[1] is None
    assert planned(["seed=0,1"])[1] is None
    for swept, expected in (("data.folds: 4", "data.fold=0,1,2,3"), ("data.folds: 4\n      data.fold: 0,1", None)):
        (tmp_path / "experiment").mkdir(exist_ok=True)
        text = f"# @package _global_\nhydra:\n  sweeper:\n    params:\n      {swept}\n"
        (tmp_path / "experiment" / "mine.yaml").write_text(text)
        assert planned(["experiment=mine"], str(tmp_path))[1] == expected


def test_the_partition_follows_the_seed_and_one_split_does_not() -> None:
    found = [check(words).data.split_seed for words in (["seed=3"], ["seed=3", "data.folds=5"])]
    assert found == [0, 3]
    assert check(["seed=3", "data.folds=5", "data.split_seed=0"]).data.split_seed == 0


def test_every_photo_has_the_arms_as_they_ship() -> None:
    params = yaml.safe_load((CONF_DIR / "experiment" / "every_photo.yaml").read_text())["hydra"]["sweeper"]["params"]
    assert params["row"] == "arm_cnn,arm_frozen,arm_partial,arm_unfrozen"
    for row, freeze in (("arm_partial", "partial"), ("arm_unfrozen", "unfrozen")):
        assert check([f"row={row}"]) == check([f"freeze={freeze}"])
