"""Learner ranks on Ray: thin shells around `engines.training`, and the group that the driver holds."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import ray

from vt_ray.actors.busy import BusyTime
from vt_ray.actors.export import Exported, ExportedWeights, Proof, export, send
from vt_ray.actors.logs import redirect_output
from vt_ray.algorithms.packing import TrainSequence, deal, pack, rl_token_weight
from vt_ray.config import MgpoConfig
from vt_ray.engines.training import LearnerSpec, TrainingEngine, init_process_group
from vt_ray.engines.transfer import Notice
from vt_ray.engines.weights import Bucket
from vt_ray.records import GradedGroup, GroupWeight, Rollouts


@ray.remote
class LearnerActor:
    def __init__(self, rank: int, threads: int, log_folder: Path):
        import torch

        redirect_output(log_folder / f"learner_{rank}.log")
        torch.set_num_threads(threads)
        self.rank = rank
        self.busy = BusyTime()
        self.engine: TrainingEngine | None = None
        self.sender = None

    def busy_seconds(self) -> float:
        return self.busy.seconds

    def address(self) -> tuple[str, int]:
        """Where rank 0 listens: this node's address and a free port."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def join(self, world_size: int, address: str, port: int) -> None:
        init_process_group(self.rank, world_size, address, port)

    def open(self, spec: LearnerSpec) -> None:
        self.close()
        self.engine = TrainingEngine(spec)

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()
            self.engine = self.sender = None

    def sleep(self) -> None:
        self.engine.sleep()

    def wake_up(self) -> None:
        self.engine.wake_up()

    def sft_step(self, sequences: list[TrainSequence]) -> dict[str, float]:
        return self.engine.sft_step(pack(sequences, self.engine.spec.learner.row_tokens))

    def mgpo_step(
        self, shares: list[tuple], num_groups: int, mgpo: MgpoConfig, temperature: float, *rollouts: Rollouts
    ) -> dict[str, float]:
        with self.busy:
            sequences = [
                sequence
                for group, (valid, advantages) in zip(rollouts, shares, strict=True)
                for sequence in rl_sequences(group, valid, advantages, num_groups)
            ]
            rows = pack(sequences, self.engine.spec.learner.row_tokens)
            return self.engine.mgpo_step(rows, mgpo, temperature)

    def token_logprobs(self, token_ids: list[int]) -> list[float]:
        with self.busy:
            return self.engine.token_logprobs(token_ids)

    def begin_export(self, bucket_bytes: int) -> int:
        """The number of buckets to ask for, one by one, with `next_bucket`."""
        self.exported = Exported({}, 0)
        self.buckets = self.engine.export_weights(bucket_bytes)
        return self.engine.num_buckets(bucket_bytes)

    def next_bucket(self) -> Bucket | None:
        """Rank 0's next bucket; the other ranks only help gathering."""
        with self.busy:
            bucket = next(self.buckets)
            self.exported.add(bucket)
        return bucket if self.rank == 0 else None

    def end_export(self, probe: list[int]) -> Proof:
        for _ in self.buckets:
            raise RuntimeError("the export has more buckets than were asked for")
        return Proof(self.exported, tuple(self.token_logprobs(probe)))

    def begin_send(self, transport: str, receivers: int, bucket_bytes: int) -> Notice:
        """Past Ray: what the generators are told. `receivers` counts their workers."""
        from vt_ray.engines.transfer_gpu import open_sender

        with self.busy:
            if self.sender is None:
                address = ray.util.get_node_ip_address()
                self.sender = open_sender(transport, self.engine, receivers, bucket_bytes, address)
            return self.sender.begin()

    def end_send(self, probe: list[int]) -> Proof:
        with self.busy:
            self.sender.finish()
        sent = Exported(self.sender.source.checksums, self.sender.source.num_bytes)
        return Proof(sent, tuple(self.token_logprobs(probe)))

    def save_hf(self, folder: Path) -> None:
        self.engine.save_hf(folder)

    def save_state(self, folder: Path) -> None:
        self.engine.save_state(folder)

    def load_state(self, folder: Path, restart_schedule: bool) -> None:
        self.engine.load_state(folder, restart_schedule)


def rl_sequences(
    group: Rollouts, valid: Sequence[bool], advantages: Sequence[float], num_groups: int
) -> list[TrainSequence]:
    """The completions of a group that carry a gradient: an advantage of 0 has none, and no term needs it.

    The denominators still count them: every group of the batch, every valid rollout of the group.
    """
    return [
        TrainSequence(
            group.prompt_token_ids,
            c.token_ids,
            rl_token_weight(num_groups, sum(valid), len(c.token_ids)),
            advantage,
            c.rollout_logprobs,
        )
        for c, is_valid, advantage in zip(group.completions, valid, advantages, strict=True)
        if is_valid and advantage != 0 and c.token_ids
    ]


class RayLearner:
    """Implements `interfaces.Learner` over one actor a rank."""

    def __init__(self, actors: list, transport: str = "object_store", receivers: int = 0):
        """`transport` of the weights (config.TRANSPORTS, not auto) to `receivers` workers of generators."""
        self.actors = actors
        self.transport, self.receivers = transport, receivers

    def sft_step(self, sequences: Sequence[TrainSequence]) -> dict[str, float]:
        shares = deal([len(s) for s in sequences], len(self.actors))
        calls = [
            actor.sft_step.remote([sequences[i] for i in share])
            for actor, share in zip(self.actors, shares, strict=True)
        ]
        return ray.get(calls)[0]

    def mgpo_step(
        self,
        groups: Sequence[GradedGroup],
        weights: Sequence[GroupWeight],
        mgpo: MgpoConfig,
        temperature: float,
        max_new_tokens: int,
    ) -> dict[str, float]:
        # Only groups with a signal travel; see rl_sequences for why the others cost nothing.
        num_groups = sum(any(g.valid) for g in groups)
        useful = [i for i, w in enumerate(weights) if any(w.advantages)]
        shares = deal([sum(groups[i].completion_tokens) for i in useful], len(self.actors))
        calls = []
        for actor, share in zip(self.actors, shares, strict=True):
            mine = [useful[i] for i in share]
            told = [(groups[i].valid, weights[i].advantages) for i in mine]
            handles = [groups[i].rollouts for i in mine]
            calls.append(actor.mgpo_step.remote(told, num_groups, mgpo, temperature, *handles))
        return ray.get(calls)[0]

    def export_weights(self, version: int, probe: Sequence[int], bucket_bytes: int) -> ExportedWeights:
        if self.transport == "object_store":
            return export(self.actors, version, list(probe), bucket_bytes)
        return send(self.actors, version, list(probe), self.transport, self.receivers, bucket_bytes)

    def save_hf(self, folder: Path) -> None:
        ray.get([actor.save_hf.remote(folder) for actor in self.actors])

    def save_state(self, folder: Path) -> None:
        ray.get([actor.save_state.remote(folder) for actor in self.actors])

    def load_state(self, folder: Path, restart_schedule: bool = False) -> None:
        ray.get([actor.load_state.remote(folder, restart_schedule) for actor in self.actors])

    def sleep(self) -> None:
        ray.get([actor.sleep.remote() for actor in self.actors])

    def wake_up(self) -> None:
        ray.get([actor.wake_up.remote() for actor in self.actors])
