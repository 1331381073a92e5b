"""The check `logprobs` of gpu_proof.py: vLLM against the trainer's model in bfloat16, without Ray.

    random weights --> sample --> gap        other weights, loaded --> sample --> gap        sleep, wake --> the same

`gap` compares the log-probabilities of sampled tokens with those of the trainer's model on packed rows; `rounding`
compares the trainer's model in bfloat16 with itself in float32. After the load, every tensor is another: tokens that
are decoded with old weights, by a CUDA graph that reads the old storage, are far from the trainer's new model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from vt_ray.algorithms.packing import TrainSequence, make_row, pack, stack
from vt_ray.config import LearnerConfig, ModelConfig, OptimizerConfig
from vt_ray.engines.generation import EngineSpec
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.policy import Policy, forward, load_policy
from vt_ray.engines.vllm.engine import VllmEngine
from vt_ray.engines.weights import NamedTensor, checkpoint_tensors, in_buckets, pack_bucket
from vt_ray.records import Problem, Prompt, Rollouts, Sampling

if TYPE_CHECKING:
    from gpu_checks import Report
    from gpu_settings import Given

PROBLEM = Problem("q", "algebra", "math", "?")
FINGERPRINT_TOKENS, TEXTS, TURNS = 32, 16, 3
# Makes the random model's next tokens as certain as those of a trained one.
SHARPER = 8.0
LEARNING_RATE = 1e-6


def check(given: Given, report: Report) -> None:
    from gpu_settings import random_model

    shape, groups, tokens = ("test", 2, 24) if given.rehearse else ("0.6b", 32, 256)
    folder, device = random_model(shape, given.out / f"model_{shape}"), "cpu" if given.rehearse else "cuda"
    began = time.monotonic()
    gpus, context = int(not given.rehearse), 64 + tokens
    engine = VllmEngine(
        EngineSpec(
            *(str(folder), "bfloat16", context, 256, gpus, 1, 1, 0.4, 1, 0),
            **{"can_sleep": bool(gpus), "enforce_eager": given.eager},
        )
    )
    report.add(engine_start_s=time.monotonic() - began, runner=type(runner_of(engine)).__module__)
    policy, exact = open_policy(folder, "bfloat16", device), open_policy(folder, "float32", device)
    prompts = random_prompts(groups, len(engine.tokenizer))

    first = compare(report, "first", engine, policy, exact, prompts, tokens)
    again = sampled(engine, prompts, Sampling(1.0, 1.0, 0, tokens))
    report.add(same_tokens_again=share_of_same(first, again))

    old = {name: p.detach().clone() for name, p in policy.network.named_parameters()}
    buckets = [pack_bucket(b) for b in in_buckets(other_weights(folder), lambda item: item[1].nbytes, 256 << 20)]
    load(report, engine, buckets, 1)
    for model in (policy, exact):
        put(model, other_weights(folder))
    loaded = compare(report, "after_load", engine, policy, exact, prompts, tokens)
    with replaced(policy, old, list(old)):
        stale = trainer_gap(policy, loaded, 1.0)["mean"]
    now = report.content["figures"]["gap_after_load"]["T=1"]["mean"]
    report.add(gap_to_old_weights=stale)
    report.require(now < 0.2 * stale, "decoding after the load does not fit the loaded weights")
    tolerance(report, engine, policy, old, loaded)
    in_flight(report, engine, prompts, tokens, buckets)
    turns(report, engine, buckets, given.rehearse)


def runner_of(engine: VllmEngine) -> Any:
    """vLLM's model runner: on a GPU it is another one than on a CPU."""
    return engine.llm.llm_engine.model_executor.driver_worker.worker.model_runner


def open_policy(folder: Any, dtype: str, device: str) -> Policy:
    attention = "torch_varlen" if device == "cuda" and dtype == "bfloat16" else "sdpa"
    model = ModelConfig(source="hf", dtype=dtype, attention=attention)
    policy = load_policy(LearnerSpec(str(folder), model, OptimizerConfig(), LearnerConfig(), 1, 0))
    return policy.to(device).eval()


def random_prompts(groups: int, vocabulary: int, samples: int = 8) -> list[Prompt]:
    dice = torch.Generator().manual_seed(0)
    ids = torch.randint(4, vocabulary, (groups, 32), generator=dice).tolist()
    return [Prompt(PROBLEM, tuple(row), tuple(range(1000 * i, 1000 * i + samples))) for i, row in enumerate(ids)]


