import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from leafexp.overrides import written

TEXTS = [
    "/photos/é/x.csv",
    "a 'b'.csv",
    "a\\'b",
    "ends with \\",
    "x,y",
    "1/2.csv",
    "null",
    "True",
    "a=b",
    "[a]",
    "",
    "a+b",
]


@pytest.mark.parametrize("value", [*TEXTS, None, True, 0.5, 7, ["a b", 1, None], {"a": ["x,y"]}], ids=repr)
def test_hydra_reads_what_was_written(value: object) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"data.path={written(value)}"])
    assert override.value() == value
