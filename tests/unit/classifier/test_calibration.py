"""Calibration: the temperature against worked examples, and the calibration error of Guo et al. by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from scratchlm.classifier.calibration import HIGHEST, LOWEST, calibrate, calibration_error, fit_temperature


def margins(right: int, wrong: int, margin: float, n_labels: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that prefer label 0 by `margin` over each other; the first `right` labels are 0, the others 1."""
    logits = torch.zeros(right + wrong, n_labels)
    logits[:, 0] = margin
    return logits, torch.tensor([0] * right + [1] * wrong)


def test_the_probability_becomes_the_share_that_is_right() -> None:
    # 90 of 100 right, all with margin 6. Of the smoothed targets, 0.9 * 101/102 + 0.1 / 102 are on label 0.
    share = (90 * 101 + 10) / (100 * 102)
    temperature = fit_temperature(*margins(90, 10, 6.0))
    assert temperature == pytest.approx(6 / math.log(share / (1 - share)), abs=1e-4)
    assert torch.tensor([6 / temperature, 0]).softmax(0)[0] == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("margin", [0.5, 3.0, 20.0])
@pytest.mark.parametrize("n_labels", [2, 5])
def test_a_split_without_a_mistake_does_not_give_certainty(margin: float, n_labels: int) -> None:
    logits, labels = margins(140, 0, margin, n_labels)
    probability = (logits / fit_temperature(logits, labels)).softmax(dim=-1)[0, 0]
    assert probability == pytest.approx(141 / 142, abs=1e-3)


@pytest.mark.parametrize("scale", [0.25, 1.0, 7.0])
def test_scaled_logits_have_a_scaled_temperature(scale: float) -> None:
    logits = torch.randn(200, 3, generator=torch.Generator().manual_seed(1)) * 3
    torch.manual_seed(1)
    labels = torch.distributions.Categorical(logits=logits / 2).sample()
    once = fit_temperature(logits, labels)
    assert 1.5 < once < 2.5  # the labels were drawn at temperature 2
    assert fit_temperature(logits * scale, labels) == pytest.approx(once * scale, abs=2e-4 * max(scale, 1))


def test_it_is_the_minimum_that_scipy_finds() -> None:
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 4
    labels = (logits + 6 * torch.randn(50, 4, generator=torch.Generator().manual_seed(3))).argmax(dim=-1)
    targets = F.one_hot(labels, 4) * (51 / 52 - 1 / 156) + 1 / 156

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_temperature), targets))

    found = minimize_scalar(loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded")
    assert fit_temperature(logits, labels) == pytest.approx(math.exp(found.x), rel=1e-3)


def test_worse_than_guessing_ends_at_the_highest_temperature() -> None:
    assert fit_temperature(*margins(1, 30, 4.0)) == HIGHEST


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.integers(0, 1)), min_size=1, max_size=20))
def test_any_split_has_a_temperature_within_the_bounds(rows: list[tuple[float, float, int]]) -> None:
    logits, labels = torch.tensor([row[:2] for row in rows]), torch.tensor([row[2] for row in rows])
    assert LOWEST <= fit_temperature(logits, labels) <= HIGHEST


def test_the_calibration_error_of_a_worked_example() -> None:
    # Two bins: 0.95 in (14/15, 1], half of 4 right; 0.6 in (8/15, 9/15], all of 6 right.
    confidence = torch.tensor([0.95] * 4 + [0.6] * 6, dtype=torch.float64)
    logits = torch.stack([confidence, 1 - confidence], dim=1).log()
    labels = torch.tensor([0, 0, 1, 1] + [0] * 6)
    assert calibration_error(logits, labels) == pytest.approx(100 * (0.4 * 0.45 + 0.6 * 0.4))


def test_gaps_of_opposite_sign_cancel_within_a_bin_only() -> None:
    confidence = torch.tensor([0.75, 0.75, 0.75, 0.75], dtype=torch.float64)
    logits = torch.stack([confidence, 1 - confidence], dim=1).log()
    assert calibration_error(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.0, abs=1e-9)
    assert calibration_error(logits, torch.tensor([0, 0, 0, 0])) == pytest.approx(25.0)


def test_a_probability_on_the_edge_of_two_bins_belongs_to_the_lower() -> None:
    # All three are in (8/15, 9/15], so their gaps add up with their signs: |1 - 0.6 + 0 - 0.6 + 1 - 0.535|.
    confidence = torch.tensor([0.6, 0.5999999, 0.5350], dtype=torch.float64)
    logits = torch.stack([confidence, 1 - confidence], dim=1).log()
    share = float(confidence.sum())
    assert calibration_error(logits, torch.tensor([0, 1, 0])) == pytest.approx(100 * abs(2 - share) / 3)


def test_certainty_counts_in_the_last_bin() -> None:
    assert calibration_error(torch.tensor([[1000.0, 0.0], [1000.0, 0.0]]), torch.tensor([0, 1])) == 50.0


def test_too_confident_logits_are_mended_on_other_messages() -> None:
    validation, test = margins(90, 10, 8.0), margins(45, 5, 8.0)
    found = calibrate(validation, test)
    assert found.error_before == pytest.approx(10.0, abs=0.05)
    assert found.error < 1.0
    assert found.loss < float(F.cross_entropy(*test))
    assert found.metrics() == {
        "temperature": found.temperature,
        "test_calibration_error_before": found.error_before,
        "test_calibration_error": found.error,
        "calibrated_test_loss": found.loss,
    }
