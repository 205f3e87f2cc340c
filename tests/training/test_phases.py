import functools

import pytest

from leafexp.settings.compose import check
from leafexp.training.phases import Phase, adapted_momentum, plan


@functools.cache
def strategy(freeze: str) -> dict[str, Phase]:
    return check([f"freeze={freeze}", "model=mnv2"]).freeze.phases


def dealt(freeze: str, epochs: int, pretrained: bool = True) -> list[tuple[str, int, float]]:
    phases = strategy(freeze)
    return [(p.name, p.epochs, p.phase.learning_rate_factor) for p in plan(phases, epochs, pretrained)]


@pytest.mark.parametrize("freeze", ["frozen", "partial", "unfrozen"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 10, 37])
@pytest.mark.parametrize("pretrained", [True, False])
def test_every_strategy_spends_all_epochs_and_ends_with_its_own_phase(
    freeze: str, epochs: int, pretrained: bool
) -> None:
    phases = dealt(freeze, epochs, pretrained)
    assert sum(given for _, given, _ in phases) == epochs
    assert phases[-1][0] == ("head" if freeze == "frozen" else "tune")
    assert phases[-1][1] >= 1


def test_pretrained_weights_get_a_head_phase_and_random_ones_the_full_rate() -> None:
    assert dealt("partial", 10) == [("head", 2, 1.0), ("tune", 8, 0.1)]
    assert dealt("partial", 10, pretrained=False) == [("tune", 10, 1.0)]


@pytest.mark.parametrize("steps", [1, 10, 70, 500, 100_000])
def test_the_adapted_momentum_replaces_the_statistics_in_an_epoch(steps: int) -> None:
    momentum = adapted_momentum(steps)
    assert 0.8 <= momentum <= 0.999
    if 0.8 < momentum < 0.999:
        assert momentum**steps == pytest.approx(0.01)
