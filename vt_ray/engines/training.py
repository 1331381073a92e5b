"""DeepSpeed with no Ray: one rank of the learner, usable in a plain script.

    rows --model--> logits --loss--> backward (each row) --> one optimizer step --> weights out, bucket by bucket

Normalisers: a row's `token_weights` sum to 1 over all rows of all ranks, so losses and gradients are summed,
never averaged. DeepSpeed averages gradients over ranks; the loss is multiplied by their number to undo it.
"""

from __future__ import annotations

import gc
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vt_ray.algorithms.logprobs import entropy, selected_logprobs
from vt_ray.algorithms.losses import Metrics, mgpo_loss, sft_loss
from vt_ray.algorithms.packing import Row, empty_batch, stack
from vt_ray.config import LearnerConfig, MgpoConfig, ModelConfig, OptimizerConfig
from vt_ray.engines.weights import Bucket, NamedTensor, in_buckets, pack_bucket

RowLoss = Callable[[torch.Tensor, torch.Tensor, Row], tuple[torch.Tensor, Metrics]]


@dataclass(frozen=True)
class LearnerSpec:
    """What a learner is opened with: the same on every rank."""

    model_path: str
    model: ModelConfig
    optimizer: OptimizerConfig
    learner: LearnerConfig
    total_steps: int
    seed: int
    with_reference: bool = False


def init_process_group(rank: int, world_size: int, address: str, port: int) -> None:
    """Join the learner's process group (gloo on CPU, NCCL on GPU), once in a process's life."""
    import deepspeed

    # The shared-memory all-reduce of CPU builds is compiled at first use, for about a minute; gloo serves.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    os.environ.update(
        RANK=str(rank), LOCAL_RANK="0", WORLD_SIZE=str(world_size), MASTER_ADDR=address, MASTER_PORT=str(port)
    )
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)


