"""A causal language model that returns log-probabilities instead of logits.

    token ids, positions --decoder--> hidden states --of the chosen tokens--> head, in chunks --> logprobs

The head keeps the weight and the name of the lm_head, so a checkpoint has the same tensors with it as without it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vt_ray.algorithms.logprobs import chunked_logprobs
from vt_ray.algorithms.packing import Row
from vt_ray.config import ConfigError
from vt_ray.engines.branches import SHARED_PROMPTS, branches
from vt_ray.engines.learner_spec import LearnerSpec
from vt_ray.engines.lora import add_adapters
from vt_ray.engines.varlen import TORCH_VARLEN, bounds

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Arguments that an attention needs for a row besides the positions, computed once for all layers.
LAYOUTS: dict[str, Callable[[torch.Tensor], dict[str, Any]]] = {TORCH_VARLEN: bounds, SHARED_PROMPTS: branches}

# Factors and caps that some architectures apply to the logits after the lm_head. `LogprobHead` applies none of them.
AFTER_THE_HEAD = ("final_logit_softcapping", "logits_scaling", "logit_scale", "lm_head_multiplier")


class LogprobHead(torch.nn.Module):
    """Replaces a linear lm_head and has its parameters."""

    def __init__(self, lm_head: torch.nn.Linear, chunk_tokens: int):
        super().__init__()
        self.weight, self.bias = lm_head.weight, lm_head.bias
        self.chunk_tokens = chunk_tokens
        # Whether the entropy has a gradient: set for each update, since only an entropy bonus needs it.
        self.entropy_gradient = False

    def forward(
        self, hidden: torch.Tensor, targets: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """[N, H], [N] -> log-probabilities and entropy, float32 [N]."""
        return chunked_logprobs(
            hidden, self.weight, self.bias, targets, temperature, self.chunk_tokens, self.entropy_gradient
        )


class Policy(torch.nn.Module):
    """`network` is the Hugging Face model; its lm_head is replaced by a `LogprobHead`."""

    def __init__(self, network: PreTrainedModel, chunk_tokens: int):
        super().__init__()
        set_by = [name for name in AFTER_THE_HEAD if getattr(network.config, name, None) not in (None, 1, 1.0)]
        if set_by:
            raise ConfigError(
                f"{type(network).__name__} changes its logits behind the lm_head ({', '.join(set_by)}): the learner "
                "takes architectures whose logits are the lm_head's own, such as Qwen2 and Llama"
            )
        network.set_output_embeddings(LogprobHead(network.get_output_embeddings(), chunk_tokens))
        self.network = network

    def forward(
        self,
        token_ids: torch.Tensor,
        position_ids: torch.Tensor,
        targets: torch.Tensor,
        chosen: torch.Tensor,
        temperature: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns log p(targets) and the entropy at `temperature`, in nats, of the `chosen` tokens; 0 for all others.

        All tensors are [B, T]: int64 ids, positions and targets, bool `chosen`, float32 results. There is no attention
        mask: the positions alone separate packed sequences.
        """
        decoder, head = self.network.base_model, self.network.get_output_embeddings()
        layout = LAYOUTS.get(self.network.config._attn_implementation, lambda _: {})(position_ids)
        hidden = decoder(input_ids=token_ids, position_ids=position_ids, use_cache=False, **layout).last_hidden_state
        found = head(hidden[chosen], targets[chosen], temperature)
        logprobs, entropies = (torch.zeros(chosen.shape, device=hidden.device) for _ in found)
        return logprobs.masked_scatter(chosen, found[0]), entropies.masked_scatter(chosen, found[1])


def forward(policy: torch.nn.Module, batch: Row, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns log-probabilities and entropy of the tokens with a weight; only these go through the head."""
    return policy(batch.token_ids, batch.position_ids, batch.targets, batch.token_weights > 0, temperature)


def load_policy(spec: LearnerSpec) -> Policy:
    """Loads the checkpoint at `spec.model_path`, with new adapters if `spec.learner.lora` is on.

    Raises ConfigError if the checkpoint is damaged, tensors are missing, or the adapters do not fit the model.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    remedy = "delete the folder and run again, or give another checkpoint"
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            spec.model_path,
            dtype=getattr(torch, spec.model.dtype),
            attn_implementation=SHARED_PROMPTS if spec.learner.share_prompts else spec.model.attention,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"{spec.model_path} is no whole checkpoint of a causal LM: {error}; {remedy}") from error
    network, loading = loaded
    # transformers would fill these tensors with random numbers.
    if missing := sorted({*loading["missing_keys"], *map(str, loading["mismatched_keys"])}):
        raise ConfigError(
            f"{spec.model_path} lacks {len(missing)} tensors of {type(network).__name__}, or holds them in another "
            f"shape: {', '.join(missing[:4])}; {remedy}"
        )
    network.config.use_cache = False
    if spec.learner.lora.rank:
        add_adapters(network, spec.learner.lora, spec.seed)
    if spec.model.gradient_checkpointing:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    if spec.learner.compile:
        for layer in network.base_model.layers:
            layer.compile()
    return Policy(network, spec.learner.logprob_chunk_tokens)


def refuse_unknown_tokens(network: PreTrainedModel, largest_id: int, model_path: str | Path) -> None:
    """Raises ConfigError for an id outside the model's vocabulary: on a GPU it would fail a device assertion."""
    vocabulary = network.config.vocab_size
    if largest_id >= vocabulary:
        raise ConfigError(
            f"a training row holds token id {largest_id}, but the vocabulary of {model_path} has {vocabulary} "
            "entries: the tokenizer is not the model's own"
        )
