"""One caller's prompts in the engine, and its groups as they are completed.

(ticket, Prompt) --submit, one request per seed--> EngineLoop --Finished--> Completion ... --> (ticket, Rollouts)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vt_ray.engines.vllm.engine_loop import EngineLoop, Finished, Inbox
from vt_ray.records import Completion, Prompt, Rollouts, Sampling


@dataclass(frozen=True)
class Request:
    """One completion to generate. `params` are vLLM's SamplingParams."""

    token_ids: tuple[int, ...]
    params: Any
    priority: int = 0


@dataclass
class _Group:
    prompt: Prompt
    completions: dict[int, Completion] = field(default_factory=dict)


class RequestBatch:
    """Implements `GenerationBatch`. Prompts may be submitted while another thread iterates."""

    def __init__(self, loop: EngineLoop, tokenizer: Any, context_tokens: int, sampling: Sampling):
        self._loop, self._tokenizer = loop, tokenizer
        self._context_tokens, self._sampling = context_tokens, sampling
        self._inbox = Inbox()
        self._groups: dict[Hashable, _Group] = {}

    def submit(self, prompts: Iterable[tuple[Hashable, Prompt]]) -> None:
        try:
            for ticket, prompt in prompts:
                _refuse(prompt, self._sampling, self._context_tokens)
                requests = [((ticket, i), self._request(prompt, seed)) for i, seed in enumerate(prompt.seeds)]
                self._groups[ticket] = _Group(prompt)
                self._loop.submit(self._inbox, requests)
        except Exception as error:  # raised in the thread that iterates
            self._inbox.put(error)

    def close(self) -> None:
        """No more prompts will come: the iteration ends when all are done."""
        self._inbox.put(Finished(None, None, 0.0))

    def abandon(self) -> None:
        """Drops unfinished prompts: the iteration ends."""
        unfinished = bool(self._groups)
        self._groups.clear()
        self.close()
        if unfinished:
            self._loop.withdraw(self._inbox)

    def __iter__(self) -> Iterator[tuple[Hashable, Rollouts]]:
        closed = False
        while self._groups or not closed:
            finished = self._inbox.get()
            if finished.key is None:
                closed = True
                continue
            ticket, sample = finished.key
            group = self._groups.get(ticket)
            if group is None:
                continue
            group.completions[sample] = self._completion(sample, finished)
            if len(group.completions) == len(group.prompt.seeds):
                yield ticket, self._rollouts(self._groups.pop(ticket))

    def _request(self, prompt: Prompt, seed: int) -> Request:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling, room = self._sampling, self._context_tokens - len(prompt.token_ids)
        params = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=min(sampling.max_tokens, room),
            seed=seed,
            logprobs=0 if sampling.logprobs else None,
            # A few lists per completion instead of one object per token.
            flat_logprobs=True,
            # Text is decoded once, from all tokens, and no output is needed before the last token.
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            # These parameters belong to one request: vLLM need not copy them deeply.
            skip_clone=True,
        )
        return Request(prompt.token_ids, params)

    def _completion(self, sample: int, finished: Finished) -> Completion:
        output = finished.output.outputs[0]
        token_ids = list(output.token_ids)
        if self._sampling.logprobs and output.logprobs.token_ids != token_ids:
            raise RuntimeError(f"the engine's log-probabilities of sample {sample} are not those of its tokens")
        cut = output.finish_reason == "length"
        # The EOS token is not part of the text.
        without_eos = token_ids if cut else token_ids[:-1]
        return Completion(
            sample=sample,
            token_ids=np.array(token_ids, np.int32),
            rollout_logprobs=np.array(output.logprobs.logprobs if self._sampling.logprobs else (), np.float32),
            text=self._tokenizer.decode(without_eos, skip_special_tokens=True, clean_up_tokenization_spaces=False),
            finish_reason="length" if cut else "stop",
            version_runs=tuple((int(span.version), span.end - span.start) for span in output.weight_versions),
            seconds=finished.seconds,
        )

    @staticmethod
    def _rollouts(group: _Group) -> Rollouts:
        prompt, done = group.prompt, group.completions
        completions = tuple(done[i] for i in range(len(done)))
        return Rollouts(prompt.problem, prompt.token_ids, completions, prompt.step, prompt.seeds)


def _refuse(prompt: Prompt, sampling: Sampling, context_tokens: int) -> None:
    """Raises ValueError for a prompt or sampling that allows no completion."""
    name, length = prompt.problem.question_id, len(prompt.token_ids)
    if not 0 < length < context_tokens:
        raise ValueError(
            f"the prompt of {name} has {length} tokens; an engine with a context of {context_tokens} takes 1 to "
            f"{context_tokens - 1}: lower data.max_prompt_tokens, or raise max_new_tokens"
        )
    if not prompt.seeds:
        raise ValueError(f"the prompt of {name} has no seeds: one for each completion wanted, at least 1")
    if sampling.max_tokens < 1:
        raise ValueError(f"max_new_tokens={sampling.max_tokens} for {name}: a completion has at least 1 token")
