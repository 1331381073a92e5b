"""A local chat model on vLLM. Implements `data.chat_model.ChatModel`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from vt_ray.data.chat_model import ChatError, ChatRequest
from vt_ray.data.classify import QUESTION_CHARS
from vt_ray.engines.generation import EngineSpec
from vt_ray.engines.vllm.engine import VllmEngine
from vt_ray.records import Problem, Prompt, Sampling

TEMPERATURE = 0.6
# Enough tokens for a prompt with QUESTION_CHARS characters of most languages.
PROMPT_TOKENS = QUESTION_CHARS
SEQUENCES = 64


class VllmChatModel:
    """A Hugging Face folder or hub name with a chat template, on one GPU if there is one, else on the CPU.

    Raises ChatError if the model cannot be read or has no chat template.
    """

    def __init__(self, path: str, max_tokens: int = 512):
        self._context, dtype = _context_and_dtype(path, max_tokens)
        self._engine = VllmEngine(_spec(path, self._context, dtype))
        if self._engine.tokenizer.chat_template is None:
            self._engine.loop.close()
            raise ChatError(f"--model {path}: its tokenizer has no chat template: take a chat model")
        self._sampling = Sampling(TEMPERATURE, 1.0, 0, max_tokens, logprobs=False)
        self.refusal = ""
        self.name = f"{path}, temperature {TEMPERATURE}, max_tokens {max_tokens}"

    def replies(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, str | None]]:
        prompts = []
        for index, request in enumerate(requests):
            if prompt := self._prompt(index, request):
                prompts.append(prompt)
            else:
                yield index, None
        for rollouts in self._engine.generate(prompts, self._sampling):
            yield rollouts.step, rollouts.completions[0].text

    def close(self) -> None:
        self._engine.loop.close()

    def _prompt(self, index: int, request: ChatRequest) -> Prompt | None:
        """Returns the prompt with `index` as its step, None if the context leaves less than half of the new tokens."""
        chat = [{"role": "user", "content": request.text}]
        ids = self._engine.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        if len(ids) + self._sampling.max_tokens // 2 > self._context:
            self.refusal = f"a prompt of {len(ids)} tokens, the model's context has {self._context}"
            return None
        return Prompt(Problem(str(index), "", "math", ""), tuple(ids), (request.seed,), index)


def _context_and_dtype(path: str, max_tokens: int) -> tuple[int, str]:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise ChatError(f"--model {path}: no model there ({str(error).splitlines()[0]})") from error
    longest = getattr(config.get_text_config(), "max_position_embeddings", None) or PROMPT_TOKENS + max_tokens
    dtype: Any = getattr(config, "dtype", None)
    return min(longest, PROMPT_TOKENS + max_tokens), str(dtype).removeprefix("torch.") if dtype else "bfloat16"


def _spec(path: str, context_tokens: int, dtype: str) -> EngineSpec:
    import torch

    return EngineSpec(
        model_path=path,
        dtype=dtype,
        context_tokens=context_tokens,
        max_num_seqs=SEQUENCES,
        gpus=1 if torch.cuda.is_available() else 0,
        tensor_parallel_size=1,
        kv_cache_gb=2,
        gpu_memory_utilization=0.9,
        threads=len(os.sched_getaffinity(0)),
        seed=0,
        enforce_eager=False,
    )
