"""What a reader must know before relying on the answer: decided by the data, the worst first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leafexp import names
from leafexp.report.evidence.comparisons import Comparison, Verdict
from leafexp.report.evidence.external import External
from leafexp.report.read.collect import Selection, why_not
from leafexp.report.read.replicates import Incomplete
from leafexp.report.read.runs import Run
from leafexp.report.rows.budget import unequal
from leafexp.report.rows.learning import still_gaining, stopped_early
from leafexp.report.rows.row import Row, groups_to_compare, with_shared_settings
from leafexp.report.say.words import Part, Sentence, few, in_hundred, listed, percent, rounded, say
from leafexp.wording import count, counted

FEW_LEAVES = 50
FEW_NETWORKS = 5
NEAR_LARGEST = 0.05  # so little above always naming the largest class, an accuracy is set against it
_PROBES = (
    ("border_probe", "The border of a photo alone", "part of every accuracy may be the background"),
    ("file_probe", "A file's size, format and camera alone", "the classes may come from different sources"),
    (
        "thumbnail_neighbour",
        "The most similar thumbnail of 12 px alone",
        "much of the task may be colour, outline or background",
    ),
)


@dataclass(frozen=True)
class Caveat:
    """One thing to know, the graver the higher its `weight`; from 80 on it forbids to believe the answer."""

    weight: int
    sentence: Sentence


def caveats(
    rows: Sequence[Row], comparisons: Sequence[Comparison], selection: Selection, externals: Sequence[External] = ()
) -> tuple[Caveat, ...]:
    """Every caveat that holds for these rows, the gravest first."""
    found = [
        *_audited(selection.audit or {}, "a fold's split" if selection.finished[0].fold else "the split"),
        *_photos(rows),
        *_largest_class(rows),
        *_networks(comparisons),
        *_learning(rows),
        *_leaves(rows),
        *_unequal(rows),
        *_mixed(rows),
        *_elsewhere(externals, rows),
        *_unfinished(selection.unfinished),
        *_incomplete(selection.incomplete),
    ]
    return tuple(sorted(found, key=lambda caveat: -caveat.weight))


def _audited(audit: Mapping[str, Any], split: str) -> Iterable[Caveat]:
    for kind, equal in (("exact", "equal"), ("near", "nearly equal")):
        if pairs := audit.get(f"{kind}_duplicates", {}).get("across_splits", 0):
            yield Caveat(
                95,
                say(
                    f"{counted(pairs, 'pair')} of {equal} photos {_lie(pairs)} on two sides of {split}, "
                    "so the test is easier than it looks."
                ),
            )
        if pairs := audit.get(f"{kind}_duplicates", {}).get("other_label", 0):
            yield Caveat(45, say(f"{counted(pairs, 'pair')} of {equal} photos {_has(pairs)} two different labels."))
    if leaves := audit.get("groups_across_splits", 0):
        yield Caveat(
            94,
            say(
                f"Photos of {counted(leaves, 'leaf', 'leaves')} lie on two sides of {split}, "
                "so the test is easier than it looks."
            ),
        )
    for key, what, so in _PROBES:
        probe = audit.get(key)
        if probe and probe["low"] > probe["chance"]:
            right, chance = in_hundred(probe["accuracy"], probe["chance"])
            yield Caveat(
                75 if key == "border_probe" else 55,
                say(
                    f"{what} tells the class {right} times in 100, where always naming the largest class is right "
                    f"{chance} times, so {so}."
                ),
            )


def _photos(rows: Sequence[Row]) -> Iterable[Caveat]:
    groups = groups_to_compare(rows)
    if len(groups) > 1:
        parts: list[Part] = []
        for number, group in enumerate(groups):
            parts += [*(["; "] if number else []), *listed(group)]
        yield Caveat(90, say("These rows were tested on different photos, so they are not compared: ", parts, "."))


def _largest_class(rows: Sequence[Row]) -> Iterable[Caveat]:
    for group in groups_to_compare(rows):
        known = [row for row in group if row.tested is not None]
        if not known or known[0].tested is None:
            continue
        shares = known[0].tested["label"].value_counts(normalize=True)
        largest, most = str(shares.index[0]), float(shares.iloc[0])
        best = max(row.accuracy for row in group)
        if most > 0.5 or best - most < NEAR_LARGEST:
            weight = 85 if best - most < NEAR_LARGEST else 50
            yield Caveat(
                weight,
                say(
                    f"Always answering “{largest}”, the largest class, is right on {percent(most)} of the test photos. "
                    "Set each accuracy against that, and look at the classes one by one."
                ),
            )


def _networks(comparisons: Sequence[Comparison]) -> Iterable[Caveat]:
    used = [item.networks for item in comparisons if item.verdict is not Verdict.NO_DATA]
    if used and 3 <= min(used) < FEW_NETWORKS:
        yield Caveat(
            60,
            say(
                f"Only {few(min(used))} networks of each kind were trained; with so few an interval may be too narrow."
            ),
        )


def _learning(rows: Sequence[Row]) -> Iterable[Caveat]:
    for row in rows:
        gained = 0.0 if row.control else still_gaining(row)
        if gained:
            said = "a point" if rounded(100 * gained, 1) == "1.0" else f"{rounded(100 * gained, 1)} points"
            if rounded(100 * gained, 1) == "0.0":
                continue
            epochs = row.param("epochs")
            few_epochs = f"{few(int(epochs)) if epochs.isdecimal() else 'these'} epochs may be too few for it"
            if all(map(stopped_early, row.runs)):
                few_epochs = f"trainer.patience={row.param('trainer.patience')} may be too short for it"
            yield Caveat(
                70 if row.scratch else 40,
                say(row, f" was still gaining {said} of validation accuracy an epoch when it stopped; {few_epochs}."),
            )


def _leaves(rows: Sequence[Row]) -> Iterable[Caveat]:
    groups = groups_to_compare(rows)
    known = [(group, next((row.outcomes for row in group if row.outcomes is not None), None)) for group in groups]
    sizes = [(group, len(set(seen.leaves.tolist())), len(seen.paths)) for group, seen in known if seen is not None]
    if not sizes:
        return
    if alone := [group for group, leaves, photos in sizes if leaves == photos]:
        of = [] if len(alone) == len(sizes) else [" of ", *listed([row for group in alone for row in group])]
        yield Caveat(
            65,
            say(
                "No two photos",
                of,
                " are known to show the same leaf. If some do, the test is easier than it looks and the intervals are "
                "too narrow.",
            ),
        )
    for group, leaves, photos in sizes:
        what = "photos" if leaves == photos else "leaves"
        of = [] if len(groups) == 1 else [" of ", *listed(group)]
        if leaves < FEW_LEAVES:
            yield Caveat(68, say("The test", of, f" has only {leaves} {what}; each interval rests on them."))
    leaves, what = sizes[0][1], "photos" if sizes[0][1] == sizes[0][2] else "leaves"
    if single := [row for row in rows if not row.folded]:
        parts: list[Part] = [f"Every network was tested on the same {count(leaves)} {what}"]
        if len(groups_to_compare(rows)) > 1:
            rest = "rests on one split of its" if len(single) == 1 else "rest on one split of their"
            parts = (
                ["Each arm rests on one split of its"] if len(single) == len(rows) else [*listed(single), f" {rest}"]
            )
            parts.append(" photos")
        yield Caveat(52, say(parts, ". Another split would give other figures."))
    elif all(len(row.seeds) == 1 for row in rows):
        yield Caveat(
            52,
            say("All networks come from one seed and one partition of the photos. Others would give other figures."),
        )


def _unequal(rows: Sequence[Row]) -> Iterable[Caveat]:
    for group in groups_to_compare(rows):
        for alike in with_shared_settings(row for row in group if not row.control):
            for name, holders in unequal(alike).items():
                if name == "split":
                    yield Caveat(72, say("The arms learned from different photos, though the test is the same."))
                    continue
                parts: list[Part] = []
                for had, who in holders.items():
                    parts += [*(["; "] if parts else []), f"{had} for ", *listed(who)]
                if name == "configurations tried":
                    more = "Some arms were tried in more settings than others"
                    yield Caveat(48, say(f"{more}, and the best of several looks better than it is: ", parts, "."))
                    continue
                yield Caveat(30 if name == "machine" else 48, say(f"The arms differ in {name}: ", parts, "."))


def _mixed(rows: Sequence[Row]) -> Iterable[Caveat]:
    """What differs among the runs of a row."""
    for what, tag in (
        ("code commits", names.GIT_COMMIT),
        ("machines", names.HOST),
        ("numbers of threads", names.THREADS),
        ("versions of the libraries", names.LIBRARIES),
    ):
        mixed = [row for row in rows if len({run.tags.get(tag, "") for run in row.runs}) > 1]
        if mixed:
            yield Caveat(35, say(f"The networks of one arm come from several {what}: ", listed(mixed), "."))


def _elsewhere(externals: Sequence[External], rows: Sequence[Row]) -> Iterable[Caveat]:
    """What a reader must know of photos from elsewhere."""
    for found in externals:
        if found.overlap:
            begin, one = ("", "one that was") if len(found.overlaps) == 1 else ("up to ", "one that a network was")
            yield Caveat(
                78,
                say(
                    f"{begin}{counted(found.overlap, 'photo')} from elsewhere ({found.name}) {_equal(found.overlap)} "
                    f"{one} trained or validated on, so the accuracy there looks better than it is."
                ),
            )
        if found.absent:
            yield Caveat(
                57,
                say(
                    f"No photo from elsewhere ({found.name}) shows {', '.join(found.absent)}: the accuracy there is "
                    "over the other classes, and that on the own test photos over all."
                ),
            )
        if known := next(iter(found.accuracies.values()), None):
            photos = known.predictions // known.networks
            what = "photos" if known.leaves == photos else "leaves"
            if known.leaves < FEW_LEAVES:
                yield Caveat(56, say(f"The photos from elsewhere ({found.name}) are of only {known.leaves} {what}."))
            if what == "photos":
                yield Caveat(
                    54,
                    say(
                        f"No two photos from elsewhere ({found.name}) are known to show the same leaf. If some do, the "
                        "interval there is too narrow."
                    ),
                )
        there = {row.label for row in found.rows}
        if missing := [row for row in rows if row.label not in there]:
            yield Caveat(36, say(f"Not tested on photos from elsewhere ({found.name}): ", listed(missing), "."))


def _equal(number: int) -> str:
    return "equals or nearly equals" if number == 1 else "equal or nearly equal"


def _unfinished(runs: Sequence[Run]) -> Iterable[Caveat]:
    for run in runs:
        seed = run.tags.get(names.SEED) or run.params.get("seed", "?")
        fold = f", fold {run.fold}" if run.fold else ""
        yield Caveat(38, say(f"Not in the table: {run.row}, seed {seed}{fold}, {run.status.lower()} ({why_not(run)})."))


def _incomplete(replicates: Iterable[Incomplete]) -> Iterable[Caveat]:
    for replicate in replicates:
        yield Caveat(58, say(f"Not used, as not every photo was tested: {replicate}."))


def _lie(number: int) -> str:
    return "lies" if number == 1 else "lie"


def _has(number: int) -> str:
    return "has" if number == 1 else "have"
