import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from leafexp.overrides import without_address, written

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


@pytest.mark.parametrize("typed", ["data.path=/photos/bohné", "data.path=/photos/tail ", "+x=é,b c,ü"])
def test_letters_that_hydra_has_not_are_taken_as_typed(typed: str) -> None:
    (override,) = OverridesParser.create().parse_overrides(without_address([typed])[0])
    values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
    assert ",".join(map(str, values)).replace("'", "") == typed.partition("=")[2]


@pytest.mark.parametrize("value", [*TEXTS, None, True, 0.5, 7, ["a b", 1, None], {"a": ["x,y"]}], ids=repr)
def test_hydra_reads_what_was_written(value: object) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"data.path={written(value)}"])
    assert override.value() == value
