"""DeepSpeed-Ulysses: `size` ranks share each row. Each has a slice of its tokens and, in attention, some of the heads.

    row [1, T] --slices--> [1, T/size] --attention: all-to-all, heads for tokens, and back--> hidden [1, T/size, H]

Each rank computes the loss of its own tokens, so gradients are summed over all ranks as without Ulysses. DeepSpeed's
attention takes no mask: a row holds one sequence, and the positions continue through its padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from vt_ray.algorithms.packing import Row, slice_of_row
from vt_ray.config import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SequenceParallel:
    """Replaces the model's attention in this process until `close`. Collective: all ranks open it at once."""

    def __init__(self, network: PreTrainedModel, size: int):
        from deepspeed.runtime.sequence_parallel.ulysses_sp import UlyssesSPAttentionHF
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        config = network.config
        _refuse_indivisible_heads(config, size)
        self.size = size
        self.rank = torch.distributed.get_rank() % size
        self.attention = config._attn_implementation
        exchange = UlyssesSPAttentionHF(
            attn=ALL_ATTENTION_FUNCTIONS[self.attention],
            batch_size=1,
            attn_head_count=config.num_attention_heads,
            attn_head_size=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            kv_head_count=config.num_key_value_heads,
            num_hidden_layers=config.num_hidden_layers,
            process_group=_group(size),
            seq_length_is_variable=True,
            # In eval mode (the fingerprint of the weights) each rank computes the whole sequence alone.
            disable_in_eval=True,
        )
        # Registered under the same name: transformers treats some names specially.
        ALL_ATTENTION_FUNCTIONS[self.attention] = _without_mask(exchange)

    def slices(self, rows: Sequence[Row]) -> list[Row]:
        """Returns this rank's slice of each row. Raises ValueError for a row of several sequences."""
        for row in rows:
            if int((row.position_ids == 0).sum()) > 1:
                raise ValueError("a row of several sequences with learner.sequence_parallel_size > 1: they would leak")
        return [slice_of_row(row, self.rank, self.size) for row in rows]

    def close(self) -> None:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        del ALL_ATTENTION_FUNCTIONS[self.attention]


def _without_mask(exchange: torch.nn.Module) -> Callable[..., Any]:
    def attention(module, query, key, value, attention_mask, *args, **kwargs):
        # A mask would cover this rank's slice only. Without a mask attention is causal.
        return exchange(module, query, key, value, None, *args, **kwargs)

    return attention


@cache
def _group(size: int) -> torch.distributed.ProcessGroup:
    """The process group of the ranks that share rows with this one.

    They are neighbours: on one node, if each node has a multiple of `size` ranks.
    """
    world_size, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    groups = [torch.distributed.new_group(list(range(i, i + size))) for i in range(0, world_size, size)]
    return groups[rank // size]


def _refuse_indivisible_heads(config: Any, size: int) -> None:
    ranks = torch.distributed.get_world_size()
    if ranks % size:
        raise ConfigError(
            f"learner.sequence_parallel_size={size} does not divide cluster.num_learners={ranks}: {size} ranks share "
            "each row"
        )
    heads, shared = config.num_attention_heads, config.num_key_value_heads
    if heads % size or (shared % size and size % shared):
        raise ConfigError(
            f"learner.sequence_parallel_size={size} does not divide the model's {heads} attention heads "
            f"({shared} key-value heads): each rank attends with a share of them; take a divisor"
        )
