"""A generation engine on Hugging Face transformers: one completion at a time, short enough to read, slow.

It implements `GenerationEngine` of vt_ray/engines/generation.py. Use it with
cluster.generation_engine=transformers_engine:TransformersEngine and this folder on PYTHONPATH.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from vt_ray.algorithms.checksum import checksum
from vt_ray.engines.generation import EngineSpec
from vt_ray.engines.weights import Bucket, open_bucket
from vt_ray.records import Completion, Prompt, Rollouts, Sampling


class TransformersEngine:
    """Forward passes and weight loads take turns under one lock, so no token is sampled from half-loaded weights."""

    lost_a_worker = False  # this engine has no worker processes

    def __init__(self, spec: EngineSpec):
        self.context_tokens = spec.context_tokens
        self.model = AutoModelForCausalLM.from_pretrained(spec.model_path, dtype=getattr(torch, spec.dtype)).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(spec.model_path)
        self.weight_version, self.proven, self._awake = -1, True, True
        self._turn = threading.Condition()
        self._seconds, self._began = 0.0, 0.0

    def open_batch(self, sampling: Sampling) -> TransformersBatch:
        return TransformersBatch(self, sampling)

    def token_logprobs(self, token_ids: Sequence[int]) -> list[float]:
        if not self.proven:
            raise RuntimeError("the engine holds other weights than were sent: load weights again")
        with self._working():
            logprobs = self._logprobs(token_ids, 1.0)[:-1]
        return logprobs.gather(1, torch.tensor(token_ids[1:])[:, None])[:, 0].tolist()

    def complete(self, prompt: Prompt, sample: int, sampling: Sampling) -> Completion:
        """Samples one completion with the seed of its number. The weights may change between two tokens."""
        dice = torch.Generator().manual_seed(prompt.seeds[sample])
        began, end = time.monotonic(), self.tokenizer.eos_token_id
        tokens: list[int] = []
        logprobs: list[float] = []
        runs: list[tuple[int, int]] = []
        for _ in range(min(sampling.max_tokens, self.context_tokens - len(prompt.token_ids))):
            with self._working():
                next_logprobs = self._logprobs([*prompt.token_ids, *tokens], sampling.temperature)[-1]
                version = self.weight_version
            token = _draw(next_logprobs, sampling, dice)
            tokens.append(token)
            logprobs.append(float(next_logprobs[token]))
            before = runs.pop()[1] if runs and runs[-1][0] == version else 0
            runs.append((version, before + 1))
            if token == end:
                break
        stopped = tokens[-1] == end
        return Completion(
            sample=sample,
            token_ids=np.array(tokens, np.int32),
            rollout_logprobs=np.array(logprobs, np.float32),
            text=self.tokenizer.decode(tokens[:-1] if stopped else tokens, skip_special_tokens=True),
            finish_reason="stop" if stopped else "length",
            version_runs=tuple(runs),
            seconds=time.monotonic() - began,
        )

    def load_weights(self, arrivals: Iterable[Bucket], version: int, place: int = 0) -> dict[str, int | None]:
        held: dict[str, int | None] = {}
        sent: dict[str, int | None] = {}
        with self._turn:
            self.proven = False
            tensors = self.model.state_dict()
            for bucket in arrivals:
                for name, tensor in open_bucket(bucket):
                    tensors[name].copy_(tensor)
                sent |= {entry.name: entry.checksum for entry in bucket.entries}
            # Read back from the model: a tensor that was not taken over shows its old value.
            held |= {name: checksum(tensors[name]) for name in sent}
            self.weight_version, self.proven = version, held == sent
            self._turn.notify_all()
        return held

    def pause(self) -> None:
        self.proven = False

    def sleep(self) -> None:
        self._awake = False

    def wake_up(self) -> None:
        with self._turn:
            self._awake = True
            self._turn.notify_all()

    def busy_seconds(self) -> float:
        return self._seconds

    def stuck_seconds(self) -> float:
        began = self._began
        return time.monotonic() - began if began else 0.0

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Waits until the weights are proven and the engine is awake, then holds them for one forward pass."""
        with self._turn:
            self._turn.wait_for(lambda: self.proven and self._awake)
            self._began = time.monotonic()
            try:
                yield
            finally:
                self._seconds += time.monotonic() - self._began
                self._began = 0.0

    @torch.no_grad()
    def _logprobs(self, token_ids: Sequence[int], temperature: float) -> torch.Tensor:
        """[T, V] in nats, after temperature: the trainer divides its logits by the same temperature."""
        return torch.log_softmax(self.model(torch.tensor([list(token_ids)])).logits[0].float() / temperature, -1)


class TransformersBatch:
    """The prompts of one caller; completions are computed by the thread that iterates."""

    def __init__(self, engine: TransformersEngine, sampling: Sampling):
        self._engine, self._sampling = engine, sampling
        self._waiting: queue.SimpleQueue[tuple[Hashable, Prompt] | None] = queue.SimpleQueue()
        self._abandoned = False

    def submit(self, prompts: Iterable[tuple[Hashable, Prompt]]) -> None:
        for item in prompts:
            self._waiting.put(item)

    def close(self) -> None:
        self._waiting.put(None)

    def abandon(self) -> None:
        self._abandoned = True
        self.close()

    def __iter__(self) -> Iterator[tuple[Hashable, Rollouts]]:
        while (item := self._waiting.get()) is not None and not self._abandoned:
            ticket, prompt = item
            completions = tuple(self._engine.complete(prompt, i, self._sampling) for i in range(len(prompt.seeds)))
            yield ticket, Rollouts(prompt.problem, prompt.token_ids, completions, prompt.step, prompt.seeds)


def _draw(logprobs: torch.Tensor, sampling: Sampling, dice: torch.Generator) -> int:
    """One token id from the nucleus of `top_p`, of at most `top_k` tokens."""
    ranked = logprobs.exp().sort(descending=True)
    outside = ranked.values.cumsum(0) - ranked.values >= sampling.top_p
    if sampling.top_k:
        outside[sampling.top_k :] = True
    return int(ranked.indices[torch.multinomial(ranked.values.masked_fill(outside, 0.0), 1, generator=dice)])
