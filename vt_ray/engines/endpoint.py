"""A chat model behind an OpenAI-compatible endpoint, such as `vllm serve`. Implements `data.chat_model.ChatModel`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from vt_ray.data.chat_model import ChatError, ChatReply, ChatRequest

# Requests in flight. A vLLM server runs them as one batch.
PARALLEL = 32
# Seconds for one request, and its retries after a lost connection, a busy server (429) or a server's error (5xx). The
# client waits between them: 0.5 s at first, 8 s at most.
REQUEST_TIMEOUT_S = 300.0
RETRIES = 6
TEMPERATURE = 0.6
# The name of the limit of new tokens in requests to newer models of OpenAI, which refuse `max_tokens`.
_NEW_LIMIT = "max_completion_tokens"


class EndpointModel:
    """The model `model` at `url`, such as http://localhost:8000/v1; without a name the first that the endpoint lists.

    The variable OPENAI_API_KEY is the key of the endpoint. Raises ChatError if the endpoint does not answer as
    expected.
    """

    def __init__(
        self, url: str, model: str = "", max_tokens: int = 512, retries: int = RETRIES, temperature: float = TEMPERATURE
    ):
        openai = _client_library()
        if not url.startswith(("http://", "https://")):
            raise ChatError(f"--endpoint {url}: expected a URL such as http://localhost:8000/v1")
        self._url, self.max_tokens, self._temperature, self.refusal = url, max_tokens, temperature, ""
        self._limit = "max_tokens"
        # A server of one's own needs no key, but the client does.
        key = os.environ.get("OPENAI_API_KEY") or "none"
        self._client = openai.OpenAI(base_url=url, api_key=key, max_retries=retries, timeout=REQUEST_TIMEOUT_S)
        self._model = model or self._first_model()
        self.name = f"{self._model}, temperature {temperature}, max_tokens {max_tokens}"

    def replies(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, str | None]]:
        for index, reply in self.counted_replies(requests):
            yield index, reply.text if reply else None

    def counted_replies(self, requests: Sequence[ChatRequest]) -> Iterator[tuple[int, ChatReply | None]]:
        """Yields what `replies` yields, with the tokens of each reply."""
        pool = ThreadPoolExecutor(PARALLEL)
        try:
            sent = {pool.submit(self._reply, request): index for index, request in enumerate(requests)}
            for future in as_completed(sent):
                yield sent[future], future.result()
        except BaseException:
            # Also after Ctrl-C: requests in flight fail at once instead of being awaited at the exit.
            self._client.close()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _reply(self, request: ChatRequest) -> ChatReply | None:
        openai = _client_library()
        limit = self._limit
        try:
            completion = self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": request.text}],
                temperature=self._temperature,
                seed=request.seed,
                **{limit: self.max_tokens},
            )
            choice, usage = completion.choices[0], completion.usage
            text, finished = choice.message.content, choice.finish_reason != "length"
            counts = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
            return ChatReply(text if isinstance(text, str) else "", finished, *counts)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if limit == "max_tokens" and _NEW_LIMIT in str(error):
                self._limit = _NEW_LIMIT
                return self._reply(request)
            self.refusal = str(error)
            return None
        except (openai.OpenAIError, ValueError) as error:
            raise self._failed(error) from error
        except (AttributeError, IndexError, TypeError) as error:
            raise ChatError(f"--endpoint {self._url}: the reply has no message: check the URL") from error

    def _first_model(self) -> str:
        openai = _client_library()
        try:
            listed = [found.id for found in self._client.models.list()]
        except (openai.OpenAIError, ValueError) as error:
            raise self._failed(error) from error
        except (AttributeError, TypeError):
            listed = []
        if not listed:
            raise ChatError(f"--endpoint {self._url}: it lists no model: check the URL, or name --model")
        return listed[0]

    def _failed(self, error: Exception) -> ChatError:
        openai = _client_library()
        if isinstance(error, openai.APITimeoutError):
            remedy = f"no reply within {REQUEST_TIMEOUT_S:.0f} s: lower --max-tokens, or take a faster server"
        elif isinstance(error, openai.APIConnectionError):
            remedy = f"no connection ({error.__cause__ or error}): start the server, or correct the URL"
        elif isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            remedy = f"{error}: set the variable OPENAI_API_KEY"
        elif isinstance(error, openai.NotFoundError):
            remedy = f"{error}: correct the URL, which mostly ends in /v1, or --model"
        else:
            remedy = f"{error}: correct the server"
        return ChatError(f"--endpoint {self._url}: {remedy}")


def _count(usage: Any, name: str) -> int | None:
    """Returns a number of tokens, None if the endpoint reports none."""
    count = getattr(usage, name, None)
    return count if isinstance(count, int) and count >= 0 else None


def _client_library() -> Any:
    """Returns the module `openai`. It comes with vLLM, in the extras cpu and gpu."""
    try:
        import openai
    except ModuleNotFoundError as error:
        raise ChatError("--endpoint needs the package openai: pip install openai, or run make setup") from error
    return openai
