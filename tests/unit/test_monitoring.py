"""The figures for Prometheus: their names and values, and the names that the Grafana dashboard asks for."""

import json
import re
import time
from pathlib import Path
from typing import get_type_hints

import pytest

from vt_ray.actors import monitoring
from vt_ray.actors.monitoring import (
    ENGINE_GAUGES,
    ENGINE_SUMS,
    PARTS,
    Exporter,
    LineExporter,
    export_engine,
    line_numbers,
)
from vt_ray.engines.vllm.counters import EngineCounters
from vt_ray.run.step_line import EngineFigures, EvaluationFigures, StepLine, StepSeconds, SyncFigures

DASHBOARD = json.loads((Path(__file__).parents[2] / "launch/grafana_dashboard.json").read_text())
OF_PART = dict(zip(PARTS, (StepSeconds, SyncFigures, EngineFigures, EvaluationFigures), strict=True))


@pytest.fixture
def recorded(monkeypatch):
    """{(name, actor): value} of all gauges and counters, in place of Ray's."""
    values = {}

    class Recorded:
        def __init__(self, name, description, tag_keys):
            assert re.fullmatch(r"vt_ray_\w+", name, re.ASCII) and description and tag_keys == ("run", "actor")
            self.name = name

        def set(self, value, tags):
            values[self.name, tags["actor"]] = value

        def inc(self, value, tags):
            values[self.name, tags["actor"]] = values.get((self.name, tags["actor"]), 0) + value

    monkeypatch.setattr(monitoring, "Gauge", Recorded)
    monkeypatch.setattr(monitoring, "Counter", Recorded)
    return values


def test_a_step_is_exported_by_its_numbers(recorded):
    line = {"phase": "rl", "step": 3, "reward_mean": 0.5, "mfu": None, "skipped": True, "loss": float("nan")}
    line |= {"seconds": {"total": 2.5}, "generation": {"running": 4.0}, "busy": {"generator_0": 0.75}}
    line |= {"p_c_histogram": [1, 2], "verify": {"completions": 8}, "loss_my term!": 1.5, "evaluation": None}
    Exporter("demo", "driver").line(line)
    assert recorded == {
        ("vt_ray_step_step", "driver"): 3,
        ("vt_ray_step_reward_mean", "driver"): 0.5,
        ("vt_ray_step_seconds_total", "driver"): 2.5,
        ("vt_ray_step_generation_running", "driver"): 4.0,
        ("vt_ray_step_loss_my_term_", "driver"): 1.5,
        ("vt_ray_busy_share", "generator_0"): 0.75,
    }


def test_a_step_of_sft_has_names_of_its_own(recorded):
    Exporter("demo", "driver").line({"phase": "sft", "step": 3, "loss": 0.5, "seconds": 2.5, "heldout_loss": None})
    names = {"vt_ray_sft_step": 3, "vt_ray_sft_loss": 0.5, "vt_ray_sft_seconds": 2.5}
    assert recorded == {(name, "driver"): value for name, value in names.items()}


def test_the_newest_line_is_exported_again_and_again_until_the_end(recorded, monkeypatch):
    monkeypatch.setattr(monitoring, "EXPORT_S", 0.01)
    lines, name = LineExporter("demo"), ("vt_ray_step_step", "driver")
    LineExporter("demo").close()
    for step in (1, 2):
        lines.publish({"step": step})
        for _ in range(2):
            recorded.clear()
            deadline = time.monotonic() + 30
            while recorded.get(name) != step:
                assert time.monotonic() < deadline
                time.sleep(0.001)
    lines.close()
    recorded.clear()
    time.sleep(0.05)
    assert not recorded


def test_the_sums_of_an_engine_become_counters(recorded):
    exporter, counters = Exporter("demo", "generator_0"), EngineCounters(queued=lambda: 0)
    for tokens in (5, 9, 9):
        counters.tokens = tokens
        counters.running = tokens
        exporter.engine({**counters.values(), "memory_gb_max": None})
    assert recorded["vt_ray_engine_tokens_total", "generator_0"] == 9
    assert recorded["vt_ray_engine_running", "generator_0"] == 9
    assert ("vt_ray_engine_memory_gb_max", "generator_0") not in recorded


def test_the_exported_counters_are_those_of_the_engine():
    values = EngineCounters(queued=lambda: 0).values().keys() | {"memory_gb_max"}
    assert ENGINE_GAUGES.keys() | ENGINE_SUMS.keys() <= values


def test_an_engine_without_counters_starts_no_thread():
    export_engine("demo", "generator_0", object())


def test_the_dashboard_asks_for_exported_figures_only():
    line = {name: 0 for name in get_type_hints(StepLine)}
    line |= {part: dict.fromkeys(get_type_hints(keys), 0) for part, keys in OF_PART.items()}
    sft = {"phase": "sft", "loss": 0, "heldout_loss": 0, "mfu": 0, "tokens_per_second": 0}
    exported = {"vt_ray_busy_share", *line_numbers(line), *line_numbers(sft)}
    exported |= {f"vt_ray_engine_{name}" for name in ENGINE_GAUGES}
    exported |= {f"vt_ray_engine_{name}_total" for name in ENGINE_SUMS}
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    asked.append(DASHBOARD["templating"]["list"][1]["query"]["query"])
    names = {name for expression in asked for name in re.findall(r"ray_(vt_ray_\w+)", expression)}
    assert len(names) > 30 and names <= exported
    assert all(re.search(r'\{run=~"\$run"\}', expression) for expression in asked[:-1])
    assert "ray_vt_ray_(step|sft)_step" in asked[-1]
