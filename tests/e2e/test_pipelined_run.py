"""One pipelined run with the real engines and with most options of a stage at once, audited."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from coin_problems import coin_overrides
from tiny_run import run_tiny

from vt_ray.run.audit import audit

pytestmark = pytest.mark.slow

STAGES = (
    "{name: coins, steps: 6, prompts_per_step: 4, group_size: 4, max_new_tokens: 12, filter_samples: 4, "
    "refill_rounds: 1, gate: {eval_every: 2, samples: 2}},"
    "{name: longer, steps: 3, prompts_per_step: 4, group_size: 4, max_new_tokens: 24, optimizer_state: keep, lam: 2.0, "
    "length_reward: 0.2, truncated: mask}"
)


def test_a_pipelined_run_of_two_stages_is_stale_within_its_bound_and_audits_clean(coin_runs):
    options = ["run_name=ahead", "signal=pipelined", "tracker.estimator=history", "signal.mgpo.kl_coef=0.01"]
    done = run_tiny(coin_runs, *coin_overrides(coin_runs / "problems", STAGES), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    run = coin_runs / "ahead"
    coins, longer = audit(run)
    assert coins.faults == longer.faults == []
    assert (coins.steps, longer.steps) == (6, 3)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["staleness_max"] for line in lines] == [0, 1, 1, 1, 1, 1, 0, 1, 1]
    assert [line.get("probe_accuracy") is not None for line in lines] == [False, True] * 3 + [False] * 3
    # Tokens of an older weight version are off-policy, and the KL estimate shows it.
    assert max(line["rollout_kl"] for line in lines if line["staleness_max"]) > 1e-6
    pool = json.loads((run / "rl/coins/pool.json").read_text())
    assert 0 < len(pool) <= 64
    rows = pq.read_table(run / "rollouts/coins/step_000003.parquet").to_pylist()
    assert {version for row in rows for version in row["weight_versions"]} <= {1, 2}
    assert len(pq.read_table(run / "rl/longer/checkpoints/step_000003/tracker.parquet")) > 0
