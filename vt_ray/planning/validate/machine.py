"""Checks of the machinery: model, cluster, placement, learner, weight transport, verifier; this machine."""

from __future__ import annotations

import os
from math import inf
from pathlib import Path

from vt_ray.config import ATTENTIONS, TAKE_TURNS, TRANSPORTS, Config, ConfigError
from vt_ray.data.chat_templates import template_text
from vt_ray.engines.generation import ENGINES, engine_class
from vt_ray.engines.vllm.engine_args import engine_args_faults
from vt_ray.planning.placement import asked, gpus_asked, place, with_needed_actors
from vt_ray.planning.validate.rules import Problems, at_least, no_error, one_of
from vt_ray.verify.kinds import kind_fault
from vt_ray.verify.limits import BACKENDS, HIGHEST_LIMITS, limit_fault

# Longest path of a Unix socket on Linux, in bytes, and the longest name of a socket below the folder of Ray 2.60.
SOCKET_PATH = 107
RAY_SOCKET = f"ray/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"


def refuse_missing_gpus(config: Config) -> None:
    """Raise ConfigError if a run that starts its own Ray asks for more GPUs than this machine has."""
    cluster = config.cluster
    if gpus_asked(cluster) == 0 or cluster.ray_address is not None:
        return
    import torch

    there = torch.cuda.device_count()
    if gpus_asked(cluster) > there:
        raise ConfigError(
            f"cluster asks for {asked(cluster)}, this machine has {there}: set cluster.ray_address=auto inside a Ray "
            "cluster with more GPUs, or take cluster=local"
        )


def refuse_unusable_folders(config: Config) -> None:
    """Raise ConfigError if Ray cannot use its temporary folder or HOME on this machine.

    A Ray that was started elsewhere (`cluster.ray_address`) has its own folders.
    """
    if config.cluster.ray_address is None:
        _refuse_long_socket_paths()
        _refuse_home_without_token()


def _refuse_long_socket_paths() -> None:
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder = os.environ.get(name, "/tmp")
    length, limit = len(os.fsencode(folder)), SOCKET_PATH - 1 - len(RAY_SOCKET)
    if length > limit:
        raise ConfigError(
            f"{name}={folder} has {length} bytes: Ray puts sockets below it, and the path of a socket has at most "
            f"{SOCKET_PATH} bytes, which leaves {limit} for the folder: set RAY_TMPDIR to a shorter one, such as /tmp"
        )


def _refuse_home_without_token() -> None:
    """Raise ConfigError if Ray has no token and cannot write a new one to the home folder."""
    if "RAY_AUTH_TOKEN" in os.environ or os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return
    try:
        token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
        if not token.exists():
            token.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(token.parent, os.W_OK):
                raise PermissionError(f"{token.parent} is not writable")
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"HOME={os.environ.get('HOME', '')}: Ray cannot write the token of its cluster to .ray/auth_token there "
            f"({error}): set HOME to a folder that you can write to, or RAY_AUTH_TOKEN to a secret of 64 hexadecimal "
            "digits (openssl rand -hex 32)"
        ) from error


def model(c: Config) -> Problems:
    m = c.model
    yield from one_of("model.source", m.source, ("scratch", "smollm2", "hf"))
    yield from one_of("model.dtype", m.dtype, ("float32", "bfloat16"))
    yield from one_of("model.attention", m.attention, ATTENTIONS)
    if m.source == "hf" and not m.path:
        yield "model.path is empty: give the folder or hub name, model=hf model.path=..."
    if m.chat_template:
        yield from no_error(template_text, m.chat_template)
        yield from _template_of_checkpoints(c)
    if m.attention in ATTENTIONS[1:] and (m.dtype != "bfloat16" or not c.cluster.gpus_per_learner):
        yield f"model.attention={m.attention} needs model.dtype=bfloat16 and a GPU: take model.attention=sdpa"
    if m.attention in ATTENTIONS[1:] and c.learner.rows_per_batch > 1:
        yield (
            f"learner.rows_per_batch={c.learner.rows_per_batch} with model.attention={m.attention}: this "
            "attention separates packed sequences only in a batch of one row; set it to 1 and raise learner.row_tokens"
        )
    if m.attention == "torch_varlen" and c.learner.sequence_parallel_size > 1:
        yield (
            f"learner.sequence_parallel_size={c.learner.sequence_parallel_size} with model.attention=torch_varlen: a "
            "rank knows only the sequence bounds in its own slice of a row; take model.attention=sdpa"
        )
    if m.dtype == "bfloat16" and c.signal.sync.logprob_tolerance < 0.01:
        yield (
            f"signal.sync.logprob_tolerance={c.signal.sync.logprob_tolerance:g} is below the rounding of "
            "model.dtype=bfloat16 (about 0.01 nats): set it to 0.1; byte checksums stay exact"
        )
    if m.source == "scratch":
        yield from _scratch_shape(c)
    yield from _context(c)


