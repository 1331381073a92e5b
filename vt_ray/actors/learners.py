"""Learner ranks on Ray: an actor around `engines.training`, and the handle on all ranks that the driver holds."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.actor import ActorHandle

from vt_ray.actors.busy import BusyTime
from vt_ray.actors.export import Exported, ExportedWeights, Proof, WeightsGone, export, send
from vt_ray.actors.gpu_sharing import SharedGpu
from vt_ray.actors.process import begin_process, keep_freed_memory
from vt_ray.actors.shards import Share, computed_weights, rl_sequences, tokens_to_compute
from vt_ray.algorithms.aggregation import completion_token_weights
from vt_ray.algorithms.packing import TrainSequence, balance
from vt_ray.config import MgpoConfig
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.vllm.transfer import Notice
from vt_ray.engines.weights import Bucket
from vt_ray.records import GradedGroup, GroupAdvantages, Rollouts

# The driver imports this module too. Only the actors import the engine, which loads transformers and DeepSpeed.
if TYPE_CHECKING:
    from vt_ray.engines.training import TrainingEngine
    from vt_ray.engines.vllm.transfer_gpu import WeightSender


@ray.remote
class LearnerActor:
    def __init__(self, rank: int, threads: int, log_folder: Path):
        begin_process(log_folder / f"learner_{rank}.log")
        import torch

        # Takes seconds. Meanwhile the driver prepares the base model.
        import vt_ray.engines.training  # noqa: F401
        from vt_ray.engines.deepspeed_process import load_deepspeed

        load_deepspeed()
        torch.set_num_threads(threads)
        keep_freed_memory()
        self.rank = rank
        self.busy = BusyTime()
        self._engine: TrainingEngine | None = None
        self.sender: WeightSender | None = None
        self.sender_group = 0
        # The engine's step count at the last `begin_send`; None if the weights have changed otherwise since.
        self.sent_at: int | None = None
        self.exported = Exported({}, 0)
        self.buckets: Iterator[Bucket] | None = None

    @property
    def engine(self) -> TrainingEngine:
        """Raises RuntimeError before `open`."""
        if self._engine is None:
            raise RuntimeError("the learner is not open")
        return self._engine

    def busy_seconds(self) -> float:
        return self.busy.seconds

    def address(self) -> tuple[str, int]:
        """This node's address and a free port, where rank 0 will listen."""
        with socket.socket() as listener:
            listener.bind(("", 0))
            return ray.util.get_node_ip_address(), listener.getsockname()[1]

    def gpu_gb(self) -> float:
        """The memory of this rank's GPU, in units of 1e9 bytes; 0 without one."""
        import torch

        return torch.cuda.get_device_properties(0).total_memory / 1e9 if torch.cuda.is_available() else 0.0

    def join(self, world_size: int, address: str, port: int) -> None:
        from vt_ray.engines.deepspeed_process import init_process_group

        init_process_group(self.rank, world_size, address, port)

    def open(self, spec: LearnerSpec) -> None:
        from vt_ray.engines.training import TrainingEngine

        self.close()
        self._engine = TrainingEngine(spec)

    def close(self) -> None:
        self._close_sender()
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _close_sender(self) -> None:
        if self.sender is not None:
            self.sender.close()
        self.sender = self.sent_at = None

    def sleep(self) -> None:
        self.engine.sleep()

    def wake_up(self) -> None:
        self.engine.wake_up()

    def sft_step(self, sequences: list[TrainSequence]) -> dict[str, float]:
        return self.engine.sft_step(self.engine.rows(sequences))

    def completion_nll(self, sequences: list[TrainSequence]) -> list[float]:
        from vt_ray.engines.likelihood import completion_nll

        with self.busy:
            return completion_nll(self.engine, sequences)

    def update_shard(
        self, shares: list[Share], mgpo: MgpoConfig, temperature: float, *rollouts: Rollouts
    ) -> dict[str, float]:
        """This rank's part of one MGPO update: the groups in `rollouts`, each with its share."""
        from vt_ray.engines.rl_loss import covariance_counts

        with self.busy:
            sequences, counts = rl_sequences(rollouts, shares)
            rows, row_loss = self.engine.rows(sequences), self.engine.mgpo_row_loss(mgpo, temperature)
            counts |= covariance_counts(rows, self.engine.device)
            return self.engine.optimizer_step(rows, row_loss, temperature, counts)

    def token_logprobs(self, token_ids: list[int]) -> list[float]:
        with self.busy:
            return self.engine.token_logprobs(token_ids)

    def begin_export(self, bucket_bytes: int) -> int:
        """Returns the number of buckets, to be asked for one by one with `next_bucket`."""
        self.exported = Exported({}, 0)
        self.buckets = self.engine.export_weights(bucket_bytes)
        return self.engine.num_buckets(bucket_bytes)

    def next_bucket(self) -> Bucket | None:
        """Returns the next bucket on rank 0, None on the other ranks, which take part in gathering only.

        Raises WeightsGone after a `begin_resend` that found other weights.
        """
        if self.buckets is None:
            raise WeightsGone("the learner has taken a step since these weights were sent")
        with self.busy:
            bucket = next(self.buckets)
            self.exported.add(bucket)
        return bucket if self.rank == 0 else None

    def end_export(self, fingerprint: list[int]) -> Proof:
        self.end_resend()
        return Proof(self.exported, tuple(self.token_logprobs(fingerprint)))

    def num_buckets(self, bucket_bytes: int) -> int:
        return self.engine.num_buckets(bucket_bytes)

    def begin_resend(self, bucket_bytes: int) -> None:
        """Exports the weights of the last `begin_send` as buckets, if the learner still has them."""
        self.exported = Exported({}, 0)
        gone = self._engine is None or self._engine.step_count != self.sent_at
        self.buckets = None if gone else self.engine.export_weights(bucket_bytes)

    def end_resend(self) -> None:
        for _ in self.buckets or ():
            raise RuntimeError("the export has more buckets than were asked for")

    def begin_send(self, transport: str, receivers: int, bucket_bytes: int, group: int) -> Notice:
        """Returns the message for the generators of a transfer that does not pass through Ray.

        `receivers` is the number of their workers and `group` the number of their set: a new set needs a new sender,
        since an NCCL group cannot change its members.
        """
        from vt_ray.engines.vllm.transfer_gpu import open_sender

        with self.busy:
            if self.sender is None or group != self.sender_group:
                self._close_sender()
                address = ray.util.get_node_ip_address()
                self.sender = open_sender(transport, self.engine, receivers, bucket_bytes, address)
                self.sender_group = group
            self.sent_at = self.engine.step_count
            return self.sender.begin()

    def end_send(self, fingerprint: list[int]) -> Proof:
        assert self.sender is not None, "end_send without begin_send"
        with self.busy:
            self.sender.finish()
        sent = Exported(self.sender.source.checksums, self.sender.source.num_bytes)
        return Proof(sent, tuple(self.token_logprobs(fingerprint)))

    def save_hf(self, folder: Path) -> None:
        self.engine.save_hf(folder)

    def save_state(self, folder: Path) -> None:
        self.engine.save_state(folder)

    def load_state(self, folder: Path, restart_schedule: bool) -> None:
        self.engine.load_state(folder, restart_schedule)
        self.sent_at = None