class TrainingEngine:
    """One rank. Every method that touches weights or gradients is collective: call it on all ranks."""

    def __init__(self, spec: LearnerSpec):
        import deepspeed
        from transformers import AutoModelForCausalLM

        self.spec = spec
        self.step_count = 0
        torch.manual_seed(spec.seed)
        self.dtype = getattr(torch, spec.model.dtype)
        network = AutoModelForCausalLM.from_pretrained(
            spec.model_path, dtype=self.dtype, attn_implementation=spec.model.attention
        )
        network.config.use_cache = False
        if spec.model.gradient_checkpointing:
            network.gradient_checkpointing_enable()
        self.engine, *_ = deepspeed.initialize(model=network, config=_deepspeed_config(spec))
        self.engine.train()
        self.device = self.engine.device

    @property
    def rank(self) -> int:
        return torch.distributed.get_rank()

    @property
    def world_size(self) -> int:
        return torch.distributed.get_world_size()

    @property
    def module(self) -> torch.nn.Module:
        return self.engine.module

    def sft_step(self, rows: Sequence[Row]) -> dict[str, float]:
        """One update by cross-entropy on this rank's rows. Returns metrics summed over all ranks."""
        return self._update(rows, 1.0, lambda logprobs, logits, row: sft_loss(logprobs, row.token_weights))

    def mgpo_step(self, rows: Sequence[Row], mgpo: MgpoConfig, temperature: float) -> dict[str, float]:
        """One MGPO update (section 3.4) on this rank's rows, sampled at `temperature`."""

        def row_loss(logprobs: torch.Tensor, logits: torch.Tensor, row: Row) -> tuple[torch.Tensor, Metrics]:
            loss, metrics = mgpo_loss(
                logprobs,
                row.rollout_logprobs,
                row.advantages,
                row.token_weights,
                mgpo.clip_low,
                mgpo.clip_high,
            )
            with torch.no_grad():
                metrics["entropy"] = (entropy(logits, temperature) * (row.token_weights > 0)).sum()
            return loss, metrics

        return self._update(rows, temperature, row_loss)

    def _update(self, rows: Sequence[Row], temperature: float, row_loss: RowLoss) -> dict[str, float]:
        learning_rate = lr_at(self.step_count, self.spec.total_steps, self.spec.optimizer)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        totals: Metrics = {}
        batches = self._as_many_as_the_others(stack(rows, self.spec.learner.rows_per_batch))
        for index, batch in enumerate(batches):
            batch = _to(batch, self.device)
            logits = self._logits(batch)
            logprobs = selected_logprobs(logits, batch.targets, temperature)
            loss, metrics = row_loss(logprobs, logits, batch)
            self.engine.set_gradient_accumulation_boundary(index == len(batches) - 1)
            self.engine.backward(loss * self.world_size, scale_wrt_gas=False)
            _accumulate(totals, {"loss": loss.detach(), **metrics})
        grad_norm = self._plain_grad_norm()
        self.engine.step()
        self.step_count += 1
        if grad_norm is None:
            grad_norm = float(self.engine.get_global_grad_norm())
        return {**_all_reduce(totals, self.device), "learning_rate": learning_rate, "grad_norm": grad_norm}

    def _plain_grad_norm(self) -> float | None:
        """ZeRO-0 in float32 keeps its norm to itself: it is taken from the reduced gradients before the step."""
        if self.spec.learner.zero_stage > 0 or self.dtype != torch.float32:
            return None
        return float(torch.nn.utils.get_total_norm([p.grad for p in self.module.parameters() if p.grad is not None]))

    def _as_many_as_the_others(self, batches: list[Row]) -> list[Row]:
        """As many micro-batches as the rank that has most, at least one: collectives must meet their like."""
        count = torch.tensor(max(len(batches), 1), device=self.device)
        torch.distributed.all_reduce(count, op=torch.distributed.ReduceOp.MAX)
        return batches + [empty_batch()] * (int(count) - len(batches))

    def _logits(self, batch: Row) -> torch.Tensor:
        """[B, T, V]. No attention mask: restarting positions alone keep packed sequences apart."""
        return self.engine(input_ids=batch.token_ids, position_ids=batch.position_ids, use_cache=False).logits

    @torch.no_grad()
    def token_logprobs(self, token_ids: Sequence[int]) -> list[float]:
        """log p(token[t] | tokens before) at temperature 1 for t >= 1: the fingerprint of the weights."""
        self.engine.eval()
        tokens = torch.tensor(token_ids, dtype=torch.int64, device=self.device)
        logits = self.engine(input_ids=tokens.unsqueeze(0), use_cache=False).logits[0, :-1]
        self.engine.train()
        return selected_logprobs(logits, tokens[1:], 1.0).tolist()

    def export_weights(self, bucket_bytes: int) -> Iterator[Bucket]:
        """Every tensor of the checkpoint under all its names, gathered from ZeRO-3 one bucket at a time.

        Only rank 0 keeps the bytes, the others' buckets are empty. A bucket shares memory with the weights: send it
        before the next one is asked for.
        """
        for tensors in self.gathered(bucket_bytes):
            yield pack_bucket(tensors if self.rank == 0 else [])

    def gathered(self, bucket_bytes: int) -> Iterator[list[NamedTensor]]:
        """All tensors, bucket by bucket: those of ZeRO-3 are whole on every rank until the next bucket is asked for."""
        import deepspeed

        for bucket in self._parameter_buckets(bucket_bytes):
            with deepspeed.zero.GatheredParameters([parameter for _, parameter in bucket]):
                yield [(names, parameter.detach().to(self.dtype)) for names, parameter in bucket]

    def num_buckets(self, bucket_bytes: int) -> int:
        return sum(1 for _ in self._parameter_buckets(bucket_bytes))

    def shapes(self) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
        """The names and whole shape of each tensor, in the order of `gathered`."""
        return [(names, tuple(getattr(p, "ds_shape", p.shape))) for names, p in self._named_parameters()]

    def _parameter_buckets(self, bucket_bytes: int) -> Iterator[list[tuple[tuple[str, ...], torch.nn.Parameter]]]:
        # Under ZeRO-3 a rank's own part says nothing of the whole.
        def size(item: tuple[tuple[str, ...], torch.nn.Parameter]) -> int:
            return getattr(item[1], "ds_numel", item[1].numel()) * self.dtype.itemsize

        return in_buckets(self._named_parameters(), size, bucket_bytes)

    def _named_parameters(self) -> list[tuple[tuple[str, ...], torch.nn.Parameter]]:
        """Each parameter once, with all its names: an engine that packs a tied one twice needs both."""
        named: dict[int, tuple[tuple[str, ...], torch.nn.Parameter]] = {}
        for name, parameter in self.module.named_parameters(remove_duplicate=False):
            names, _ = named.get(id(parameter), ((), parameter))
            named[id(parameter)] = ((*names, name), parameter)
        return list(named.values())

    def _full_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        import deepspeed

        # named_parameters() drops the second name of a tied tensor; an engine that packs both needs both.
        for name, parameter in self.module.named_parameters(remove_duplicate=False):
            with deepspeed.zero.GatheredParameters([parameter]):
                yield name, parameter.detach().to(self.dtype)

    def save_hf(self, folder: Path) -> None:
        """The weights as an ordinary Hugging Face checkpoint in `folder`, with the tokenizer; rank 0 writes."""
        tensors = {name: t.cpu().clone() for name, t in self._full_tensors() if self.rank == 0}
        if self.rank == 0:
            self.module.save_pretrained(folder, state_dict=tensors)
            _copy_tokenizer(Path(self.spec.model_path), folder)
        torch.distributed.barrier()

    def save_state(self, folder: Path) -> None:
        """Weights, optimizer and step, to resume from: DeepSpeed's own checkpoint."""
        self.engine.save_checkpoint(str(folder), tag="state", client_state={"step_count": self.step_count})

    def load_state(self, folder: Path, restart_schedule: bool = False) -> None:
        """Weights, moments and, unless `restart_schedule`, the step count.

        Raises RuntimeError where `folder` holds no whole checkpoint.
        """
        path, client_state = self.engine.load_checkpoint(str(folder), tag="state")
        if path is None:
            raise RuntimeError(f"{folder} holds no DeepSpeed checkpoint: delete it to resume from the step before")
        self.step_count = 0 if restart_schedule else client_state["step_count"]

    def sleep(self) -> None:
        """Free the GPU: weights, masters and optimizer go to host memory until `wake_up`. ZeRO 1 and 2 only."""
        # DeepSpeed drops its pinned buffers at every reload: pinning anew each time would cost more than it saves.
        self.engine.offload_states(pin_memory=False)

    def wake_up(self) -> None:
        self.engine.reload_states()

    def close(self) -> None:
        self.engine.destroy()
        # A generator may wait for this GPU.
        del self.engine
        gc.collect()
        torch.cuda.empty_cache()


