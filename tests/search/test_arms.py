"""What is searched for which arm, and that its trials' settings don't depend on who brings which result when."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from leafexp.errors import UserError
from leafexp.names import flat
from leafexp.search.arms import Arm, arms
from leafexp.search.journal import Score, Trial, opened
from leafexp.settings import compose
from leafexp.settings.schema import SearchConfig

RATE, DECAY, FACTOR = (
    "optimizer.learning_rate",
    "optimizer.keras.weight_decay",
    "freeze.phases.tune.learning_rate_factor",
)
COMMON = {RATE, DECAY, "model.network.dropout"}
ONE = COMMON | {"optimizer.schedule"}  # of arms with one phase
TWO = COMMON | {FACTOR, "freeze.phases.tune.schedule"}


@pytest.fixture(scope="module")
def search() -> SearchConfig:
    return compose.search(["search.trials=10"])


def found(search: SearchConfig, *overrides: str) -> dict[str, Arm]:
    return {arm.name: arm for arm in arms(overrides, search)}


def test_what_an_arm_does_not_have_is_not_searched_for_it(search: SearchConfig) -> None:
    every = found(search, "model=cnn,mnv2", "freeze=frozen,unfrozen,partial")
    assert {name: set(arm.space) for name, arm in every.items()} == {
        "cnn_frozen": ONE,
        "cnn_unfrozen": ONE,
        "cnn_partial": ONE,
        "mnv2_frozen": ONE,
        "mnv2_unfrozen": TWO,
        "mnv2_partial": TWO | {"model.partial_from"},
    }
    # The same for all of them, so that none is given more epochs.
    assert {tuple(arm.rungs) for arm in every.values()} == {(4, 7, 10)}
    assert set(found(search, "row=mnv2_partial")["mnv2_partial"].space) == ONE | {"model.partial_from"}
    assert list(found(search, "experiment=smoke")) == list(every)


def test_the_first_trial_has_the_settings_of_the_command_and_others_theirs(search: SearchConfig) -> None:
    words = ["model=mnv2", "freeze=partial", "freeze.phases.tune.schedule=constant", "optimizer.learning_rate=0.05"]
    (arm,) = arms(words, search)
    (first, *others) = arm.next_settings([], search)
    assert flat(vars(arm.trial_config(first, "x").optimizer)) == flat(vars(compose.check(words).optimizer))
    assert replace(arm.trial_config(first, "x"), sweep=None) == compose.check(words)
    for settings in others:
        config = arm.trial_config(settings, "x")
        assert config.optimizer.learning_rate == settings[RATE]
        assert config.optimizer.keras.get("weight_decay", 0.0) == settings[DECAY]
        assert config.freeze.phases["tune"].learning_rate_factor == settings[FACTOR]
        assert config.freeze.phases["tune"].learns == settings["model.partial_from"]


def accuracy(settings: dict[str, object]) -> float:
    return round(
        0.9
        - abs(float(str(settings[RATE])) - 0.003) * 20
        + 0.02 * (settings["freeze.phases.tune.schedule"] == "cosine"),
        4,
    )


def all_settings(arm: Arm, search: SearchConfig, folder: Path, dice: random.Random) -> Sequence[Trial]:
    """The trials of an arm whose results come in any order, from processes that read the journal anew each time."""
    while True:
        with opened(folder, [arm.name]) as journal:
            ledger = journal[arm.name]
            for settings in arm.next_settings(ledger.trials(), search):
                ledger.ask(settings, arm.space)
            trials = ledger.trials()
            standing = arm.standing(trials, search)
            if standing.decided:
                return trials
            number, epoch = dice.choice(standing.open)
            ledger.score(number, Score(epoch, accuracy(trials[number].settings), 1.0, 1, 2.0))
        if dice.random() < 0.3:  # what a process that was killed while it wrote leaves
            with open(folder / "journal.log", "ab") as file:
                file.write(b'{"op_code":8,"worker_id":"x')
            (folder / "journal.log.lock").symlink_to("nowhere")


def test_the_settings_do_not_depend_on_the_order_of_results_nor_on_kills(search: SearchConfig, tmp_path: Path) -> None:
    (arm,) = arms(["model=mnv2", "freeze=partial"], search)
    tried = []
    for seed in range(4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        tried.append(all_settings(arm, search, folder, random.Random(seed)))
    assert all(trials == tried[0] for trials in tried)
    assert len({str(trial.settings) for trial in tried[0]}) == search.trials
    assert sum(trial.spent[0] for trial in tried[0]) == 10 * 4 + 5 * 3 + 2 * 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search.trial=3"], "There is no key 'search.trial'. Did you mean search.trials?"),
        (["search.trials=0"], "search.trials must be at least 1; got 0."),
        (["search.ranges.dropout=[0.5,0.1]"], "search.ranges.dropout must be two numbers, the smaller first; got"),
        (["search.ranges.learning_rate=[0,1]"], "search.ranges.learning_rate must be two numbers, the smaller first,"),
        (["search.ranges.schedule=[cosin]"], "There is no search.ranges.schedule=cosin. Did you mean cosine?"),
        (["search.name=all"], "search.name must be a name for a folder and a tag"),
        (["search.eta=1"], "search.eta must be over 1; got 1.0."),
    ],
)  # fmt: skip
def test_a_wrong_key_or_value_is_named(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as raised:
        compose.search(words)
    assert str(raised.value).startswith(said)


def test_a_search_has_one_seed(search: SearchConfig) -> None:
    with pytest.raises(UserError, match="A search has one seed"):
        arms(["model=cnn", "seed=0,1"], search)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("data.folds=5", "A search takes no data.folds: folds test every photo, so none could be held out."),
        ("data.external=.", "A search takes no data.external. Set it where"),
        ("lever=none,patience", "A search takes no trainer.patience. Set it where"),
    ],
)
def test_what_a_search_does_not_take_is_named(search: SearchConfig, word: str, said: str) -> None:
    with pytest.raises(UserError) as raised:
        arms(["model=cnn", word], search)
    assert str(raised.value).startswith(said)
