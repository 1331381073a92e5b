"""Problems as token ids: the chat template, the answer suffix, and the seeds of each question.

Problem + suffix --chat template--> prompt ids          Solution or Trace --> completion ids + EOS

`problem_sets.fitting` finds prompts over `data.max_prompt_tokens` before the run starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import ConfigError, DataConfig
from vt_ray.data.traces.reasoning import completion_text
from vt_ray.data.traces.trace import Trace
from vt_ray.records import Problem, Prompt
from vt_ray.verify.kinds import kind_entry

# Characters of solutions per tokenizer call: a tokenizer keeps about 150 bytes for each token of a call.
CHUNK_CHARS = 500_000
# Enough tokens of a generation prompt to see whether it opens the reasoning, also if each byte is a token.
PROMPT_END_TOKENS = 16


class PromptEncoder:
    """`tokenizer` is a Hugging Face tokenizer with a chat template and an EOS token."""

    def __init__(self, tokenizer: Any, data: DataConfig):
        self.tokenizer = tokenizer
        self.data = data

    def prompt_ids(self, problem: Problem) -> tuple[int, ...]:
        """Raises ConfigError for a prompt over `data.max_prompt_tokens`."""
        ids = self.chat_ids(problem)
        if len(ids) > self.data.max_prompt_tokens:
            raise ConfigError(
                f"prompt of {problem.question_id} ({problem.source}) has {len(ids)} tokens, the limit is "
                f"{self.data.max_prompt_tokens}: raise data.max_prompt_tokens or remove the problem"
            )
        return tuple(ids)

    def chat_ids(self, problem: Problem) -> list[int]:
        """Returns the chat of the problem up to the beginning of the answer. Does not check its length."""
        suffix = kind_entry(problem.kind).prompt_suffix
        content = problem.question + (getattr(self.data, suffix) if suffix else "")
        if not problem.system:
            return self._templated(content)
        if self._takes_system_messages:
            return self._templated(content, problem.system)
        return self._templated(f"{problem.system}\n\n{content}")

    @cached_property
    def _takes_system_messages(self) -> bool:
        """Whether the chat template supports a system message. Some templates drop it, others (Gemma) raise an error:
        the system message is then prepended to the user's message."""
        try:
            return self._templated("x", "one") != self._templated("x", "two")
        except Exception:  # jinja's TemplateError, or an error in the template's code
            return False

    def _templated(self, content: str, system: str = "") -> list[int]:
        messages = [{"role": "system", "content": system}] if system else []
        return self._messages_ids([*messages, {"role": "user", "content": content}])

    def _messages_ids(self, messages: list[dict[str, str]]) -> list[int]:
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)

    def prompts(self, problems: Sequence[Problem], samples: int, key: Sequence[Any], step: int = 0) -> list[Prompt]:
        """Returns one Prompt per problem, with `samples` seeds.

        A seed depends only on `key`, question and sample, so that it is the same on every worker.
        """
        return [
            Prompt(p, self.prompt_ids(p), tuple(sample_seed(*key, p.question_id, i) for i in range(samples)), step)
            for p in problems
        ]

    def solutions(self, problems: Iterable[Problem], styles: Sequence[str]) -> Iterator[TrainSequence]:
        """Yields each worked solution in one of `styles` (all if empty) as a training sequence with its EOS token.

        Completions are int32 arrays. One chunk of texts is encoded at a time, so that memory does not grow with the
        number of solutions.
        """
        chunk: list[tuple[Problem, str]] = []
        chars = 0
        for problem in problems:
            for solution in problem.solutions:
                if not styles or solution.style in styles:
                    chunk.append((problem, solution.text))
                    chars += len(solution.text)
            if chars >= CHUNK_CHARS:
                yield from self._encoded(chunk)
                chunk, chars = [], 0
        yield from self._encoded(chunk)

    def _encoded(self, chunk: Sequence[tuple[Problem, str]]) -> Iterator[TrainSequence]:
        if not chunk:
            return
        prompts = {p.question_id: self.prompt_ids(p) for p, _ in chunk}
        texts = self._text_ids([text for _, text in chunk])
        for (problem, _), ids in zip(chunk, texts, strict=True):
            completion = np.array([*ids, self.tokenizer.eos_token_id], np.int32)
            yield TrainSequence(prompts[problem.question_id], completion, 0.0)

    def traces(self, traces: Iterable[Trace]) -> Iterator[TrainSequence]:
        """Yields each trace as a training sequence with its EOS token, on which generation stops.

        The prompt may have more tokens than `data.max_prompt_tokens`. Raises ConfigError for a response that holds the
        EOS token itself, because a model that learns it stops there.
        """
        for chunk in _chunks(traces):
            texts = self._text_ids([completion_text(trace, self._prompt_end) for trace in chunk])
            for trace, ids in zip(chunk, texts, strict=True):
                if self.tokenizer.eos_token_id in ids:
                    raise ConfigError(
                        f"{trace.place}: the response holds {self.tokenizer.eos_token!r}, the token that ends a "
                        "response: delete it from the text"
                    )
                completion = np.array([*ids, self.tokenizer.eos_token_id], np.int32)
                yield TrainSequence(tuple(self._messages_ids(self._messages(trace))), completion, 0.0)

    def _messages(self, trace: Trace) -> list[dict[str, str]]:
        messages = [{"role": m.role, "content": m.content} for m in trace.messages]
        if messages[0]["role"] != "system" or self._takes_system_messages:
            return messages
        system, first, *rest = messages
        return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]

    @cached_property
    def _prompt_end(self) -> str:
        """The last characters of every prompt."""
        return self.tokenizer.decode(self._templated("x")[-PROMPT_END_TOKENS:])

    def fingerprint(self, problem: Problem, length: int) -> list[int]:
        """Returns the first `length` ids of a problem with its solution: the text for comparing log-probabilities."""
        solution = problem.solutions[0].text if problem.solutions else problem.answer
        return [*self.prompt_ids(problem), *self._text_ids(solution)][:length]

    def _text_ids(self, text: Any) -> Any:
        """Returns the ids of one text, or of each text of a list."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def _chunks(traces: Iterable[Trace]) -> Iterator[list[Trace]]:
    """Yields lists of traces with about CHUNK_CHARS characters in their responses."""
    chunk: list[Trace] = []
    chars = 0
    for trace in traces:
        chunk.append(trace)
        chars += len(trace.text)
        if chars >= CHUNK_CHARS:
            yield chunk
            chunk, chars = [], 0
    if chunk:
        yield chunk


def refuse_foreign_tokenizer(tokens: int, embedded: int, model: str) -> None:
    """Raises ConfigError if the tokenizer has ids without an embedding in the model."""
    if tokens > embedded:
        raise ConfigError(
            f"the tokenizer of {model} has {tokens} tokens, its model embeds {embedded}: use the model's own "
            "tokenizer, or resize the model's embeddings"
        )


def sample_seed(*key: Any) -> int:
    """Returns a 31-bit seed from a printable key, the same on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:4]) >> 1
