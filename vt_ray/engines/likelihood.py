"""The likelihood of completions under a learner's weights: a forward pass without a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.engines.training import TrainingEngine


@torch.no_grad()
def completion_nll(engine: TrainingEngine, sequences: Sequence[TrainSequence]) -> list[float]:
    """Returns the mean negative log-likelihood of each completion of this rank, in nats per token.

    Collective: call it on all ranks, with any number of sequences. Ranks that share rows each return their part of the
    means; the sum of the parts is the mean. The SFT loss of a batch with one sequence is the same number.
    """
    # `advantage` is not used here: it carries the index of the sequence through the packing.
    numbered = [
        replace(s, token_weight=1 / len(s.completion_ids), advantage=float(index)) for index, s in enumerate(sequences)
    ]
    means = torch.zeros(len(numbered), dtype=torch.float64, device=engine.device)
    for batch, logprobs in engine.logprobs(engine.rows(numbered)):
        computed = batch.token_weights > 0
        nll = -(batch.token_weights * logprobs)[computed]
        means.index_add_(0, batch.advantages[computed].long(), nll.double())
    return [float(mean) for mean in means]
