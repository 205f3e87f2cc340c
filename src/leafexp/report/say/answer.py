"""The study's question and its answer, in at most sixty words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leafexp.report.evidence.comparisons import Comparison
from leafexp.report.rows import timing
from leafexp.report.rows.labels import in_short, in_words, told
from leafexp.report.rows.row import Row
from leafexp.report.say.commands import transfer_model, would_tell
from leafexp.report.say.gaps import Gap, counted_only, gap
from leafexp.report.say.words import Part, Sentence, digits, few, in_hundred, listed, rounded, say, times

QUICK = 0.5  # of the best arm's time: an arm that takes less is spoken of
_ADVICE = {"frozen": " and train only a new head", "partial": " and fine-tune its top", "unfrozen": " and fine-tune it"}
_DOING = {
    "frozen": "Training only a new head",
    "partial": "Fine-tuning only its top",
    "unfrozen": "Fine-tuning it whole",
}
MORE_SEEDS = range(6)


@dataclass(frozen=True)
class Answer:
    """What the rows of one comparison say to the study's question.

    Attributes:
        title: what to do, or that it is not decided.
        said: what it rests on, up to four sentences.
        best: the pretrained row that was chosen by validation accuracy, and the one from scratch; where they are.
    """

    title: Sentence
    said: tuple[Sentence, ...]
    best: tuple[Row, ...] = ()


def answer(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> Answer:
    """The answer from rows that share photos and settings; the arm is chosen on validation photos, not test photos."""
    pretrained, scratch = by_validation(row for row in rows if row.pretrained), _from_scratch(rows)
    if not pretrained or not scratch:
        return _missing(rows, pretrained, scratch)
    best, other = pretrained[0], scratch[0]
    found = gap(best, other, comparisons)
    if found is None:
        return Answer(
            say("There is no answer: what the networks said of the test photos can't be read, or is of other photos."),
            (),
            (best, other),
        )
    if found.too_few:
        return Answer(
            say("This is not an answer yet."),
            (
                say(*counted_only(found), "."),
                say("Another seed may turn that around, and ", _networks(found), " can't show by how much."),
                say(*would_tell(rows, _arms(best, other), MORE_SEEDS)),
            ),
            (best, other),
        )
    if not found.decided:
        title = say(f"Not decided: the pretrained {best.title} or ", other, ".")
        said = [_accuracies(found, found.ahead), _undecided(found)]
    elif found.ahead is best:
        advice = _advice(best, pretrained[1:], comparisons)
        title = say(f"Use the pretrained {best.title}{advice}.")
        said = [_accuracies(found, "it" if advice == _ADVICE.get(best.freeze) else best), _wide(found)]
    else:
        title = say("Use ", other, ".")
        said = [_accuracies(found, "it"), _wide(found)]
    return Answer(title, (*said, *_cheaper(best, pretrained[1:], comparisons)), (best, other))


def of_settings(rows: Sequence[Row]) -> Answer:
    """The answer of a study of one arm's settings: what validation photos choose."""
    order = by_validation(rows)
    best, last = order[0], order[-1]
    right = in_hundred(best.accuracy, last.accuracy)
    chosen, other = (
        ", ".join(in_short(*item) for item in told(row.settings).items()) or "no lever" for row in (best, last)
    )
    first = say(
        f"Of {few(len(rows))} ways to train {best.title}, {in_words(best.runs[0])}, this one is right {right[0]} times "
        f"in 100 on {unseen(best)} it has never seen. The last of them ({other}) is right {right[1]} times."
    )
    return Answer(say(f"Validation photos choose {chosen}."), (first,), (best, last))


def by_validation(rows: Iterable[Row]) -> list[Row]:
    """The rows, the best validation accuracy first; those whose curves are missing last."""
    return sorted(rows, key=lambda row: -row.best_val_accuracy if row.best_val_accuracy == row.best_val_accuracy else 1)


def _from_scratch(rows: Sequence[Row]) -> list[Row]:
    """The rows trained whole from random weights: other networks than the pretrained ones if there are any."""
    models = {row.model for row in rows if row.pretrained}
    scratch = by_validation(row for row in rows if row.scratch)
    return [row for row in scratch if row.model not in models] or scratch


