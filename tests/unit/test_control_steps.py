"""signal.control_sft_like: the SFT control trains for the time of an RL run."""

import json

import pytest

from vt_ray.config import Config, ConfigError, SignalConfig
from vt_ray.run.control_steps import sft_steps_like


def finished_run(root, sft_seconds=(9.0, 0.1, 0.1, 0.2), rl_seconds=(3.0, 2.0)):
    for name, lines in (
        ("sft/metrics.jsonl", [{"seconds": seconds} for seconds in sft_seconds]),
        ("metrics.jsonl", [{"seconds": {"total": seconds, "generate": 1.0}} for seconds in rl_seconds]),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "summary.json").write_text("{}")
    return root


def test_the_steps_take_the_time_of_the_rl_steps(tmp_path):
    assert sft_steps_like(finished_run(tmp_path)) == round(5.0 / 0.15)
    assert sft_steps_like(finished_run(tmp_path, rl_seconds=(0.01,))) == 1


def test_the_setting_gives_the_steps_unless_they_are_set(tmp_path):
    like = str(finished_run(tmp_path))
    assert Config(signal=SignalConfig(control="sft", control_sft_like=like)).signal.control_sft_steps == 33
    set_already = SignalConfig(control="sft", control_sft_like=like, control_sft_steps=7)
    assert Config(signal=set_already).signal.control_sft_steps == 7


@pytest.mark.parametrize("missing", ["summary.json", "metrics.jsonl", "sft/metrics.jsonl"])
def test_an_unfinished_run_or_a_run_without_sft_or_rl_is_refused(tmp_path, missing):
    (finished_run(tmp_path) / missing).unlink()
    with pytest.raises(ConfigError, match="is no finished run with SFT and RL"):
        sft_steps_like(tmp_path)