def _context(c: Config) -> Problems:
    """The context, as far as the settings alone decide it: a model without `rope_theta` that is loaded has its own."""
    m = c.model
    if m.rope_theta is not None and not 0 < m.rope_theta < inf:
        yield (
            f"model.rope_theta={m.rope_theta} must be above 0 and finite: 1e6 is usual for long traces, null keeps the "
            "model's own"
        )
    if m.source != "scratch" and m.rope_theta is None:
        return
    if c.context_tokens > m.max_position_embeddings:
        yield (
            f"data.max_prompt_tokens + the longest completion = {c.context_tokens} exceeds "
            f"model.max_position_embeddings={m.max_position_embeddings}: raise it, or lower max_new_tokens"
        )
    if "sft" in c.phases and c.spectrum.sft.max_tokens > m.max_position_embeddings:
        yield (
            f"spectrum.sft.max_tokens={c.spectrum.sft.max_tokens} exceeds "
            f"model.max_position_embeddings={m.max_position_embeddings}: lower it, or raise the context"
        )


def _template_of_checkpoints(c: Config) -> Problems:
    if c.spectrum.checkpoints and "rl" in c.phases and "fuse" not in c.phases:
        yield (
            f"model.chat_template={c.model.chat_template} with spectrum.checkpoints and phases={c.phases}: RL would "
            "save models with the template of the best checkpoint: add fuse, or give RL its start with model=hf "
            "model.path=..."
        )