def sampled(engine: VllmEngine, prompts: Sequence[Prompt], sampling: Sampling) -> list[Rollouts]:
    return sorted(engine.generate(prompts, sampling), key=lambda r: r.seeds)


def share_of_same(one: Sequence[Rollouts], other: Sequence[Rollouts]) -> float:
    pairs = [(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x.completions, y.completions, strict=True)]
    return sum(a.token_ids.tolist() == b.token_ids.tolist() for a, b in pairs) / len(pairs)


def compare(
    report: Report, name: str, engine: VllmEngine, policy: Policy, exact: Policy, prompts: Sequence[Prompt], tokens: int
) -> list[Rollouts]:
    """Reports the gaps at two temperatures and the speed. Returns the rollouts at temperature 1."""
    gaps, rounding, found = {}, {}, []
    for temperature in (0.7, 1.0):
        began = time.monotonic()
        found = sampled(engine, prompts, Sampling(temperature, 1.0, 0, tokens))
        seconds = time.monotonic() - began
        gaps[f"T={temperature:g}"] = trainer_gap(policy, found, temperature)
        rounding[f"T={temperature:g}"] = trainer_gap(policy, found, temperature, exact)
    count = sum(len(c.token_ids) for group in found for c in group.completions)
    report.add(**{f"gap_{name}": gaps, f"rounding_{name}": rounding, f"tokens_per_s_{name}": count / seconds})
    return found


@torch.no_grad()
def trainer_gap(
    policy: Policy, rollouts: Sequence[Rollouts], temperature: float, exact: Policy | None = None
) -> dict[str, float]:
    """Mean, 99th percentile and worst |difference| in nats, and KL in nats a token: the engine against `policy`; with
    `exact`, `policy` against it."""
    sequences = [
        TrainSequence(r.prompt_token_ids, c.token_ids, 1.0, rollout_logprobs=c.rollout_logprobs)
        for r in rollouts
        for c in r.completions
    ]
    device, differences, entropy = next(policy.parameters()).device, [], []
    for row in pack(sequences, 4096):
        batch = stack([row], 1)[0].to(device)
        chosen = batch.token_weights > 0
        mine, entropies = forward(policy, batch, temperature)
        other = batch.rollout_logprobs if exact is None else forward(exact, batch, temperature)[0]
        differences.append((mine - other)[chosen].double().cpu())
        entropy.append(entropies[chosen].double().cpu())
    d = torch.cat(differences)
    return {
        "mean": d.abs().mean().item(),
        "p99": d.abs().quantile(0.99).item() if len(d) < 1 << 24 else float("nan"),
        "worst": d.abs().max().item(),
        "kl": (d.exp() - 1 - d).mean().item(),
        "entropy": torch.cat(entropy).mean().item(),
        "tokens": len(d),
    }


def other_weights(folder: Any) -> Iterator[NamedTensor]:
    """Every tensor of the checkpoint with other values: a tensor that a load misses is seen."""
    dice = torch.Generator().manual_seed(7)
    for names, tensor in checkpoint_tensors(folder):
        noise = torch.randn(tensor.shape, generator=dice)
        is_norm = "norm" in names[0]
        new = 1 + 0.1 * noise if is_norm else 0.02 * noise
        yield names, (new * (SHARPER if names[0] == "model.norm.weight" else 1.0)).to(tensor.dtype)


@torch.no_grad()
def put(policy: Policy, weights: Iterator[NamedTensor]) -> None:
    parameters = dict(policy.network.named_parameters())
    for names, tensor in weights:
        for name in names:
            if name in parameters:
                parameters[name].copy_(tensor)


@contextmanager
def replaced(policy: Policy, others: dict[str, torch.Tensor], names: Sequence[str]) -> Iterator[None]:
    """The policy with these tensors of `others`."""
    parameters = dict(policy.network.named_parameters())
    kept = {name: parameters[name].detach().clone() for name in names}
    put(policy, (((name,), others[name]) for name in names))
    yield
    put(policy, (((name,), kept[name]) for name in names))


def load(report: Report, engine: VllmEngine, buckets: list, version: int) -> None:
    began = time.monotonic()
    held = engine.load_weights(iter(buckets), version)
    report.add(load_s=time.monotonic() - began, load_gb=sum(b.num_bytes for b in buckets) / 1e9)
    sent = {entry.name: entry.checksum for bucket in buckets for entry in bucket.entries}
    wrong = [name for name, total in sent.items() if held.get(name) != total]
    if wrong or not engine.proven:
        raise RuntimeError(f"{len(wrong)} of {len(sent)} tensors are not those sent: {', '.join(wrong[:4])}")


