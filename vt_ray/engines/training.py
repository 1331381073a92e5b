"""One rank of the learner: DeepSpeed without Ray, usable in a plain script.

    rows --policy--> logprobs --loss--> backward (each micro-batch) --> one optimizer step --> weights out, in buckets

A row's `token_weights` contain every denominator, taken over all rows of all ranks. Losses and gradients are therefore
summed, never averaged. DeepSpeed averages gradients over ranks: multiplying the loss by the number of ranks undoes it.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from vt_ray.algorithms.learning_rate import lr_at
from vt_ray.algorithms.losses import Metrics, sft_loss
from vt_ray.algorithms.packing import (
    Row,
    TrainSequence,
    empty_batch,
    make_row,
    pack,
    pack_branches,
    stack,
)
from vt_ray.config import MgpoConfig
from vt_ray.data.prompts import sample_seed
from vt_ray.engines import model_export
from vt_ray.engines.attention_check import refuse_unlike_rows
from vt_ray.engines.deepspeed_process import move_frozen, open_reference, release
from vt_ray.engines.entropy_bonus import EntropyBonus
from vt_ray.engines.learner_spec import LearnerSpec, parameter_groups, training_config
from vt_ray.engines.learner_state import layout_of, load_state, save_state
from vt_ray.engines.lora import trainable_share, without_adapters, without_dropout
from vt_ray.engines.policy import forward, load_policy, refuse_unknown_tokens
from vt_ray.engines.rl_loss import RowLoss, refuse_unusable_loss, rl_row_loss
from vt_ray.engines.step_counts import step_counts
from vt_ray.engines.step_metrics import accumulate, all_reduce, peak_memory_gb
from vt_ray.engines.ulysses import SequenceParallel
from vt_ray.engines.weights import Bucket, NamedTensor, pack_bucket

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TrainingEngine:
    """One rank. Every method that touches weights or gradients is collective: call it on all ranks."""

    def __init__(self, spec: LearnerSpec):
        import deepspeed

        self.spec, self.step_count, self.entropy_bonus = spec, 0, EntropyBonus()
        torch.manual_seed(spec.seed)
        self.dtype = getattr(torch, spec.model.dtype)
        policy = load_policy(spec)
        self.trainable_share = trainable_share(policy)
        size = spec.learner.sequence_parallel_size
        self.parallel = SequenceParallel(policy.network, size) if size > 1 else None
        self.engine, *_ = deepspeed.initialize(
            model=policy,
            model_parameters=parameter_groups(policy, spec.optimizer),
            config=training_config(spec),
        )
        if spec.learner.zero_stage == 0 and self.dtype != torch.float32:
            # DeepSpeed has taken a step with zero gradients to allocate the moments: AdamW's bias correction would
            # start at its second step.
            self.engine.optimizer.optimizer.state.clear()
        self.engine.train()
        self.device = self.engine.device
        refuse_unlike_rows(spec, self.module, self._row_logprobs, lambda sequences: self._batches(self.rows(sequences)))
        # With adapters the start model is the frozen part of the model itself.
        needs_copy = spec.with_reference and not spec.learner.lora.rank
        self.reference = open_reference(spec, self.device) if needs_copy else None

    def _row_logprobs(self, batch: Row) -> torch.Tensor:
        return forward(self.engine, batch.to(self.device), 1.0)[0].cpu()

    @property
    def rank(self) -> int:
        return torch.distributed.get_rank()

    @property
    def world_size(self) -> int:
        return torch.distributed.get_world_size()

    @property
    def module(self) -> PreTrainedModel:
        """The Hugging Face model: its parameters have the checkpoint's names."""
        return self.engine.module.network

    def rows(self, sequences: Sequence[TrainSequence]) -> list[Row]:
        """Packs sequences into rows; one sequence per row if ranks share rows (`engines.ulysses`)."""
        if self.parallel:
            return [make_row([s]) for s in sequences]
        packed = pack_branches if self.spec.learner.share_prompts else pack
        return packed(sequences, self.spec.learner.row_tokens)

    def sft_step(self, rows: Sequence[Row]) -> dict[str, float]:
        """One update by cross-entropy on this rank's rows. Returns metrics summed over all ranks."""
        return self.optimizer_step(rows, lambda logprobs, _, row: sft_loss(logprobs, row.token_weights))

    def mgpo_row_loss(self, mgpo: MgpoConfig, temperature: float) -> RowLoss:
        """The loss that `mgpo` describes, of a row that was sampled at `temperature`, for the next `optimizer_step`.

        Raises ConfigError for a loss that cannot be imported here, for a KL term without a reference, and for ratios of
        whole sequences if each rank holds only a slice of them.
        """
        refuse_unusable_loss(mgpo, self.spec.with_reference, self.parallel.size if self.parallel else 1)
        self.entropy_bonus.settings = mgpo.entropy_bonus
        coefficient = self.entropy_bonus.active()
        # In a step without a bonus the head would compute the logits once more for a gradient of zeros.
        self.module.get_output_embeddings().entropy_gradient = coefficient > 0
        reference = partial(self._reference_logprobs, temperature=temperature) if mgpo.kl_coef > 0 else None
        return rl_row_loss(mgpo, coefficient, self.parallel is None, reference)

    def optimizer_step(
        self,
        rows: Sequence[Row],
        row_loss: RowLoss,
        temperature: float = 1.0,
        counts: Mapping[str, float] = MappingProxyType({}),
    ) -> dict[str, float]:
        """One update by `row_loss` on this rank's rows, with log-probabilities at `temperature`.

        Returns metrics summed over all ranks, among them `counts` of this rank's rows and its `step_counts`.
        """
        largest_id = max((int(row.token_ids.max()) for row in rows if len(row.token_ids)), default=0)
        refuse_unknown_tokens(self.module, largest_id, self.spec.model_path)
        learning_rate = lr_at(self.step_count, self.spec.total_steps, self.spec.optimizer)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        if self.spec.learner.lora.dropout:
            # A resumed run must drop the same inputs.
            torch.manual_seed(sample_seed("dropout", self.spec.seed, self.step_count, self.rank))
        counted = self._counted_once({**counts, **step_counts(self, rows)})
        totals: Metrics = {name: torch.tensor(n, dtype=torch.float64) for name, n in counted.items()}
        batches = self._batches(rows)
        for index, batch in enumerate(batches):
            batch = batch.to(self.device)
            loss, metrics = row_loss(*forward(self.engine, batch, temperature), batch)
            self.engine.set_gradient_accumulation_boundary(index == len(batches) - 1)
            # A loss that is not finite may have finite gradients. NaN gradients make the norm NaN on all ranks, so
            # that no rank takes the step.
            factor = torch.where(loss.detach().isfinite(), float(self.world_size), float("nan"))
            self.engine.backward(loss * factor, scale_wrt_gas=False)
            accumulate(totals, {"loss": loss.detach(), **metrics})
        grad_norm, skipped = self._step()
        totals["memory_gb_max"] = torch.tensor(peak_memory_gb(self.device))
        reduced = all_reduce(totals, self.device)
        return {
            **reduced,
            **self.entropy_bonus.note(reduced),
            "learning_rate": learning_rate,
            "grad_norm": grad_norm,
            "skipped": float(skipped),
            "trainable_share": self.trainable_share,
        }

    def _step(self) -> tuple[float, bool]:
        """Takes the optimizer's step unless the norm of the gradients is not finite.

        Returns the norm before clipping, and whether the step was skipped. `step_count` counts skipped steps too: the
        learning rate follows the plan.
        """
        self.step_count += 1
        norm = self._plain_grad_norm()
        if norm is not None and not math.isfinite(norm):
            # The other ZeRO stages and dtypes skip such a step by themselves.
            self.engine.zero_grad()
            return norm, True
        skipped_before = self.engine.skipped_steps
        self.engine.step()
        norm = float(self.engine.get_global_grad_norm()) if norm is None else norm
        return norm, self.engine.skipped_steps > skipped_before

    def _counted_once(self, counts: Mapping[str, float]) -> Mapping[str, float]:
        """Ranks that share rows get the same ones: only the first of them counts."""
        return counts if self.parallel is None or self.parallel.rank == 0 else dict.fromkeys(counts, 0.0)

    def _plain_grad_norm(self) -> float | None:
        """ZeRO-0 in float32 does not report its norm: it is computed from the reduced gradients before the step."""
        if self.spec.learner.zero_stage > 0 or self.dtype != torch.float32:
            return None
        return float(torch.nn.utils.get_total_norm([p.grad for p in self.module.parameters() if p.grad is not None]))

    def _batches(self, rows: Sequence[Row]) -> list[Row]:
        """Fills up with empty micro-batches to the largest number of any rank, at least 1: all ranks must make the same
        collective calls."""
        mine = stack(self.parallel.slices(rows), 1) if self.parallel else stack(rows, self.spec.learner.rows_per_batch)
        count = torch.tensor(max(len(mine), 1), device=self.device)
        torch.distributed.all_reduce(count, op=torch.distributed.ReduceOp.MAX)
        return mine + [empty_batch()] * (int(count) - len(mine))

    @torch.no_grad()
    def _reference_logprobs(self, batch: Row, temperature: float) -> torch.Tensor:
        if self.reference is not None:
            return forward(self.reference, batch, temperature)[0]
        with without_adapters(self.module):
            return forward(self.engine.module, batch, temperature)[0]

    def logprobs(self, rows: Sequence[Row]) -> Iterator[tuple[Row, torch.Tensor]]:
        """Yields the micro-batches of this rank's rows, each with its log-probabilities at temperature 1."""
        for batch in self._batches(rows):
            batch = batch.to(self.device)
            with without_dropout(self.module):
                logprobs = forward(self.engine, batch, 1.0)[0]
            yield batch, logprobs

    @torch.no_grad()
    def token_logprobs(self, token_ids: Sequence[int]) -> list[float]:
        """log p(token[t] | tokens before) at temperature 1 for t >= 1: the fingerprint of the weights."""
        self.engine.eval()
        # The first token is the prompt, the rest is the completion.
        row = make_row([TrainSequence(tuple(token_ids[:1]), tuple(token_ids[1:]), 1.0)])
        logprobs, _ = forward(self.engine, stack([row], 1)[0].to(self.device), 1.0)
        self.engine.train()
        return logprobs[0, :-1].tolist()

    def export_weights(self, bucket_bytes: int) -> Iterator[Bucket]:
        """Yields every tensor of the checkpoint under all its names, gathered from ZeRO-3 one bucket at a time.

        Only rank 0 keeps the bytes; the buckets of other ranks are empty. A bucket shares memory with the weights: send
        it before asking for the next one.
        """
        for tensors in self.gathered(bucket_bytes):
            yield pack_bucket(tensors if self.rank == 0 else [])

    def gathered(self, bucket_bytes: int) -> Iterator[list[NamedTensor]]:
        """Yields all tensors, bucket by bucket. Under ZeRO-3 they are complete on every rank until the next bucket."""
        return model_export.gathered(self.module, self.dtype, bucket_bytes)

    def num_buckets(self, bucket_bytes: int) -> int:
        return sum(1 for _ in model_export.buckets(self.module, self.dtype, bucket_bytes))

    def shapes(self) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
        """Returns the names and full shape of each tensor, in the order of `gathered`."""
        return [(item.names, item.shape) for item in model_export.exported(self.module)]

    def save_hf(self, folder: Path) -> None:
        """Saves a Hugging Face checkpoint with the tokenizer to `folder`. Rank 0 writes."""
        model_export.save_hf(self.module, self.dtype, Path(self.spec.model_path), folder)

    def save_state(self, folder: Path) -> None:
        """Saves weights, optimizer, step count and entropy bonus as a DeepSpeed checkpoint, and its layout."""
        client = {"step_count": self.step_count, **self.entropy_bonus.state()}
        save_state(self.engine, folder, layout_of(self.spec, self.world_size), client, self.rank == 0)

    def load_state(self, folder: Path, restart_schedule: bool = False) -> None:
        """Loads weights, moments, the entropy bonus and, unless `restart_schedule`, the step count.

        Raises RuntimeError if `folder` holds no complete checkpoint, or one with another layout.
        """
        client = load_state(self.engine, folder, layout_of(self.spec, self.world_size))
        self.step_count = 0 if restart_schedule else client["step_count"]
        self.entropy_bonus.restore(client)

    def sleep(self) -> None:
        """Frees the GPU: weights, master weights and optimizer go to host memory until `wake_up`. ZeRO 1 and 2 only."""
        # DeepSpeed frees its pinned buffers at every reload: pinning again each time costs more than it saves.
        self.engine.offload_states(pin_memory=False)
        move_frozen(self.module, "cpu")
        if self.reference is not None:
            self.reference.to("cpu")

    def wake_up(self) -> None:
        self.engine.reload_states()
        move_frozen(self.module, self.device)
        if self.reference is not None:
            self.reference.to(self.device)

    def close(self) -> None:
        release(self.engine)
        if self.reference is not None and self.spec.learner.zero_stage == 3:
            release(self.reference)
        if self.parallel is not None:
            self.parallel.close()
        # A generator may be waiting for the GPU's memory.
        del self.engine, self.reference
        gc.collect()
        torch.cuda.empty_cache()
