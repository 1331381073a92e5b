"""The NLL of a completion is that of the model alone, for any packing, ZeRO stage and number of ranks."""

from __future__ import annotations

import random
import sys
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import ray
import test_ranks
import torch
from ray import cloudpickle

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.likelihood import completion_nll
from vt_ray.engines.training import TrainingEngine

pytestmark = pytest.mark.slow
cloudpickle.register_pickle_by_value(sys.modules[__name__])
cloudpickle.register_pickle_by_value(test_ranks)


def sequences() -> list[TrainSequence]:
    """Eleven sequences of unlike lengths, three of them with one prompt."""
    dice = random.Random(1)
    prompts = [tuple(dice.randrange(4, 200) for _ in range(dice.randrange(2, 12))) for _ in range(9)]
    made = [
        TrainSequence(p, np.array([dice.randrange(4, 200) for _ in range(dice.randrange(1, 30))]), 0.0) for p in prompts
    ]
    return [*made, *(TrainSequence(prompts[-1], np.array([7, 8, 9][:n]), 0.0) for n in (1, 3))]


def measured(spec: LearnerSpec, shares: list[TrainSequence]) -> tuple[list[float], float]:
    """The NLL of each sequence, and the SFT loss of the first one."""
    with closing(TrainingEngine(spec)) as engine:
        nll = completion_nll(engine, shares)
        first = replace(sequences()[0], token_weight=1 / len(sequences()[0].completion_ids))
        return nll, engine.sft_step(engine.rows([first] if engine.rank == 0 else []))["loss"]


def alone(base_model) -> list[float]:
    """From the logits of transformers, one sequence at a time."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base_model, dtype=torch.float32)
    found = []
    for s in sequences():
        ids = torch.tensor([[*s.prompt_ids, *s.completion_ids]])
        with torch.no_grad():
            logprobs = model(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        found.append(-logprobs[len(s.prompt_ids) - 1 :].mean().item())
    return found


@pytest.mark.parametrize("learner", [{}, {"row_tokens": 1}, {"share_prompts": True, "rows_per_batch": 1}])
def test_packing_and_shared_prompts_do_not_change_the_nll(one_rank, base_model, learner):
    nll, loss = ray.get(one_rank.call.remote(measured, test_ranks.spec(base_model, **learner), sequences()))
    assert nll == pytest.approx(alone(base_model), abs=1e-4)
    assert loss == pytest.approx(nll[0], abs=1e-5)


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_ranks_with_unlike_shares_measure_their_own_sequences(two_ranks, base_model, zero_stage):
    expected, spec = alone(base_model), test_ranks.spec(base_model, zero_stage=zero_stage)
    shares = [sequences(), []]
    found = ray.get([r.call.remote(measured, spec, share) for r, share in zip(two_ranks, shares, strict=True)])
    assert found[0][0] == pytest.approx(expected, abs=1e-4) and found[1][0] == []


def test_ranks_that_share_rows_each_have_a_part_of_the_mean(two_ranks, base_model):
    spec = test_ranks.spec(base_model, rows_per_batch=1, sequence_parallel_size=2)
    parts = [nll for nll, _ in ray.get([r.call.remote(in_parts, spec) for r in two_ranks])]
    assert [a + b for a, b in zip(*parts, strict=True)] == pytest.approx(alone(base_model), abs=1e-4)


def in_parts(spec: LearnerSpec) -> tuple[list[float], float]:
    with closing(TrainingEngine(spec)) as engine:
        return completion_nll(engine, sequences()), 0.0
