"""Checks, when a learner is opened, that its packed rows give the model's own log-probabilities.

    random sequences --each alone, transformers' eager attention-----------> reference --embeddings perturbed-> rounding
          |                                                                      |                                |
          +---------packed as in training, the configured attention--> found ----+--> gap --refused if larger-----+
          +---------packed, other tokens in every second sequence------------------> change of the others, refused

The first comparison finds an attention that ignores a sliding window, a softcap or sinks. In recurrent and hybrid
models packed sequences leak into each other, sometimes by less than the rounding of bfloat16. The second comparison
finds such leaks: it computes a sequence twice with the same operations, so rounding changes nothing. There is no list
of architectures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from vt_ray.algorithms.packing import Row, TrainSequence, make_row, pack, stack
from vt_ray.config import ConfigError
from vt_ray.engines.learner_spec import LearnerSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The reference is eager attention: transformers' sdpa ignores a softcap.
REFERENCE = "eager"
# Tokens of the short sequences, and of the long sequence if the config names no window.
SHORT, LONG = 16, 48
# The long sequence exceeds a window by BEYOND tokens. Eager attention over more than LONGEST_WINDOW needs too much
# memory.
BEYOND, LONGEST_WINDOW = 32, 4096
# Differences are averaged over BLOCK neighbouring tokens: a leak may reach only the first few tokens of a sequence.
BLOCK = 8
# The allowed ratio of the gap to the effect of rounding, and nats that count as rounding in any case. Measured on a CPU
# with 20 small architectures of random weights, a right attention had 0.3 to 1.5 times the rounding; a wrong attention
# had 100 times or more in float32, 30 or more in bfloat16, but 1 to 7 for leaks of recurrent layers. SmolLM2-135M in
# bfloat16: 0.4 as it is, 6.5 with leaks between packed sequences, 7 or more without its window.
ROUNDING_FACTOR, ROUNDING_FLOOR = 3.0, 5e-6

LEAKING = (
    "packed sequences leak into each other; take learner.row_tokens=1 (each sequence a row of its own), "
    "learner.share_prompts=false and model.attention=sdpa"
)

# A micro-batch -> log-probabilities of its targets, 0 for tokens without a weight.
RowLogprobs = Callable[[Row], torch.Tensor]
MakeBatches = Callable[[Sequence[TrainSequence]], list[Row]]


@torch.no_grad()
def refuse_unlike_rows(
    spec: LearnerSpec,
    network: PreTrainedModel,
    row_logprobs: RowLogprobs,
    batches: MakeBatches,
) -> None:
    """Raises ConfigError if the learner's rows do not give the model's own log-probabilities.

    `network` is the Hugging Face model behind `row_logprobs`; `batches` makes the learner's micro-batches of sequences.
    Collective: all ranks call it, and either all or none raise.
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
        sequences = with_reference(row_logprobs, sequences)
        alone = stack([make_row([s]) for s in sequences], 1)
        with perturbed_embeddings(network):
            rounding = _over_ranks(worst_gap(row_logprobs, alone))
    limit = max(ROUNDING_FACTOR * rounding, ROUNDING_FLOOR)

    def gap_under(name: str, rows: list[Row], training: bool = False) -> float:
        with attention_of(network, name, training):
            return _over_ranks(worst_gap(row_logprobs, rows))

    # Ranks share rows in training mode only.
    gap = gap_under(kernel, batches(sequences), training=shared)
    if gap <= limit and shared:
        return
    if gap <= limit:
        with attention_of(network, kernel):
            leak = _over_ranks(leak_between(row_logprobs, batches, sequences))
        # Each expert multiplies the tokens of all sequences at once, and the rounding depends on their number.
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
    """Returns the longest attention window in a model's config that is shorter than its context, 0 for none; and the
    context in tokens, 0 if the config names none."""
    values = {k: v for part in (config, config.get_text_config()) for k, v in part.to_dict().items()}
    context = values.get("max_position_embeddings") or 0
    named = [v for k, v in values.items() if ("window" in k or "chunk" in k) and isinstance(v, int)]
    return max((v for v in named if not context or v < context), default=0), context


def random_sequences(window: int, context: int, row_tokens: int, vocabulary: int) -> list[TrainSequence]:
    """Random tokens: two completions of one prompt, a sequence of the same length, a sequence longer than `window`.

    The short sequences fit in pairs into rows of `row_tokens`, if possible. Two prompts have one token, so that the
    log-probabilities start at the second token: some leaks reach only the first tokens.
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
def attention_of(network: PreTrainedModel, name: str, training: bool = False) -> Iterator[None]:
    """Within the block, `network` uses the attention `name`, uncompiled, without dropout unless `training`."""
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
def perturbed_embeddings(network: PreTrainedModel) -> Iterator[None]:
    """Within the block, token embeddings have random relative changes of the size of the dtype's rounding.

    Their effect is about as large as that of two ways to round the same sums.
    """
    dice = torch.Generator().manual_seed(1)

    def shake(module: torch.nn.Module, inputs: Any, embeddings: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(embeddings.shape, generator=dice).to(embeddings.device)
        return (embeddings.float() * (1 + torch.finfo(embeddings.dtype).eps * noise)).to(embeddings.dtype)

    hook = network.get_input_embeddings().register_forward_hook(shake)
    try:
        yield
    finally:
        hook.remove()


def with_reference(row_logprobs: RowLogprobs, sequences: Sequence[TrainSequence]) -> list[TrainSequence]:
    """Returns the sequences with `rollout_logprobs` set to their log-probabilities, each computed alone."""
    found = [row_logprobs(stack([make_row([s])], 1)[0])[0] for s in sequences]
    return [
        replace(s, rollout_logprobs=logprobs[len(s.prompt_ids) - 1 : -1].tolist())
        for s, logprobs in zip(sequences, found, strict=True)
    ]


def worst_gap(row_logprobs: RowLogprobs, batches: Sequence[Row]) -> float:
    """Returns the largest difference from `rollout_logprobs`, averaged over BLOCK neighbours, in nats; infinity for
    NaN."""
    worst = 0.0
    for batch in batches:
        gaps = (row_logprobs(batch) - batch.rollout_logprobs).abs()[batch.token_weights > 0]
        for part in gaps.nan_to_num(nan=float("inf")).split(BLOCK):
            worst = max(worst, float(part.mean()))
    return worst


def leak_between(
    row_logprobs: RowLogprobs,
    batches: MakeBatches,
    sequences: Sequence[TrainSequence],
) -> float:
    """Returns the largest change of a log-probability, in nats, when other sequences of its row get other tokens: first
    the completions of all odd sequences are reversed, then those of all even ones. Infinity for NaN.

    Rows whose log-probabilities differ between two equal calls are left out: they show nothing.
    """
    worst = 0.0
    for kept in (0, 1):
        as_is = [replace(s, token_weight=float(i % 2 == kept)) for i, s in enumerate(sequences)]
        other = [s if s.token_weight else replace(s, completion_ids=s.completion_ids[::-1]) for s in as_is]
        for row, changed in zip(batches(as_is), batches(other), strict=True):
            first, again, with_other = row_logprobs(row), row_logprobs(row), row_logprobs(changed)
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
