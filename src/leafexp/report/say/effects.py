"""What a setting of two values does, where a study varies it."""

from collections.abc import Sequence

from leafexp.report.evidence.factors import Effect
from leafexp.report.rows.labels import in_short
from leafexp.report.say.gaps import Gap, gap
from leafexp.report.say.words import Sentence, digits, rounded, say


def effects_said(effects: Sequence[Effect]) -> list[Sentence]:
    """A sentence on each setting: the average where its effect is alike everywhere, else each pair of rows."""
    said = []
    for effect in effects:
        low, high = in_short(effect.setting, effect.low), in_short(effect.setting, effect.high)
        change = f"{high} instead of {low}"
        if effect.average is not None:
            average = effect.average
            decimals = digits(average.high - average.low)
            ends = f"{_signed(average.low, decimals)} to {_signed(average.high, decimals)}"
            verdict = "" if average.low > 0 or average.high < 0 else ": no effect is borne out"
            said.append(
                say(
                    f"{change} changes the accuracy by {_signed(average.value, decimals)} points on average "
                    f"({ends}){verdict}."
                )
            )
            continue
        single = [item for pair in effect.pairs if (item := gap(pair.one, pair.other, effect.pairs))]
        how = "depends on the other settings" if effect.differ else "can be said of each pair alone"
        said.append(say(f"What {change} does {how}: ", *_each(single), "."))
    return said


def _each(found: Sequence[Gap]) -> list[str]:
    parts: list[str] = []
    for item in found:
        parts.append(
            f"{'; ' if parts else ''}{item.points}{'' if item.decided else ', not decided,'} for {item.ahead.name}"
            f" over {item.behind.name}"
        )
    return parts


def _signed(value: float, decimals: int) -> str:
    text = rounded(100 * value, decimals)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"
