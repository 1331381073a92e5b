"""lambda = 0 is GRPO: compared with a GRPO written from its definition, in plain Python and autograd, on a small model.

Nothing of vt_ray is used on the reference's side: rewards in, sequence by sequence, group by group, to the gradient.
"""

import math

import pytest
import torch

from vt_ray.algorithms.aggregation import completion_token_weights
from vt_ray.algorithms.losses import mgpo_loss
from vt_ray.algorithms.mgpo import group_advantages
from vt_ray.algorithms.packing import TrainSequence, make_row
from vt_ray.algorithms.tracker import AccuracyTracker
from vt_ray.config import MgpoConfig, TrackerConfig
from vt_ray.records import AdvantageConfig, GradedGroup, Verdict

VOCABULARY, WIDTH = 13, 6
STATUS = {"+": "correct", "-": "wrong", "?": "unverified"}
# Unlike sizes; unverified answers; groups without a signal.
MARKS = ["+--+-", "++++", "-?+-", "----", "+?", "-+", "+++-+--+"]


class Model(torch.nn.Module):
    """Predicts the next token from the previous token."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.head = torch.nn.Linear(WIDTH, VOCABULARY)

    def logprobs(self, tokens):
        """log p(token[t] | token[t-1]) for t >= 1."""
        logits = self.head(torch.tanh(self.embedding(tokens[:-1])))
        return torch.log_softmax(logits, -1).gather(-1, tokens[1:, None])[:, 0]


def made_groups(seed=0):
    """[[(reward or None, prompt, completion, rollout logprobs)]], off-policy by up to 0.4 nats a token."""
    dice = torch.Generator().manual_seed(seed)
    model, groups = Model(), []
    for marks in MARKS:
        prompt = torch.randint(0, VOCABULARY, (3,), generator=dice)
        group = []
        for mark in marks:
            length = int(torch.randint(1, 9, (), generator=dice))
            completion = torch.randint(0, VOCABULARY, (length,), generator=dice)
            with torch.no_grad():
                exact = model.logprobs(torch.cat([prompt[-1:], completion]))
            noise = 0.8 * torch.rand(length, generator=dice) - 0.4
            reward = None if mark == "?" else float(mark == "+")
            group.append((reward, prompt, completion, exact + noise))
        groups.append(group)
    return groups


def grpo_advantages(rewards):
    """(r - mean) / (std + 1e-6) with the population's std, plain Python; None has no advantage."""
    known = [r for r in rewards if r is not None]
    if len(known) < 2 or min(known) == max(known):
        return [0.0] * len(rewards)
    mean = sum(known) / len(known)
    std = math.sqrt(sum((r - mean) ** 2 for r in known) / len(known))
    return [0.0 if r is None else (r - mean) / (std + 1e-6) for r in rewards]


def grpo_loss(model, groups, clip=0.2):
    """- mean over groups, mean over rollouts, mean over tokens of min(rho A, clip(rho) A)."""
    of_groups = []
    for group in groups:
        advantages = grpo_advantages([reward for reward, *_ in group])
        of_rollouts = []
        for (reward, prompt, completion, rollout), advantage in zip(group, advantages, strict=True):
            if reward is None:
                continue
            new = model.logprobs(torch.cat([prompt, completion]))[-len(completion) :]
            rho = torch.exp(new - rollout)
            terms = torch.min(rho * advantage, torch.clamp(rho, 1 - clip, 1 + clip) * advantage)
            of_rollouts.append(terms.mean())
        of_groups.append(torch.stack(of_rollouts).mean())
    return -torch.stack(of_groups).mean()


def our_loss(model, groups, lam):
    """The loss of the production code: tracker, aggregation, packing, loss."""
    graded = [
        GradedGroup(
            f"q{i}",
            "s",
            tuple(Verdict("unverified" if r is None else "correct" if r else "wrong") for r, *_ in group),
            3,
            tuple(len(c) for _, _, c, _ in group),
            (False,) * len(group),
            None,
        )
        for i, group in enumerate(groups)
    ]
    weights = AccuracyTracker(TrackerConfig()).compute_advantages(graded, 0, AdvantageConfig(lam))
    token_weights = completion_token_weights(graded, "sequence_mean", 99)
    row = make_row(
        [
            TrainSequence(tuple(prompt.tolist()), tuple(completion.tolist()), w, a, tuple(rollout.tolist()))
            for group, weight, ws in zip(groups, weights, token_weights, strict=True)
            for (_, prompt, completion, rollout), a, w in zip(group, weight.advantages, ws, strict=True)
        ]
    )
    logits = model.head(torch.tanh(model.embedding(row.token_ids)))
    trainer = torch.log_softmax(logits, -1).gather(-1, row.targets[:, None])[:, 0]
    return mgpo_loss(trainer, row.rollout_logprobs, row.advantages, row.token_weights, MgpoConfig(lam=lam))[0]


def gradients(loss, model):
    return torch.autograd.grad(loss, list(model.parameters()))


@pytest.mark.parametrize("marks", [*MARKS, "+" * 3 + "-" * 13, "+-" * 8, "?" * 4, "+???"])
def test_the_advantages_of_lambda_zero_are_grpos_bit_for_bit(marks):
    rewards = [None if m == "?" else float(m == "+") for m in marks]
    ours = group_advantages([r or 0.0 for r in rewards], 0.0, [r is not None for r in rewards])
    assert ours.tolist() == grpo_advantages(rewards)


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_gradients_of_lambda_zero_are_grpos_to_float_rounding(seed):
    model, groups = Model(), made_groups(seed)
    theirs, ours = grpo_loss(model, groups), our_loss(model, groups, 0.0)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    for mine, other in zip(gradients(ours, model), gradients(theirs, model), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)


def test_another_lambda_is_not_grpo():
    model, groups = Model(), made_groups()
    theirs, ours = gradients(grpo_loss(model, groups), model), gradients(our_loss(model, groups, 2.0), model)
    assert max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True)) > 1e-3
