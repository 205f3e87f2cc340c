"""Answers of several networks and for a whole leaf."""

import itertools

import numpy as np

from leafexp.report.evidence.intervals import accuracy
from leafexp.report.evidence.together import together


def drawn(networks: int, leaves: int, photos: int, folds: int = 1) -> tuple[np.ndarray, ...]:
    """Predictions of each network, or of as many replicates of folds, on the photos of each leaf, in a drawn order."""
    random = np.random.default_rng(3)
    leaf_of = np.repeat(np.arange(leaves), photos)
    cells = [
        (seed * folds + leaf % folds, leaf * photos + number)
        for seed, leaf, number in itertools.product(range(networks), range(leaves), range(photos))
    ]
    network, photo = random.permutation(cells).T
    truth = random.integers(0, 3, leaves)[leaf_of]
    probabilities = random.dirichlet([1, 1, 1], len(cells)) + 0.4 * np.eye(3)[truth[photo]]
    return probabilities / probabilities.sum(axis=1, keepdims=True), network, photo, truth, leaf_of


def share_by_hand(given: tuple[np.ndarray, ...], whole: str) -> float:
    """The share that is right, each answer looked up on its own."""
    probabilities, network, photo, truth, leaf_of = given
    what = leaf_of[photo] if "leaf" in whole else photo
    who = np.zeros_like(network) if "networks" in whole else network
    found = []
    for cell in sorted(set(zip(who.tolist(), what.tolist(), strict=True))):
        rows = np.flatnonzero((who == cell[0]) & (what == cell[1]))
        found.append(probabilities[rows].mean(axis=0).argmax() == truth[photo[rows[0]]])
    return float(np.mean(found))


def test_each_answer_is_the_class_of_the_highest_mean_probability() -> None:
    for folds in (1, 3):
        given = drawn(3, 30, 4, folds)
        found = together(*given)
        assert (found.networks, found.photos) == (3, 4)
        shares = {"networks": found.by_networks, "leaf": found.by_leaf, "networks leaf": found.by_both}
        for whole, estimate in shares.items():
            assert estimate is not None
            assert abs(estimate.value - share_by_hand(given, whole)) < 1e-12, (folds, whole)
            assert estimate.leaves == 30
        assert found.by_networks and found.by_networks.networks == 1, "these networks are one answer"
        assert found.by_leaf and found.by_leaf.networks == 3 * folds


def test_one_network_and_lone_photos_have_no_answer_of_several() -> None:
    probabilities, network, photo, truth, leaves = drawn(1, 20, 2)
    found = together(probabilities, network, photo, truth, leaves)
    assert found.by_networks is None and found.by_both is None and found.by_leaf is not None
    alone = together(*drawn(2, 20, 1))
    assert alone.by_leaf is None and alone.by_both is None and alone.by_networks is not None
    truth = truth.copy()
    truth[0] = (truth[1] + 1) % 3
    assert together(probabilities, network, photo, truth, leaves).by_leaf is None, "a leaf of two classes"


def test_where_not_every_network_tested_a_photo_they_do_not_answer_together() -> None:
    probabilities, network, photo, truth, leaves = drawn(2, 20, 2)
    kept = ~((network == 1) & (photo == 5))
    assert together(probabilities[kept], network[kept], photo[kept], truth, leaves).by_networks is None


def test_alike_answers_together_are_as_right_as_alone() -> None:
    probabilities, network, photo, truth, leaves = drawn(1, 40, 1)
    right = (probabilities.argmax(axis=1) == truth[photo]).astype(float)[None, np.argsort(photo)]
    both = (np.concatenate([part, part + shift]) for part, shift in ((network, 1), (photo, 0)))
    found = together(np.concatenate([probabilities, probabilities]), *both, truth, leaves).by_networks
    assert found is not None and found.value == accuracy(right, leaves).value
