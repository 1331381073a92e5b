"""The same gradients whatever the ranks, the ZeRO stage and the packing: all normalisers are global."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest
import ray
import torch

from vt_ray.algorithms.packing import TrainSequence, deal, pack, rl_token_weight
from vt_ray.config import LearnerConfig, MgpoConfig, ModelConfig, OptimizerConfig
from vt_ray.engines.training import LearnerSpec, TrainingEngine, init_process_group

pytestmark = pytest.mark.slow


@ray.remote
class Rank:
    """A learner rank that shows its gradients instead of stepping."""

    def __init__(self, rank: int, world_size: int, port: int):
        torch.set_num_threads(1)
        self.rank = rank
        init_process_group(rank, world_size, "127.0.0.1", port)

    def gradients(self, spec: LearnerSpec, sequences: list[TrainSequence], row_tokens: int) -> dict[str, torch.Tensor]:
        from deepspeed.utils import safe_get_full_grad

        engine = TrainingEngine(spec)
        engine.engine.step = lambda: None
        # DeepSpeed knows the norm from the step that is left out.
        engine.engine.get_global_grad_norm = lambda: 0.0
        engine.mgpo_step(pack(sequences, row_tokens), MgpoConfig(), temperature=0.9)
        out = {}
        for name, parameter in engine.module.named_parameters():
            full = parameter.grad if spec.learner.zero_stage == 0 else safe_get_full_grad(parameter)
            out[name] = full.detach().clone()
        engine.close()
        return out


def learner_ranks(world_size: int) -> list:
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    return [Rank.options(num_cpus=0.1).remote(rank, world_size, port) for rank in range(world_size)]


def batch(num_groups: int = 5, group_size: int = 4) -> list[TrainSequence]:
    rng = random.Random(0)
    sequences = []
    for _ in range(num_groups):
        prompt = tuple(rng.randrange(4, 200) for _ in range(rng.randrange(3, 12)))
        for _ in range(group_size):
            completion = tuple(rng.randrange(4, 200) for _ in range(rng.randrange(1, 30)))
            logprobs = tuple(rng.uniform(-7, -5) for _ in completion)
            weight = rl_token_weight(num_groups, group_size, len(completion))
            sequences.append(TrainSequence(prompt, completion, weight, rng.uniform(-2, 2), logprobs))
    return sequences


def spec(base_model: Path, zero_stage: int, rows_per_batch: int = 2) -> LearnerSpec:
    optimizer = OptimizerConfig(lr=1e-3, max_grad_norm=1e9)
    return LearnerSpec(
        str(base_model),
        ModelConfig(),
        optimizer,
        LearnerConfig(zero_stage=zero_stage, rows_per_batch=rows_per_batch),
        10,
        0,
    )


def worst_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Relative to the largest gradient of the tensor."""
    assert a.keys() == b.keys()
    return max(((a[k] - b[k]).abs().max() / a[k].abs().max().clamp(min=1e-8)).item() for k in a)


@pytest.fixture(scope="module")
def reference(cluster, base_model):
    """One rank, ZeRO 0, one sequence a row."""
    (rank,) = learner_ranks(1)
    yield ray.get(rank.gradients.remote(spec(base_model, 0, 1), batch(), 1))
    ray.kill(rank)


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_two_ranks_with_uneven_packed_rows_give_the_gradients_of_one(reference, base_model, zero_stage):
    sequences = batch()
    shares = deal([len(s) for s in sequences], 2)
    # Uneven on purpose: the second rank has fewer rows and fills up with empty ones.
    shares = [shares[0] + shares[1][3:], shares[1][:3]]
    ranks = learner_ranks(2)
    calls = [
        rank.gradients.remote(spec(base_model, zero_stage), [sequences[i] for i in share], 96)
        for rank, share in zip(ranks, shares, strict=True)
    ]
    for gradients in ray.get(calls):
        assert worst_difference(reference, gradients) < 2e-5
    for rank in ranks:
        ray.kill(rank)


def test_packing_does_not_change_the_gradients(reference, base_model):
    (rank,) = learner_ranks(1)
    for row_tokens, rows_per_batch in ((64, 1), (64, 3), (4096, 1)):
        packed = spec(base_model, 1, rows_per_batch)
        gradients = ray.get(rank.gradients.remote(packed, batch(), row_tokens))
        assert worst_difference(reference, gradients) < 2e-5
    ray.kill(rank)
