"""Whether the learner's rows give the model's own log-probabilities: measured with the model itself when it is opened.

    random sequences --each alone, transformers' eager attention-----------> reference --embeddings shaken--> rounding
          |                                                                      |                                |
          +---------packed as in training, the configured attention--> found ----+--> gap --refused where above---+
          +---------packed, other tokens in every second sequence------------------> change of the rest, refused

The comparison finds an attention that leaves out a sliding window, a softcap or sinks. A model whose packed sequences
leak into each other (recurrent and hybrid ones) may do so by less than the rounding of bfloat16. The second comparison
finds it: a sequence is computed twice by the same sums, so that rounding changes nothing. No architecture is known by
its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from vt_ray.algorithms.packing import Row, TrainSequence, make_row, pack, stack
from vt_ray.config import ConfigError
from vt_ray.engines.learner_spec import LearnerSpec

# The reference is eager attention: transformers' sdpa leaves out a softcap.
REFERENCE = "eager"
# Tokens of the short sequences, and of the long one where the config names no window.
SHORT, LONG = 16, 48
# The long sequence passes a window by so many tokens. Eager attention over a longer one would need too much memory.
BEYOND, LONGEST_WINDOW = 32, 4096
# Differences are averaged over so many neighbouring tokens: a leak may reach only the first few of a sequence.
BLOCK = 8
# How far the gap may exceed what rounding does, and nats that are rounding in any case. Measured on a CPU with 20 small
# architectures of random weights, the gap of a right attention was 0.3 to 1.5 times the rounding; that of a wrong one
# was 100 times and more in float32, 30 and more in bfloat16, but 1 to 7 for leaks of recurrent layers. SmolLM2-135M in
# bfloat16: 0.4 as it is, 6.5 where packed sequences leak, 7 and more where a window is left out.
ROUNDING_FACTOR, ROUNDING_FLOOR = 3.0, 5e-6

LEAKING = (
    "packed sequences leak into each other; take learner.row_tokens=1 (each sequence a row of its own), "
    "learner.share_prompts=false and model.attention=sdpa"
)

# A micro-batch -> log-probabilities of its targets, 0 where nothing weighs.
Answer = Callable[[Row], torch.Tensor]


@torch.no_grad()
def refuse_unlike_rows(
    spec: LearnerSpec, network: torch.nn.Module, answer: Answer, batches: Callable[[Sequence[TrainSequence]], list[Row]]
) -> None:
    """Raises ConfigError where rows as the learner computes them do not give the model's own log-probabilities.

    `network` is the Hugging Face model behind `answer`; `batches` makes the learner's micro-batches of sequences.
    Collective: all ranks call it, and all raise or none.
    """
    kernel, shared = network.config._attn_implementation, spec.learner.sequence_parallel_size > 1
    window, context = window_of(network.config)
    model = f"{type(network).__name__} ({spec.model_path})"
    if window > LONGEST_WINDOW and kernel not in (REFERENCE, "sdpa", "flash_attention_2"):
        raise ConfigError(
            f"{model} attends within {window} tokens, more than the {LONGEST_WINDOW} that {kernel} is tried with: take "
            "model.attention=sdpa and learner.share_prompts=false"
        )
    sequences = random_sequences(window, context, spec.learner.row_tokens, network.config.get_text_config().vocab_size)
    with attention_of(network, REFERENCE):
        sequences = with_reference(answer, sequences)
        alone = stack([make_row([s]) for s in sequences], 1)
        with shaken_embeddings(network):
            rounding = _over_ranks(worst_gap(answer, alone))
    limit = max(ROUNDING_FACTOR * rounding, ROUNDING_FLOOR)

    def gap_under(name: str, rows: list[Row], training: bool = False) -> float:
        with attention_of(network, name, training):
            return _over_ranks(worst_gap(answer, rows))

    # Ranks share a row in training mode only.
    gap = gap_under(kernel, batches(sequences), training=shared)
    if gap <= limit and shared:
        return
    if gap <= limit:
        with attention_of(network, kernel):
            leak = _over_ranks(leak_between(answer, batches, sequences))
        # Experts take the tokens of all sequences in one product each, whose rounding follows the number of its tokens.
        if leak <= (limit if _has_experts(network.config) else ROUNDING_FLOOR):
            return
        raise ConfigError(
            f"{model}: log-probabilities of a sequence change by {leak:.2g} nats under {kernel} with the tokens of "
            f"other sequences in its row: {LEAKING}"
        )
    if shared:
        remedy = "take learner.sequence_parallel_size=1"
    elif gap_under("sdpa", stack(pack(sequences, spec.learner.row_tokens), 1)) <= limit:
        remedy = "take model.attention=sdpa and learner.share_prompts=false"
    elif gap_under("sdpa", alone) <= limit:
        remedy = LEAKING
    else:
        remedy = "no attention of the learner computes this architecture: take another model"
    raise ConfigError(
        f"{model}: log-probabilities of the learner's rows under {kernel} differ by {gap:.2g} nats from the model's "
        f"own, each sequence alone under eager attention; rounding explains {limit:.2g}: {remedy}"
    )


def window_of(config: Any) -> tuple[int, int]:
    """The longest attention window that a model's config names and its context passes, 0 for none; the context, in
    tokens, 0 where none is named."""
    values = {k: v for part in (config, config.get_text_config()) for k, v in part.to_dict().items()}
    context = values.get("max_position_embeddings") or 0
    named = [v for k, v in values.items() if ("window" in k or "chunk" in k) and isinstance(v, int)]
    return max((v for v in named if not context or v < context), default=0), context


def random_sequences(window: int, context: int, row_tokens: int, vocabulary: int) -> list[TrainSequence]:
    """Random tokens: two completions of one prompt, a sequence of the same length, a sequence longer than `window`.

    Rows of `row_tokens` hold two of the short ones where they hold two sequences at all. A prompt of one token lets
    the log-probabilities begin where a sequence begins: some leaks reach only the first tokens.
    """
    dice = torch.Generator().manual_seed(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (count,), generator=dice).tolist())

    short = max(min(SHORT, row_tokens // 2), 2)
    long = max(LONG, min(window, LONGEST_WINDOW) + BEYOND)
    prompt = tokens(short // 2)
    half, long = short - len(prompt), min(long, context - 1) if context > 1 else long
    parts = [(prompt, half), (prompt, half), (tokens(1), short - 1), (tokens(1), long)]
    return [TrainSequence(start, tokens(count), 1.0) for start, count in parts]


@contextmanager
def attention_of(network: torch.nn.Module, name: str, training: bool = False) -> Iterator[None]:
    """The network under the attention `name`, uncompiled, without dropout unless `training`."""
    chosen, was_training = network.config._attn_implementation, network.training
    network.config._attn_implementation = name
    network.train(training)
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        network.config._attn_implementation = chosen
        network.train(was_training)


@contextmanager
def shaken_embeddings(network: torch.nn.Module) -> Iterator[None]:
    """Random relative changes of the token embeddings, of the size of the dtype's rounding: their effect is about as
    large as that of two ways to round the same sums."""
    dice = torch.Generator().manual_seed(1)

    def shake(module: torch.nn.Module, inputs: Any, embeddings: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(embeddings.shape, generator=dice).to(embeddings.device)
        return (embeddings.float() * (1 + torch.finfo(embeddings.dtype).eps * noise)).to(embeddings.dtype)

    hook = network.get_input_embeddings().register_forward_hook(shake)
    try:
        yield
    finally:
        hook.remove()


def with_reference(answer: Answer, sequences: Sequence[TrainSequence]) -> list[TrainSequence]:
    """The sequences with the log-probabilities that `answer` gives to each alone, as `rollout_logprobs`."""
    found = [answer(stack([make_row([s])], 1)[0])[0] for s in sequences]
    return [
        replace(s, rollout_logprobs=logprobs[len(s.prompt_ids) - 1 : -1].tolist())
        for s, logprobs in zip(sequences, found, strict=True)
    ]


def worst_gap(answer: Answer, batches: Sequence[Row]) -> float:
    """The largest mean difference of BLOCK neighbours from their `rollout_logprobs`, in nats; infinity where a
    log-probability is no number."""
    worst = 0.0
    for batch in batches:
        gaps = (answer(batch) - batch.rollout_logprobs).abs()[batch.token_weights > 0]
        for part in gaps.nan_to_num(nan=float("inf")).split(BLOCK):
            worst = max(worst, float(part.mean()))
    return worst


def leak_between(
    answer: Answer, batches: Callable[[Sequence[TrainSequence]], list[Row]], sequences: Sequence[TrainSequence]
) -> float:
    """The largest change of a log-probability, in nats, where other sequences of its row have other tokens: first each
    of odd number, then each of even number has its completion reversed. Infinity for a change that is no number.

    0 where `answer` does not give the same twice: nothing can be told then.
    """
    worst = 0.0
    for kept in (0, 1):
        as_is = [replace(s, token_weight=float(i % 2 == kept)) for i, s in enumerate(sequences)]
        other = [s if s.token_weight else replace(s, completion_ids=s.completion_ids[::-1]) for s in as_is]
        for row, changed in zip(batches(as_is), batches(other), strict=True):
            first, again, with_other = answer(row), answer(row), answer(changed)
            change = (first - with_other).abs()[row.token_weights > 0].nan_to_num(nan=float("inf"))
            if first.equal(again) and len(change):
                worst = max(worst, float(change.max()))
    return worst


def _has_experts(config: Any) -> bool:
    values = config.get_text_config().to_dict()
    return any("expert" in key and isinstance(value, int) and value > 1 for key, value in values.items())


def _over_ranks(value: float) -> float:
    if not torch.distributed.is_initialized():
        return value
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    largest = torch.tensor(value, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(largest, op=torch.distributed.ReduceOp.MAX)
    return float(largest)
