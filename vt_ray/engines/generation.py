"""vLLM with no Ray: one engine in this process, usable in a plain script.

prompts --add_request--> engine.step() ... --> Rollouts, each as soon as its group is whole
buckets --reload--> engine --> checksums of what it really holds, log-probabilities of a probe sequence
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vt_ray.engines.transfer import Notice, receive
from vt_ray.engines.weights import Bucket
from vt_ray.records import Completion, Prompt, Rollouts, Sampling


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
    # "nccl" or "ipc": weights come past Ray, through vLLM's engine of that name.
    weight_transfer: str = ""


class GenerationEngine:
    """`weight_version` is that of the newest weights loaded; -1 until the first load."""

    def __init__(self, spec: EngineSpec):
        _set_environment(spec)
        from vllm import LLM

        self.spec = spec
        self.weight_version = -1
        self.llm = LLM(spec.model_path, **_engine_arguments(spec))
        self.tokenizer = self.llm.get_tokenizer()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Rollouts]:
        """Continuous batching over all samples of all prompts; yields each question when its last sample ends."""
        start = time.monotonic()
        waiting = {index: {} for index in range(len(prompts))}
        engine = self.llm.llm_engine
        for index, prompt in enumerate(prompts):
            for sample, seed in enumerate(prompt.seeds):
                self._submit(f"{index}/{sample}", prompt.token_ids, sampling, seed)
        while engine.has_unfinished_requests():
            for output in engine.step():
                if not output.finished:
                    continue
                index, sample = map(int, output.request_id.split("/")[:2])
                waiting[index][sample] = self._completion(output.outputs[0], sample, time.monotonic() - start)
                if len(waiting[index]) == len(prompts[index].seeds):
                    done = waiting.pop(index)
                    completions = tuple(done[i] for i in sorted(done))
                    yield Rollouts(prompts[index].problem, prompts[index].token_ids, completions)

    def _submit(self, request_id: str, token_ids: Sequence[int], sampling: Sampling, seed: int) -> None:
        from vllm import SamplingParams, TokensPrompt

        room = self.spec.context_tokens - len(token_ids)
        params = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=min(sampling.max_tokens, room),
            seed=seed,
            logprobs=0,
        )
        prompt = TokensPrompt(prompt_token_ids=list(token_ids))
        self.llm.llm_engine.add_request(request_id, prompt, params)

    def _completion(self, output, sample: int, seconds: float) -> Completion:
        logprobs = (step[token].logprob for step, token in zip(output.logprobs, output.token_ids, strict=True))
        return Completion(
            sample=sample,
            token_ids=tuple(output.token_ids),
            rollout_logprobs=tuple(logprobs),
            text=output.text,
            finish_reason="length" if output.finish_reason == "length" else "stop",
            version_runs=((self.weight_version, len(output.token_ids)),),
            seconds=seconds,
        )

    def load_weights(self, arrivals: Iterable[Bucket | Notice], version: int, place: int = 0) -> dict[str, int | None]:
        """Replace every weight, drop the prefix cache, and return the checksums of what the engine now holds.

        The checksums are read from the engine, not from what arrives: a tensor that was sent but not taken up
        (a tied lm_head, say) shows its old value. Arrivals are asked for one by one. `place` is this engine's among
        all generators.
        """
        held = receive(self.llm, arrivals, place)
        if not self.llm.reset_prefix_cache():
            raise RuntimeError(f"the prefix cache of version {self.weight_version} is in use: no requests may run")
        self.weight_version = version
        return held

    def sleep(self) -> None:
        """Free the GPU: weights go to host memory, the KV cache is dropped. No request may run until `wake_up`.

        vLLM's CPU build pauses in the same way but frees nothing.
        """
        self.llm.sleep(level=1)

    def wake_up(self) -> None:
        self.llm.wake_up()

    def token_logprobs(self, token_ids: Sequence[int]) -> list[float]:
        """log p(token[t] | tokens before) at temperature 1 for t >= 1, with the weights now loaded."""
        from vllm import SamplingParams, TokensPrompt

        params = SamplingParams(temperature=1.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        prompt = TokensPrompt(prompt_token_ids=list(token_ids))
        output = self.llm.generate(prompt, params, use_tqdm=False)[0]
        pairs = zip(output.prompt_logprobs[1:], token_ids[1:], strict=True)
        return [step[token].logprob for step, token in pairs]


def _set_environment(spec: EngineSpec) -> None:
    """vLLM reads these at import. On CPU the engine runs in this process: it starts in 3 s instead of 25."""
    os.environ.update(VLLM_LOGGING_LEVEL="WARNING", VLLM_NO_USAGE_STATS="1", HF_HUB_OFFLINE="1")
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    if not spec.gpus:
        os.environ.update(
            VLLM_CPU_OMP_THREADS_BIND="nobind",
            VLLM_CPU_KVCACHE_SPACE=str(spec.kv_cache_gb),
            OMP_NUM_THREADS=str(spec.threads),
        )


def _engine_arguments(spec: EngineSpec) -> dict:
    arguments = {
        "dtype": spec.dtype,
        "max_model_len": spec.context_tokens,
        "max_num_seqs": spec.max_num_seqs,
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
    else:
        arguments["enforce_eager"] = True
        # The CPU build cannot rewind a request's own random generator, as it must where a prompt is prefilled in parts.
        arguments["enable_chunked_prefill"] = False
        arguments["max_num_batched_tokens"] = max(4096, spec.context_tokens)
    return arguments
