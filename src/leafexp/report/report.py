"""What the report says, whatever form it is shown in."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from leafexp import names
from leafexp.report.evidence.comparisons import Comparison, compare
from leafexp.report.evidence.external import External, externals
from leafexp.report.evidence.factors import Effect, effects
from leafexp.report.evidence.intervals import Estimate, accuracy
from leafexp.report.evidence.together import Together, of_predictions
from leafexp.report.read.artifacts import parse_phases, read_texts
from leafexp.report.read.collect import Selection
from leafexp.report.rows.row import Row, groups_to_compare, make_rows, of_one_arm, shipped_as, with_shared_settings
from leafexp.report.say.answer import Answer, answer, of_settings
from leafexp.report.say.caveats import Caveat, caveats
from leafexp.report.say.external import headline
from leafexp.report.say.q1 import how_they_learned, q1
from leafexp.report.say.q2 import q2
from leafexp.report.say.q3 import q3
from leafexp.report.say.question import Question
from leafexp.report.say.words import Sentence


@dataclass(frozen=True)
class Report:
    """Rows, evidence and sentences of the selected runs.

    Attributes:
        selection: which runs these are, and what was left out.
        rows: in the order in which they are shown.
        main: the rows that share photos and settings and that the questions are about; the largest such group, without
            variants of a freeze strategy.
        accuracies: of each row by label, with its 95 % interval; rows whose predictions can't be used lack.
        comparisons: the planned ones, of all groups.
        effects: of settings that the study varies.
        answers: the answer of each group of rows that share photos and settings, `main`'s first, with its rows.
        caveats: the gravest first.
        questions: Q1 to Q3; in a study of one arm's settings, how the rows learned.
        together: of each row by label, the accuracies of answers of several networks or photos; rows without such
            answers lack, and controls.
        externals: what rows reached on photos from elsewhere, by second test set.
        phases: of each row by label, how it was trained, as phases.csv has it; rows whose file can't be read lack.
    """

    selection: Selection
    rows: tuple[Row, ...]
    main: tuple[Row, ...]
    accuracies: dict[str, Estimate]
    comparisons: tuple[Comparison, ...]
    effects: tuple[Effect, ...]
    answers: tuple[tuple[tuple[Row, ...], Answer], ...]
    caveats: tuple[Caveat, ...]
    questions: tuple[Question, ...]
    together: dict[str, Together]
    externals: tuple[External, ...]
    phases: dict[str, pd.DataFrame]

    @property
    def elsewhere(self) -> list[Sentence]:
        """What is left of the accuracy on photos from elsewhere: of the answer's rows, by second test set."""
        return [sentence for found in self.externals for sentence in headline(found, self.answers[0][1].best)]

    @property
    def planned(self) -> list[Comparison]:
        """The comparisons that answer which arm of `main` is best: one family."""
        kinds = ("transfer", "freezing")
        return [item for item in self.comparisons if item.kind in kinds and {item.one, item.other} <= {*self.main}]


def make_report(selection: Selection, tracking_uri: str, detect: float = 0.02) -> Report:
    """The report of the selected runs.

    Args:
        selection: the runs.
        tracking_uri: the store's, to read the files of runs from.
        detect: the difference of accuracies that a reader cares for, a share.
    """
    rows = make_rows(selection.finished)
    comparisons = tuple(compare(rows))
    found = tuple(effects(rows, comparisons))
    tested_elsewhere = externals(rows)
    groups = sorted(
        (alike for group in groups_to_compare(rows) for alike in with_shared_settings(group)),
        key=lambda group: -sum(not row.control for row in group),
    )
    arms = [tuple(row for row in group if not shipped_as(row, group)) for group in groups]
    answers = tuple((group, answer(group, comparisons)) for group in arms)
    questions: tuple[Question, ...]
    if found and of_one_arm(rows):
        answers = ((tuple(rows), of_settings(rows)),)
        questions = (how_they_learned(rows),)
    else:
        main, first = answers[0]
        variants = [row for row in groups[0] if row not in main]
        questions = (
            q1(main, comparisons, first, detect),
            q2(main, comparisons, first),
            q3(main, variants, comparisons),
        )
    return Report(
        selection,
        tuple(rows),
        answers[0][0],
        accuracies(rows),
        comparisons,
        found,
        answers,
        caveats(rows, comparisons, selection, tested_elsewhere),
        questions,
        _together(rows),
        tested_elsewhere,
        _phases(rows, tracking_uri),
    )


def accuracies(rows: Sequence[Row]) -> dict[str, Estimate]:
    """The accuracy of each row by label, with its 95 % interval; rows whose predictions can't be used lack."""
    seen = {row.label: row.outcomes for row in rows}
    return {label: accuracy(known.right, known.leaves) for label, known in seen.items() if known is not None}


def _together(rows: Sequence[Row]) -> dict[str, Together]:
    known = {
        row.label: of_predictions(row.tested, row.outcomes)
        for row in rows
        if not row.control and row.tested is not None and row.outcomes is not None
    }
    return {label: found for label, found in known.items() if found and (found.by_networks or found.by_leaf)}


def _phases(rows: Sequence[Row], tracking_uri: str) -> dict[str, pd.DataFrame]:
    texts = read_texts([row.runs[0].artifact_uri for row in rows], names.PHASES_FILE, tracking_uri)
    parsed = zip(rows, map(parse_phases, texts), strict=True)
    return {row.label: table for row, table in parsed if table is not None}
