"""What a question of the study and its answer are."""

from dataclasses import dataclass

from leafexp.report.say.words import Sentence


@dataclass(frozen=True)
class Point:
    """A question within one of the study's questions, and what the runs answer, or the run that would."""

    asked: str
    said: tuple[Sentence, ...]


@dataclass(frozen=True)
class Question:
    """One of the study's questions: the answer in one sentence, then its points."""

    title: str
    lead: Sentence
    points: tuple[Point, ...]
