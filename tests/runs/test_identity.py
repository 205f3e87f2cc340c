"""Which changes make another run, and which do not."""

import functools
from pathlib import Path

import pandas as pd
import pytest

from leafexp import arithmetic
from leafexp.runs import identity
from leafexp.settings.compose import check
from leafexp.settings.schema import Config

BASE = ("model=mnv2", "freeze=partial", "data=folder", "data.path=.")
SAME = {
    "where and what it is called": (
        *("tracking.uri=sqlite:///x.db", "tracking.experiment=x", "sweep=x", "rerun=true", "cache_gb=1"),
        *(
            "data.path=..",
            "data.name=x",
            "data.audit=warn",
            "tuning.trials=3",
            "model.name=x",
            "model.title=x",
            "freeze.name=x",
        ),
        *("optimizer.name=x", "trainer.cache_prefix=false", "data.group_pattern=x"),
    ),
    "another schedule's keys": ("optimizer.step_factor=0.5", "optimizer.step_epochs=1"),
    "the momentum of batch norm that stands still": ("freeze.phases.head.batch_norm_momentum=0.5",),
    "the last phase's share": ("freeze.phases.tune.epoch_share=0.7",),
    "levers that are not set": (
        *("trainer.class_weights=null", "trainer.label_smoothing=0", "trainer.patience=null"),
        *("optimizer.clipnorm=null", "lever=none"),
    ),
    "a phase's schedule that is the optimizer's": ("freeze.phases.head.schedule=constant",),
    "a rate written in another way": ("optimizer.learning_rate=1e-3",),
    "where the top begins, of a strategy that says it itself": (
        *("freeze.phases.tune.learns=block_15_expand", "model.partial_from=block_14_add"),
    ),
}
OTHER = [
    "seed=1",
    "epochs=9",
    "optimizer=adamw",
    "optimizer.learning_rate=0.002",
    "optimizer.schedule=cosine",
    "optimizer.warmup_epochs=1",
    "+optimizer.keras.beta_1=0.8",
    "freeze=frozen",
    "freeze.phases.head.epoch_share=0.3",
    "freeze.phases.head.learns=all",
    "freeze.phases.tune.learning_rate_factor=0.2",
    "freeze.phases.tune.schedule=step",
    "freeze.phases.tune.batch_norm=inference",
    "freeze.phases.tune.batch_norm_momentum=0.5",
    "model=cnn",
    "model.network.dropout=0.3",
    "model.weights=null",
    "model.partial_from=block_14_add",
    "trainer.batch_size=16",
    "trainer.precision=mixed_bfloat16",
    "trainer.class_weights=balanced",
    "trainer.label_smoothing=0.2",
    "trainer.patience=2",
    "optimizer.clipnorm=2",
    "lever=label_smoothing",
    "lever=patience",
    "lever=clipnorm",
    "trainer.fused_batch_norm=false",
    "data.image_size=64",
    "data.test_share=0.2",
    "data.validation_share=0.2",
    "data.split_seed=1",
    "data.train_per_class=8",
    "data.folds=5",
    "data.groups=near_duplicates",
    "data.on_bad_image=skip",
    "data.white=4095",
    "data.fit=pad",
    "data.fit=crop",
    "data.views=8",
    "data.test_views=8",
]


def photos(**columns: list[str]) -> pd.DataFrame:
    table = {"path": ["a", "b", "c", "d"], "label": ["x", "x", "y", "y"], "group": ["1", "2", "3", "3"]}
    return pd.DataFrame({**table, "sha256": ["5", "6", "7", "8"], **columns})


@functools.cache
def configuration(*overrides: str) -> Config:
    return check([*BASE, *overrides])


def of(*overrides: str, table: pd.DataFrame | None = None, weights: str | None = "w") -> str:
    return identity.deciding(configuration(*overrides), photos() if table is None else table, weights).sha256


def test_a_trial_of_a_search_is_no_run_that_is_tested() -> None:
    trials = [
        identity.deciding(configuration(), photos(), "w", trial=trial).sha256 for trial in ("", "s mnv2 0", "s mnv2 1")
    ]
    assert len(set(trials)) == 3
    assert trials[0] == of()


