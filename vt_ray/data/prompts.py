"""Problems as token ids: the chat template, the answer suffix, and the seeds of each question.

Problem + suffix --chat template--> prompt ids          Solution or Trace --> completion ids + EOS

`problem_sets.fitting` finds prompts over `data.max_prompt_tokens` before the run starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from vt_ray.algorithms.packing import TrainSequence
from vt_ray.config import ConfigError, DataConfig
from vt_ray.data.chat_templates import end_token, template_text
from vt_ray.data.traces.reasoning import completion_text, opens_reasoning, solution_text
from vt_ray.data.traces.trace import Trace
from vt_ray.records import Problem, Prompt
from vt_ray.verify.kinds import kind_entry

# Characters of solutions per tokenizer call: a tokenizer keeps about 150 bytes for each token of a call.
CHUNK_CHARS = 500_000
# Enough tokens of a generation prompt to see whether it opens the reasoning, also if each byte is a token.
PROMPT_END_TOKENS = 16


@dataclass(frozen=True)
class PromptFormat:
    """The text around a question.

    `system` is the system message of prompts without their own. `suffix` follows each question; None takes the suffix
    of the problem's kind in DataConfig. `chat_template` is a Jinja text; "" takes the tokenizer's own.
    """

    system: str = ""
    suffix: str | None = None
    chat_template: str = ""


class PromptEncoder:
    """`tokenizer` is a Hugging Face tokenizer with a chat template and an EOS token. Without `form`, prompts have the
    form that `data` gives."""

    def __init__(self, tokenizer: Any, data: DataConfig, form: PromptFormat | None = None):
        self.tokenizer = tokenizer
        self.data = data
        self.form = form or PromptFormat(data.system)

    def with_format(
        self, *, system: str | None = None, suffix: str | None = None, chat_template: str | None = None
    ) -> PromptEncoder:
        """Returns an encoder for prompts of another form, such as those of a benchmark. None keeps a part as it is.

        `chat_template` is a built-in name or a file, as `model.chat_template`. Raises ConfigError if it cannot be used,
        or if it ends a response with another token than the model does.
        """
        changes: dict[str, str] = {}
        if system is not None:
            changes["system"] = system
        if suffix is not None:
            changes["suffix"] = suffix
        if chat_template is not None:
            changes["chat_template"] = self._fitting_template(chat_template)
        return PromptEncoder(self.tokenizer, self.data, replace(self.form, **changes))

    def _fitting_template(self, name: str) -> str:
        text = template_text(name)
        end = end_token(self.tokenizer, text, name)
        if end != self.tokenizer.eos_token:
            raise ConfigError(
                f"chat_template={name!r} ends a response with {end}, generation with this model stops on "
                f"{self.tokenizer.eos_token}: set model.chat_template={name} too, which makes {end} the EOS token"
            )
        return text

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
        return self._messages_ids(self._chat(problem))

    def fits(self, problem: Problem) -> bool:
        """Whether the prompt has at most `data.max_prompt_tokens`.

        Splitting a text into tokens takes six times as long as the chat template, and most prompts are short. A token
        has at least one character of ASCII text; some tokenizers put one token in front of the text.
        """
        text = self._applied(self._chat(problem), tokenize=False)
        limit = self.data.max_prompt_tokens
        return (len(text) < limit and text.isascii()) or len(self.chat_ids(problem)) <= limit

    def messages(self, problem: Problem) -> list[dict[str, str]]:
        """Returns the system message of the problem's chat, if there is one, and the question with its suffix."""
        content = problem.prompt or problem.question + self._suffix(problem.kind)
        return _messages(content, problem.system or self.form.system)

    def _chat(self, problem: Problem) -> list[dict[str, str]]:
        return self._fitting_roles(self.messages(problem))

    def _fitting_roles(self, messages: list[dict[str, str]]) -> list[dict[str, str]]:
        """The messages, with the system message before the question if the chat template has no place for it."""
        if messages[0]["role"] != "system" or self._takes_system_messages:
            return messages
        system, first, *rest = messages
        return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]

    def _suffix(self, kind: str) -> str:
        if self.form.suffix is not None:
            return self.form.suffix
        name = kind_entry(kind).prompt_suffix
        return getattr(self.data, name) if name else ""

    @cached_property
    def _takes_system_messages(self) -> bool:
        """Whether the chat template supports a system message. Some templates drop it, others (Gemma) raise an error:
        the system message is then prepended to the user's message."""
        try:
            return self._messages_ids(_messages("x", "one")) != self._messages_ids(_messages("x", "two"))
        except Exception:  # jinja's TemplateError, or an error in the template's code
            return False

    def _messages_ids(self, messages: list[dict[str, str]]) -> list[int]:
        return self._applied(messages, return_dict=False)

    def _applied(self, messages: list[dict[str, str]], **how: bool) -> Any:
        own = {"chat_template": self.form.chat_template} if self.form.chat_template else {}
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, **how, **own)

    def prompts(self, problems: Sequence[Problem], samples: int, key: Sequence[Any], step: int = 0) -> list[Prompt]:
        """Returns one Prompt per problem, with `samples` seeds.

        A seed depends only on `key`, question and sample, so that it is the same on every worker.
        """
        if self._opens_reasoning:
            problems = [replace(p, reasoning_open=True) for p in problems]
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
        texts = self._text_ids([solution_text(text, self._prompt_end, p.place) for p, text in chunk])
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
                yield TrainSequence(tuple(self._messages_ids(self._trace_messages(trace))), completion, 0.0)

    def _trace_messages(self, trace: Trace) -> list[dict[str, str]]:
        messages = [{"role": m.role, "content": m.content} for m in trace.messages]
        if messages[0]["role"] != "system" and self.form.system:
            messages = [{"role": "system", "content": self.form.system}, *messages]
        return self._fitting_roles(messages)

    @cached_property
    def _prompt_end(self) -> str:
        """The last characters of every prompt."""
        return self.tokenizer.decode(self._messages_ids(_messages("x"))[-PROMPT_END_TOKENS:])

    @cached_property
    def _opens_reasoning(self) -> bool:
        return opens_reasoning(self._prompt_end)

    def fingerprint(self, problem: Problem, length: int) -> list[int]:
        """Returns the first `length` ids of a problem with its solution: the text for comparing log-probabilities."""
        solution = problem.solutions[0].text if problem.solutions else problem.answer
        return [*self.prompt_ids(problem), *self._text_ids(solution)][:length]

    def _text_ids(self, text: Any) -> Any:
        """Returns the ids of one text, or of each text of a list."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def _messages(content: str, system: str = "") -> list[dict[str, str]]:
    messages = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": content}]


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