def tolerance(
    report: Report, engine: VllmEngine, policy: Policy, old: dict[str, torch.Tensor], rollouts: Sequence[Rollouts]
) -> None:
    """Fingerprints of right and of wrong weights: the tolerance of a sync has to lie between them."""
    texts = [
        [*group.prompt_token_ids[:8], *completion.token_ids.tolist()][:FINGERPRINT_TOKENS]
        for group in rollouts
        for completion in group.completions[:2]
    ][:TEXTS]
    engine_side = [engine.token_logprobs(text) for text in texts]
    middle = sorted(name for name in old if f".layers.{policy.network.config.num_hidden_layers // 2}." in name)
    norm = [name for name in middle if name.endswith("input_layernorm.weight")]
    states = {
        "one_layer_stale": (old, middle),
        "one_norm_stale": (old, norm),
        "one_update_behind": (behind(policy), None),
    }
    found = {"right": gaps_of(policy, texts, engine_side)}
    for name, (others, names) in states.items():
        with replaced(policy, others, names if names is not None else list(others)):
            found[name] = gaps_of(policy, texts, engine_side)
    limit = float(f"{2 * max(found['right']):.1g}")
    report.add(
        fingerprint_gap={name: {"least": min(g), "largest": max(g)} for name, g in found.items()},
        tolerance_suggested=limit,
        tolerance_sees={name: min(g) > limit for name, g in found.items() if name != "right"},
    )


def behind(policy: Policy) -> dict[str, torch.Tensor]:
    """The weights one step of AdamW away: each by the learning rate."""
    dice = torch.Generator().manual_seed(3)
    out = {}
    for name, parameter in policy.network.named_parameters():
        sign = torch.randint(0, 2, parameter.shape, generator=dice).mul_(2).sub_(1).to(parameter.device)
        out[name] = (parameter.detach().float() + LEARNING_RATE * sign).to(parameter.dtype)
    return out


@torch.no_grad()
def gaps_of(policy: Policy, texts: Sequence[list[int]], engine_side: Sequence[list[float]]) -> list[float]:
    """The mean |difference| of each text, as a sync computes it."""
    device, found = next(policy.parameters()).device, []
    for text, theirs in zip(texts, engine_side, strict=True):
        row = make_row([TrainSequence(tuple(text[:1]), tuple(text[1:]), 1.0)])
        mine = forward(policy, stack([row], 1)[0].to(device), 1.0)[0][0, :-1].tolist()
        found.append(sum(abs(a - b) for a, b in zip(mine, theirs, strict=True)) / len(theirs))
    return found


def in_flight(report: Report, engine: VllmEngine, prompts: Sequence[Prompt], tokens: int, buckets: list) -> None:
    """A load while completions are generated."""
    found: list[Rollouts] = []
    thread = threading.Thread(target=lambda: found.extend(sampled(engine, prompts, Sampling(1.0, 1.0, 0, tokens))))
    thread.start()
    while thread.is_alive() and not engine.loop.in_flight:
        time.sleep(0.002)
    engine.load_weights(iter(buckets), 2)
    thread.join()
    versions = sorted({version for r in found for c in r.completions for version, _ in c.version_runs})
    report.add(in_flight_versions=versions)
    report.require(versions == [1, 2], f"tokens around a load in flight have the versions {versions}, not 1 and 2")


def turns(report: Report, engine: VllmEngine, buckets: list, on_cpu: bool) -> None:
    """Sleep, wake and load in turn: the same log-probabilities, and no memory that grows."""
    text, free, seconds = list(range(5, 37)), [], []
    before = engine.token_logprobs(text)
    for turn in range(TURNS):
        for name, act in (("sleep", engine.sleep), ("wake", engine.wake_up)):
            began = time.monotonic()
            act()
            seconds.append({"of": name, "s": time.monotonic() - began})
            free.append(0.0 if on_cpu else torch.cuda.mem_get_info()[0] / 1e9)
        same = engine.token_logprobs(text) == before
        report.add(turns={"seconds": seconds, "free_gb": free}, same_after_sleep=same)
        report.require(same, f"other log-probabilities after sleep and wake, turn {turn + 1}")
        load(report, engine, buckets, 3 + turn)