@pytest.mark.parametrize("change", SAME)
def test_what_does_not_decide_makes_no_other_run(change: str) -> None:
    assert of(*SAME[change]) == of()


def test_the_schedules_of_phases_decide_however_they_are_written() -> None:
    cosine = of("freeze.phases.tune.schedule=cosine")
    assert of("optimizer.schedule=cosine", "freeze.phases.head.schedule=constant") == cosine
    assert of("optimizer.schedule=cosine", "freeze.phases.tune.schedule=constant") not in (cosine, of())
    every = ("freeze.phases.head.schedule=cosine", "freeze.phases.tune.schedule=cosine")
    assert of(*every) == of("optimizer.schedule=cosine") != cosine
    assert of(*every, "optimizer.schedule=step", "optimizer.step_factor=0.5") == of(*every)
    # From scratch there is one phase, by the optimizer's schedule.
    scratch = ("model.weights=null",)
    stepped = ("freeze.phases.tune.schedule=step", "optimizer.step_factor=0.5")
    assert of(*scratch, *stepped) == of(*scratch)


def test_what_decides_makes_another_run() -> None:
    found = {override: of(override) for override in OTHER}
    found |= {"nothing": of(), "weights": of(weights="v")}
    tables = {
        "label": ["x", "y", "y", "y"],
        "group": ["1", "1", "3", "3"],
        "sha256": ["5", "6", "7", "9"],
        "split": ["train", "train", "test", "validation"],
    }
    found |= {column: of(table=photos(**{column: values})) for column, values in tables.items()}
    twice = [name for name, value in found.items() if list(found.values()).count(value) > 1]
    assert twice == []


def test_levers_have_a_part_in_the_identity_only_where_they_are_set() -> None:
    """So that runs of before there were these stay what they are."""

    def parts(*overrides: str) -> set[str]:
        decided = identity.deciding(configuration(*overrides), photos(), "w")
        return {*decided.trainer, *decided.optimizer}

    levers = {"class_weights", "label_smoothing", "patience", "clipnorm"}
    assert not parts() & levers
    for lever in levers:
        assert parts(f"lever={lever}") - parts() == {lever}


def test_a_setting_that_is_newer_than_a_run_leaves_its_identity_where_it_is_not_used() -> None:
    decided = identity.deciding(configuration(), photos(), "w")
    assert set(decided.data) == {"image_size", "white", "on_bad_image", "train_per_class", "groups"}


def test_where_photos_lie_and_how_their_groups_are_called_does_not_decide() -> None:
    elsewhere = photos(
        path=["/home/a", "/home/b", "/home/c", "/home/d"], group=["/home/1", "/home/2", "/home/3", "/home/3"]
    )
    assert of(table=elsewhere) == of()
    # The order of groups does: they are drawn in it.
    assert of(table=photos(group=["2", "1", "3", "3"])) != of()


def test_a_second_test_set_decides_where_there_is_one_and_its_place_does_not() -> None:
    before = of()
    assert of("data.external=.") == of("data.external=..", "data.external_labels=README.md") == before

    def tested_on(**columns: list[str]) -> str:
        return identity.deciding(configuration("data.external=."), photos(), "w", photos(**columns)).sha256

    others = {tested_on(), tested_on(sha256=["5", "6", "7", "9"]), tested_on(label=["x", "y", "y", "y"])}
    assert len({before, *others}) == 4
    assert tested_on(path=["/a", "/b", "/c", "/d"]) == tested_on()


def test_where_all_parts_are_given_nothing_of_the_drawing_decides() -> None:
    given = photos(split=["train", "validation", "test", "test"])
    drawing = ("data.split_seed=1", "data.test_share=0.3", "data.validation_share=0.3")
    assert of(*drawing, table=given) == of(table=given)
    assert of("data.split_seed=1", "data.train_per_class=1", table=given) != of("data.train_per_class=1", table=given)
    half = photos(split=["train", "train", "test", "test"])
    assert of("data.test_share=0.3", table=half) == of(table=half) != of("data.validation_share=0.3", table=half)