def _scratch_shape(c: Config) -> Problems:
    m = c.model
    for name in ("hidden_size", "intermediate_size", "num_layers", "num_heads"):
        yield from at_least(f"model.{name}", getattr(m, name), 1)
    if min(m.hidden_size, m.num_heads) < 1:
        return
    if m.hidden_size % m.num_heads or (m.hidden_size // m.num_heads) % 32:
        yield (
            f"model.hidden_size={m.hidden_size} over model.num_heads={m.num_heads} must be a multiple of 32, the head "
            "sizes that vLLM's attention supports: change one of them"
        )
    if c.cluster.tensor_parallel_size > 0 and m.num_heads % c.cluster.tensor_parallel_size:
        yield (
            f"cluster.tensor_parallel_size={c.cluster.tensor_parallel_size} must divide model.num_heads={m.num_heads}: "
            "each worker holds whole heads; take a divisor"
        )
    if m.vocab_size < 260 + 4:
        yield f"model.vocab_size={m.vocab_size} must be at least 264 (256 bytes and the special tokens): raise it"


def cluster(c: Config) -> Problems:
    k = c.cluster
    for name in ("num_generators", "num_learners", "num_verifiers", "tensor_parallel_size", "kv_cache_gb"):
        yield from at_least(f"cluster.{name}", getattr(k, name), 1)
    for name in ("generator_threads", "learner_threads", "max_num_seqs"):
        yield from at_least(f"cluster.{name}", getattr(k, name), 1)
    for name in ("gpus_per_generator", "gpus_per_learner"):
        yield from at_least(f"cluster.{name}", getattr(k, name), 0)
    if k.gpus_per_learner > 1:
        yield f"cluster.gpus_per_learner={k.gpus_per_learner}: a rank drives one GPU: set it to 1, raise num_learners"
    if k.gpus_per_generator and k.tensor_parallel_size != k.gpus_per_generator:
        yield (
            f"cluster.tensor_parallel_size={k.tensor_parallel_size} must equal the generator's GPUs "
            f"(cluster.gpus_per_generator={k.gpus_per_generator}): set both to the same number"
        )
    for name in ("cpus_per_actor", "object_store_gb", "startup_timeout_s", "resources_timeout_s", "hang_timeout_s"):
        if not getattr(k, name) > 0:
            yield f"cluster.{name}={getattr(k, name)} must be above 0"
    for name in ("cpu_hour_price", "gpu_hour_price"):
        yield from at_least(f"cluster.{name}", getattr(k, name), 0)
    if not 0 < k.gpu_memory_utilization <= 1:
        yield f"cluster.gpu_memory_utilization={k.gpu_memory_utilization} must lie in (0, 1]: 0.85 is usual"


def placement(c: Config) -> Problems:
    k = c.cluster
    yield from at_least("cluster.num_nodes", k.num_nodes, 1)
    yield from at_least("cluster.gpus_per_node", k.gpus_per_node, 0)
    yield from one_of("cluster.take_turns", k.take_turns, TAKE_TURNS)
    if k.generation_engine not in ENGINES:
        yield from no_error(engine_class, k.generation_engine)
    yield from engine_args_faults(k)
    if k.num_nodes > 1 and not k.gpus_per_node and gpus_asked(k):
        yield f"cluster.num_nodes={k.num_nodes} with cluster.gpus_per_node=0: say how many GPUs a node has, 8 is usual"
    elif min(k.num_nodes, k.num_generators, k.num_learners) > 0:
        try:
            place(with_needed_actors(c).cluster)
        except ConfigError as error:
            yield str(error)
    if not k.colocate:
        return
    if k.num_generators != k.num_learners or k.gpus_per_generator != k.gpus_per_learner or k.gpus_per_generator > 1:
        yield (
            f"cluster.colocate pairs a generator with a learner rank on one GPU, but cluster asks for {asked(k)}: set "
            "num_generators = num_learners and gpus_per_generator = gpus_per_learner = 1 (0 rehearses without a GPU)"
        )
    if c.learner.zero_stage not in (1, 2):
        yield (
            f"learner.zero_stage={c.learner.zero_stage} with cluster.colocate: DeepSpeed offloads its states under "
            "ZeRO 1 and 2, and under ZeRO 3 only with its own fused Adam, which is not built here: set it to 1 or 2"
        )


def learner(c: Config) -> Problems:
    learner, size = c.learner, c.learner.sequence_parallel_size
    yield from one_of("learner.zero_stage", learner.zero_stage, (0, 1, 2, 3))
    if learner.offload_optimizer and learner.zero_stage == 0:
        yield "learner.offload_optimizer=true needs ZeRO: set learner.zero_stage to 1, 2 or 3"
    if learner.offload_parameters and learner.zero_stage != 3:
        yield f"learner.offload_parameters=true needs learner.zero_stage=3, not {learner.zero_stage}"
    if learner.share_prompts and (size > 1 or learner.rows_per_batch > 1 or c.model.attention != "sdpa"):
        yield (
            f"learner.share_prompts=true with learner.sequence_parallel_size={size}, learner.rows_per_batch="
            f"{learner.rows_per_batch} and model.attention={c.model.attention}: its attention computes "
            "one row on one rank; take 1, 1 and sdpa, or learner.share_prompts=false"
        )
    if learner.compile and (learner.zero_stage == 3 or size > 1):
        yield (
            f"learner.compile=true with learner.zero_stage={learner.zero_stage} and learner.sequence_parallel_size="
            f"{size}: communication inside a layer is not compiled; take zero_stage 0 to 2 and size 1, or compile=false"
        )
    for name, limit in (("row_tokens", 1), ("rows_per_batch", 1), ("logprob_chunk_tokens", 1)):
        yield from at_least(f"learner.{name}", getattr(learner, name), limit)
    yield from at_least("learner.sequence_parallel_size", size, 1)
    if size <= 1:
        return
    if c.cluster.num_learners % size:
        yield (
            f"learner.sequence_parallel_size={size} does not divide cluster.num_learners={c.cluster.num_learners}: "
            f"{size} ranks share each row; take a divisor"
        )
    if learner.rows_per_batch != 1:
        yield (
            f"learner.rows_per_batch={learner.rows_per_batch} with learner.sequence_parallel_size={size}: ranks share "
            "one row at a time; set it to 1"
        )
    if c.signal.mgpo.ratio == "sequence":
        yield (
            f"signal.mgpo.ratio=sequence with learner.sequence_parallel_size={size}: a rank holds only a slice of "
            "each sequence; take ratio=token, or size 1"
        )


def transport(c: Config) -> Problems:
    k, transport = c.cluster, c.signal.sync.transport
    yield from one_of("signal.sync.transport", transport, TRANSPORTS)
    if transport in ("nccl", "ipc") and not (k.gpus_per_generator and k.gpus_per_learner):
        yield (
            f"signal.sync.transport={transport} carries weights from GPU to GPU, but cluster asks for {asked(k)}: give "
            "generators and learners GPUs, or set it to auto or object_store"
        )
    elif transport == "nccl" and k.colocate:
        yield (
            "signal.sync.transport=nccl with cluster.colocate: NCCL refuses two ranks on one GPU: "
            "set it to auto, ipc or object_store"
        )
    elif transport == "ipc" and not k.colocate:
        yield (
            "signal.sync.transport=ipc without cluster.colocate: a generator can only open the memory of its own "
            "GPU: set it to auto, nccl or object_store"
        )


def verify(c: Config) -> Problems:
    for name in HIGHEST_LIMITS:
        if fault := limit_fault(name, getattr(c.verify, name)):
            yield f"verify.{fault}"
    yield from (fault for name, path in c.verify.kinds.items() if (fault := kind_fault(name, path)))
    sandbox = c.verify.sandbox
    yield from one_of("verify.sandbox.backend", sandbox.backend, ("auto", *BACKENDS, "remote"))
    if (sandbox.backend == "remote") != bool(sandbox.remote_url):
        yield (
            f"verify.sandbox.backend={sandbox.backend} with verify.sandbox.remote_url={sandbox.remote_url!r}: "
            "a remote sandbox needs backend=remote and the URL of its server: set both or neither"
        )
    if sandbox.recycle_after < 1:
        yield f"verify.sandbox.recycle_after={sandbox.recycle_after} must be at least 1"