def lr_at(step: int, total_steps: int, optimizer: OptimizerConfig) -> float:
    """Linear warm-up to `lr`, then cosine from `lr` to `lr * min_lr_ratio` at the last step.

    `min_lr_ratio` = 1 is a constant rate. `step` counts from 0 and the first step already trains.
    """
    if step < optimizer.warmup_steps:
        return optimizer.lr * (step + 1) / optimizer.warmup_steps
    span = max(total_steps - 1 - optimizer.warmup_steps, 1)
    progress = min((step - optimizer.warmup_steps) / span, 1.0)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return optimizer.lr * (optimizer.min_lr_ratio + (1 - optimizer.min_lr_ratio) * cosine)


def _deepspeed_config(spec: LearnerSpec) -> dict:
    optimizer, learner = spec.optimizer, spec.learner
    offload = {"offload_optimizer": {"device": "cpu"}} if learner.offload_optimizer else {}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": optimizer.max_grad_norm,
        "bf16": {"enabled": spec.model.dtype == "bfloat16"},
        "zero_optimization": {"stage": learner.zero_stage, **offload},
        "zero_allow_untested_optimizer": True,
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": optimizer.lr,
                "betas": list(optimizer.betas),
                "weight_decay": optimizer.weight_decay,
                "torch_adam": True,
            },
        },
    }


def _copy_tokenizer(source: Path, folder: Path) -> None:
    """File by file: loading and saving a tokenizer may change it."""
    for file in source.iterdir():
        if file.name.startswith(("tokenizer", "special_tokens", "added_tokens", "chat_template", "vocab", "merges")):
            shutil.copy2(file, folder / file.name)


def _to(row: Row, device: torch.device) -> Row:
    return Row(*(getattr(row, name).to(device) for name in Row.__slots__))


def _accumulate(totals: Metrics, metrics: Metrics) -> None:
    for name, value in metrics.items():
        if name.endswith("_max"):
            totals[name] = torch.maximum(totals.get(name, value), value)
        else:
            totals[name] = totals.get(name, 0) + value


def _all_reduce(totals: Metrics, device: torch.device) -> dict[str, float]:
    """Sums (names ending in `_max`: maxima) over ranks."""
    out = {}
    for name in sorted(totals):
        value = torch.as_tensor(totals[name], dtype=torch.float64, device=device)
        op = torch.distributed.ReduceOp.MAX if name.endswith("_max") else torch.distributed.ReduceOp.SUM
        torch.distributed.all_reduce(value, op=op)
        out[name] = value.item()
    return out
