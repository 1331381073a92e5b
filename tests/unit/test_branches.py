"""A prompt that is computed once for its group gives the same log-probabilities and gradients as separate copies."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vt_ray.algorithms.packing import Row, TrainSequence, make_row, pack_branches, sequence_ids, stack
from vt_ray.engines.branches import SHARED_PROMPTS, branches
from vt_ray.engines.policy import Policy


def policy(attention: str) -> Policy:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(vocab_size=50, num_key_value_heads=2, attn_implementation=attention, **shape)
    return Policy(Qwen2ForCausalLM(config).double(), chunk_tokens=16).train()


def answers(model: Policy, rows: list[Row]) -> dict[float, torch.Tensor]:
    """The log-probabilities of each completion, by its advantage (unique here). Runs a backward pass, too."""
    found, total = {}, torch.zeros(())
    for batch in stack(rows, 1):
        logprobs, _ = model(batch.token_ids, batch.position_ids, batch.targets, batch.token_weights > 0, 0.7)
        total = total + (logprobs * batch.advantages).sum()
        for name in batch.advantages[batch.token_weights > 0].unique().tolist():
            found[name] = logprobs[(batch.advantages == name) & (batch.token_weights > 0)].detach()
    total.backward()
    return found


def groups(dice: list[tuple[int, list[int]]]) -> list[TrainSequence]:
    """(length of the prompt, lengths of its completions) -> sequences of random tokens with advantages 1, 2, ..."""
    random, made = torch.Generator().manual_seed(3), []

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, 50, (count,), generator=random).tolist())

    for length, completions in dice:
        prompt = tokens(length)
        made += [TrainSequence(prompt, tokens(n), 1.0, float(len(made) + i)) for i, n in enumerate(completions, 1)]
    return made


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.lists(st.integers(1, 12), min_size=1, max_size=4)), min_size=1, max_size=3
    ),
    st.sampled_from([8, 30, 200]),
)
def test_shared_prompts_give_the_same_logprobs_and_gradients(dice, max_tokens):
    sequences = groups(dice)
    shared, alone = policy(SHARED_PROMPTS), policy("sdpa")
    found = answers(shared, pack_branches(sequences, max_tokens))
    expected = answers(alone, [make_row([s]) for s in sequences])
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-5)
    for (name, a), (_, b) in zip(shared.named_parameters(), alone.named_parameters(), strict=True):
        assert (a.grad - b.grad).abs().max() <= 1e-5 * max(b.grad.abs().max(), 1.0), name


def test_a_prompt_is_computed_once_and_its_last_token_in_each_completion():
    a, b, c = (TrainSequence((1, 2, 3), completion, 0.5, 1.0) for completion in ((4, 5), (6, 7, 8), (9,)))
    (row,) = pack_branches([a, b, c], 20)
    assert row.token_ids.tolist() == [1, 2, 3, 4, 3, 6, 7, 3]
    assert row.position_ids.tolist() == [0, 1, 2, 3, 2, 3, 4, 2]
    assert row.targets.tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    assert row.token_weights.tolist() == [0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert sequence_ids(row.position_ids).tolist() == [0, 0, 0, 0, 1, 1, 1, 2]
    laid = branches(row.position_ids.unsqueeze(0))["branches"]
    assert (laid.trunks, laid.branches, laid.shared) == ((1, 4), (2, 3), 2)
    assert laid.places.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert laid.mask[0, 0].int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


def test_completions_that_do_not_fit_with_their_prompt_get_it_again():
    sequences = [TrainSequence((1, 2, 3), (4, 5), 1.0), TrainSequence((1, 2, 3), (6, 7), 1.0)]
    assert sorted(row.token_ids.tolist() for row in pack_branches(sequences, 5)) == [[1, 2, 3, 4], [1, 2, 3, 6]]


def test_several_rows_at_once_are_refused():
    with pytest.raises(ValueError, match="2 rows at once"):
        branches(torch.zeros(2, 3, dtype=torch.int64))