class RayLearner:
    """Implements `interfaces.Learner` over one actor per rank. Every call takes `gpu` first.

    `sequence_parallel_size` consecutive ranks get the same rows and share them.
    """

    def __init__(
        self,
        actors: list[ActorHandle],
        sequence_parallel_size: int = 1,
        transport: str = "object_store",
        receivers: int = 0,
        receiving_group: Callable[[], int | None] = lambda: 0,
        gpu: SharedGpu | None = None,
    ):
        """`transport` of the weights (config.TRANSPORTS, except auto) to `receivers` workers of generators.

        `receiving_group` returns the number of the set of ready generators, None while one is being replaced: the
        weights then go to all by the object store, since NCCL needs all of them at once.
        """
        self.actors, self.sequence_parallel_size = actors, sequence_parallel_size
        self.transport, self.receivers, self.receiving_group = transport, receivers, receiving_group
        self.gpu = gpu or SharedGpu(shared=False)
        # All ranks must get collective calls in the same order, and a resend comes from another thread.
        self._same_order = threading.Lock()

    def _all(self, ask: Callable[[ActorHandle], ray.ObjectRef[Any]]) -> None:
        with self._same_order:
            calls = [ask(actor) for actor in self.actors]
        ray.get(calls)

    def sft_step(self, sequences: Sequence[TrainSequence]) -> dict[str, float]:
        self.gpu.take(self)
        calls: list[ray.ObjectRef[Any]] = [
            actor.sft_step.remote([sequences[i] for i in share])
            for actor, share in self._distribute(list(map(len, sequences)))
        ]
        return _metrics(calls)

    def completion_nll(self, sequences: Sequence[TrainSequence]) -> list[float]:
        self.gpu.take(self)
        shares = self._distribute(list(map(len, sequences)))
        calls = [actor.completion_nll.remote([sequences[i] for i in share]) for actor, share in shares]
        parts: list[list[float]] = ray.get(calls)
        found = [0.0] * len(sequences)
        for (_, share), part in zip(shares, parts, strict=True):
            for index, nll in zip(share, part, strict=True):
                found[index] += nll  # ranks that share rows have the same sequences, and a part of each sum
        return found

    def _distribute(self, lengths: Sequence[int]) -> list[tuple[ActorHandle, list[int]]]:
        """Returns each rank with the indices of the items that it computes."""
        size = self.sequence_parallel_size
        shares = balance(lengths, len(self.actors) // size)
        return [(actor, shares[rank // size]) for rank, actor in enumerate(self.actors)]

    def update(
        self,
        groups: Sequence[GradedGroup],
        advantages: Sequence[GroupAdvantages],
        mgpo: MgpoConfig,
        temperature: float,
        max_new_tokens: int,
    ) -> dict[str, float]:
        self.gpu.take(self)
        token_weights = completion_token_weights(groups, mgpo.aggregation, max_new_tokens)
        computed = [
            computed_weights(of_group, of_same_group.advantages, mgpo.kl_coef)
            for of_group, of_same_group in zip(token_weights, advantages, strict=True)
        ]
        # A group without a completion to compute is not sent to any rank.
        useful = [i for i, of_group in enumerate(computed) if any(of_group)]
        calls: list[ray.ObjectRef[Any]] = []
        with self._same_order:
            for actor, share in self._distribute([tokens_to_compute(groups[i], computed[i]) for i in useful]):
                mine = [useful[j] for j in share]
                payload = [(computed[i], advantages[i].advantages) for i in mine]
                calls.append(actor.update_shard.remote(payload, mgpo, temperature, *[groups[i].rollouts for i in mine]))
        return _metrics(calls)

    def export_weights(self, version: int, fingerprint: Sequence[int], bucket_bytes: int) -> ExportedWeights:
        self.gpu.take(self)
        group = {"nccl": self.receiving_group, "ipc": lambda: 0}.get(self.transport, lambda: None)()
        with self._same_order:
            if group is None:
                return export(self.actors, version, list(fingerprint), bucket_bytes)
            settings = (self.transport, self.receivers, bucket_bytes, group, self._same_order)
            return send(self.actors, version, list(fingerprint), *settings)

    def save_hf(self, folder: Path) -> None:
        self.gpu.take(self)
        self._all(lambda actor: actor.save_hf.remote(folder))

    def save_state(self, folder: Path) -> None:
        self.gpu.take(self)
        self._all(lambda actor: actor.save_state.remote(folder))

    def load_state(self, folder: Path, restart_schedule: bool = False) -> None:
        self.gpu.take(self)
        self._all(lambda actor: actor.load_state.remote(folder, restart_schedule))

    def sleep(self) -> None:
        self._all(lambda actor: actor.sleep.remote())

    def wake_up(self) -> None:
        self._all(lambda actor: actor.wake_up.remote())


def _metrics(calls: list[ray.ObjectRef[Any]]) -> dict[str, float]:
    """Waits for all ranks, whose metrics are the same."""
    metrics: dict[str, float] = ray.get(calls)[0]
    return metrics
