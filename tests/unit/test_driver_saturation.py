"""The simulation of one driver: its two limits, which are known without a simulation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from driver_saturation import Setting, simulate  # noqa: E402


def setting(**changes) -> Setting:
    values = {"generators": 100, "tokens": 1000.0, "generator_tokens": 10_000.0, "in_flight": 8, "group_size": 4}
    return Setting(**{**values, "driver_seconds": 1e-4, "verifier_seconds": 1e-4, "verifiers": 50, **changes})


def test_a_fast_driver_leaves_the_throughput_of_the_generators():
    # 100 generators x 10,000 tokens a second / 1,000 tokens = 1,000 completions or 250 groups a second.
    found = simulate(setting(), groups=20_000)
    assert found.completions_per_second == pytest.approx(1000, rel=0.05)
    assert found.driver_busy == pytest.approx(250 * 1e-4, rel=0.05)


def test_a_slow_driver_is_the_limit():
    # 20 ms for a group of 4: 50 groups or 200 completions a second, although the generators make 1,000.
    found = simulate(setting(driver_seconds=0.02), groups=20_000)
    assert found.completions_per_second == pytest.approx(200, rel=0.05)
    assert found.driver_busy == pytest.approx(1.0, rel=0.01)
    assert found.wait_seconds > 1


def test_slow_verifiers_are_the_limit():
    # 2 verifiers, 10 ms for a completion: 200 completions a second.
    found = simulate(setting(verifiers=2, verifier_seconds=0.01), groups=2000)
    assert found.completions_per_second == pytest.approx(200, rel=0.05)