def test_a_fold_and_its_partition_decide_and_without_folds_no_run_changes() -> None:
    folded = ("data.folds=5", "data.fold=0")
    assert of(*folded, "data.test_share=0.3", "data.validation_share=0.3") == of(*folded)
    others = [of(*folded, "data.split_seed=7"), of("data.folds=5", "data.fold=1"), of("data.folds=4", "data.fold=0")]
    assert len({of(), of(*folded), *others}) == 5
    assert of(*folded, "seed=7", "data.split_seed=7") == of(*folded, "seed=7")
    one = identity.deciding(configuration(), photos(), "w")
    assert one.split == {"test_share": 0.15, "validation_share": 0.15, "split_seed": 0}
    assert not {"folds", "fold"} & {*one.data}


def test_a_moved_weights_file_is_the_same(tmp_path: Path) -> None:
    for name in ("here.h5", "there.h5"):
        (tmp_path / name).write_bytes(b"weights")
    one, other = (of(f"model.weights={tmp_path / name}") for name in ("here.h5", "there.h5"))
    assert one == other
    checksums = {identity.weights_sha256(str(tmp_path / name), {}, 128) for name in ("here.h5", "there.h5")}
    assert len(checksums) == 1


def test_comments_docstrings_and_layout_are_no_code() -> None:
    source = 'def f(x):\n    """Twice."""\n    return x * 2\n'
    same = '"""Words."""\n\n\ndef f(x):  # doubled\n    return (\n        x * 2\n    )\n'
    assert identity.code_of(source) == identity.code_of(same)
    assert identity.code_of(source) != identity.code_of(source.replace("2", "3"))


def test_the_processor_gpus_and_switches_decide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = {of()}
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")  # set when TensorFlow is imported
    arithmetic.arithmetic.cache_clear()
    assert found == {of()}
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name : other\nflags : fpu avx avx2 fma\n")
    gpu = tmp_path / "gpus" / "0000:01:00.0"
    gpu.mkdir(parents=True)
    (gpu / "information").write_text("Model: \t\t NVIDIA A100\nIRQ: 1\n")
    for target, value in (("_CPUINFO", cpuinfo), ("_NVIDIA", tmp_path / "gpus")):
        with monkeypatch.context() as patch:
            patch.setattr(arithmetic, target, value)
            arithmetic.arithmetic.cache_clear()
            found.add(of())
            patch.setenv("NVIDIA_TF32_OVERRIDE", "0")
            arithmetic.arithmetic.cache_clear()
            found.add(of())
    with monkeypatch.context() as patch:
        patch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
        arithmetic.arithmetic.cache_clear()
        found.add(of())
    with monkeypatch.context() as patch:
        # They print, save time or write elsewhere; there is no GPU.
        for name in ("ONEDNN_VERBOSE", "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_JIT_DUMP", "NVIDIA_TF32_OVERRIDE"):
            patch.setenv(name, "1")
        patch.setenv("XLA_FLAGS", "--xla_dump_to=here --xla_gpu_cuda_data_dir=there")
        arithmetic.arithmetic.cache_clear()
        found.add(of())
    with monkeypatch.context() as patch:  # hidden GPUs compute nothing
        patch.setattr(arithmetic, "_NVIDIA", tmp_path / "gpus")
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        arithmetic.arithmetic.cache_clear()
        found.add(of())
    arithmetic.arithmetic.cache_clear()
    assert len(found) == 5
    assert of() in found


def test_libraries_count_where_they_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    duplicates, limited = ("data.groups=near_duplicates",), ("data.train_per_class=8",)
    before = {overrides: of(*overrides) for overrides in ((), duplicates, limited)}
    version = identity.importlib.metadata.version
    for library, changed in (("imagehash", [duplicates]), ("pandas", [limited]), ("keras", [(), duplicates, limited])):
        with monkeypatch.context() as patch:
            newer = lambda name, library=library: "9" if name == library else version(name)  # noqa: E731
            patch.setattr(identity.importlib.metadata, "version", newer)
            assert [overrides for overrides in before if of(*overrides) != before[overrides]] == changed, library