def _accuracies(found: Gap, who: Part) -> Sentence:
    """How often both are right; `who` is the one that is ahead, as the sentence names it."""
    ahead, behind = in_hundred(found.ahead.accuracy, found.behind.accuracy)
    seen = f" is right {ahead} times in 100 on {unseen(found.ahead)} it has never seen; "
    return say(who, seen, found.behind, f" is right {behind} times.")


def _wide(found: Gap) -> Sentence:
    folded = f", for {holds_for(found.ahead)})" if found.ahead.folded else ")"
    return say(f"The gap is {found.points.replace('(', '(95 % interval ').replace(')', folded)}.")


def unseen(row: Row) -> str:
    """What the test was made on: `leaves` where photos of one leaf were kept together, else `photos`."""
    seen = row.outcomes
    return "leaves" if seen is not None and len(set(seen.leaves.tolist())) < len(seen.paths) else "photos"


def holds_for(row: Row) -> str:
    """What the intervals of a row of several networks hold for."""
    if not row.folded:
        return f"new {unseen(row)} and new seeds, on this split"
    if len(row.seeds) > 1 and row.partitions == 1:
        return f"new {unseen(row)} and seeds, on this partition"
    return f"new {unseen(row)}, seeds and partitions"


def _undecided(found: Gap) -> Sentence:
    decimals = digits(found.high - found.low)
    low, high = rounded(-100 * found.low, decimals), rounded(100 * found.high, decimals)
    return say(
        found.ahead, f" may be up to {high} points better or ", f"{low} points worse; these runs can't tell which."
    )


def _advice(best: Row, others: Sequence[Row], comparisons: Iterable[Comparison]) -> str:
    """How to train it, where that is borne out against another way or was the only way."""
    if best.freeze not in _ADVICE or not others:
        return _ADVICE.get(best.freeze, "")
    found = [gap(best, other, comparisons) for other in others]
    worse = {item.behind.freeze for item in found if item and item.decided and item.ahead is best}
    if not worse:
        return ""
    if best.freeze == "partial" and "unfrozen" not in worse and any(row.freeze == "unfrozen" for row in others):
        return _ADVICE["unfrozen"]
    return _ADVICE[best.freeze]


def _cheaper(best: Row, others: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Sentence]:
    """The quickest of the other pretrained arms that may be as good, else the quickest, if it takes far less time."""
    if not timing.one_machine(best, *others):
        return []
    spent = timing.total(best).mean
    found = [(timing.total(other).mean, gap(best, other, comparisons)) for other in others]
    quick = [(seconds / spent, item) for seconds, item in found if item and seconds < QUICK * spent]
    quick.sort(key=lambda pair: (pair[1].decided, pair[0]))
    for ratio, item in quick[:1]:
        other = item.behind if item.ahead is best else item.ahead
        alone = [row.freeze for row in others].count(other.freeze) == 1 and other.model == best.model
        who = _DOING.get(other.freeze, other) if alone else other
        cost: list[Part] = [who, f" takes {times(ratio)} the time"]
        if item.too_few:
            return []
        if not item.decided:
            return [say(*cost, "; whether that costs accuracy is not decided.")]
        if item.ahead is best:
            return [say(*cost, f" and loses {item.points}.")]
        return [say(*cost, f" and gains {item.points}.")]
    return []


def _networks(found: Gap) -> str:
    networks = found.comparison.networks
    return "one network of each" if networks == 1 else "two networks of each"


def _arms(*rows: Row) -> str:
    models, freezes = dict.fromkeys(row.model for row in rows), dict.fromkeys(row.freeze for row in rows)
    return f"model={','.join(models)} freeze={','.join(freezes)}"


def _missing(rows: Sequence[Row], pretrained: Sequence[Row], scratch: Sequence[Row]) -> Answer:
    if not pretrained:
        lacking, arms = "no pretrained network", f"model={transfer_model(rows)} freeze=frozen,unfrozen,partial"
    else:
        lacking, arms = "no network trained from scratch", "model=cnn freeze=unfrozen"
    there: list[Part] = [*listed([*pretrained, *scratch])] or ["only controls"]
    return Answer(
        say("There is no answer yet: it takes a pretrained network and one trained from scratch."),
        (say("Among these runs there is ", lacking, "; there is ", *there, "."), say(*would_tell(rows, arms))),
        tuple([*pretrained, *scratch][:1]),
    )
