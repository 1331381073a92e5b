"""Chat templates: the text of a template by its name or file, its checks, and the token that ends a response.

model.chat_template --template_text--> Jinja text --use_template--> a tokenizer with this template and its EOS token
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vt_ray.config import ConfigError

FOLDER = Path(__file__).parent / "templates"
BUILT_IN = tuple(sorted(file.stem for file in FOLDER.glob("*.jinja")))
# Texts of a chat that no template contains.
_QUESTION, _ANSWER = "vtquestion", "vtanswer"
# The control tokens of most chat templates, such as <|im_end|>.
_MARK = re.compile(r"<\|\w+\|>")


def template_text(name: str) -> str:
    """Returns the Jinja text of a built-in template or of a file.

    Raises ConfigError if `name` is neither of both, or if the text is empty or has a syntax error.
    """
    path = FOLDER / f"{name}.jinja" if name in BUILT_IN else Path(name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"chat_template={name!r} is neither {' nor '.join(BUILT_IN)} nor a file of UTF-8 text ({error}): give one "
            "of these names, or the path of a Jinja file"
        ) from error
    if not text.strip():
        raise ConfigError(f"chat_template={name!r} is empty: give a Jinja file that writes the messages of a chat")
    _refuse_syntax_errors(text, name)
    return text


def _refuse_syntax_errors(text: str, name: str) -> None:
    from jinja2 import Environment, TemplateSyntaxError

    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
    except TemplateSyntaxError as error:
        # transformers knows one tag more than Jinja.
        if "generation" not in str(error):
            raise ConfigError(f"chat_template={name!r}, line {error.lineno}: {error.message}: correct it") from error


def control_tokens(text: str) -> list[str]:
    """Returns the control tokens in a template's text, each once, in order: a new tokenizer gets them as tokens."""
    return list(dict.fromkeys(_MARK.findall(text)))


def end_token(tokenizer: Any, text: str, name: str) -> str:
    """Returns the token that the template `text` writes after a response: generation must stop on it.

    A template that writes nothing there ends a response with the tokenizer's EOS token. Raises ConfigError for a
    template that fails, leaves a message out, has no generation prompt, or ends a response with ordinary text. `name`
    is the template in messages.
    """
    question = {"role": "user", "content": _QUESTION}
    prompt = _rendered(tokenizer, text, name, [question], True)
    chat = _rendered(tokenizer, text, name, [question, {"role": "assistant", "content": _ANSWER}], False)
    before, answered, after = chat.rpartition(_ANSWER)
    if _QUESTION not in prompt or not answered:
        lost = "assistant" if _QUESTION in prompt else "user"
        raise ConfigError(f"chat_template={name!r} leaves out the message of the {lost}: write message.content")
    if prompt.strip() != before.strip() and prompt == _rendered(tokenizer, text, name, [question], False):
        raise ConfigError(
            f"chat_template={name!r} writes {before[len(prompt) :]!r} before a response, but not at the end of a "
            "prompt: add {% if add_generation_prompt %} with this text"
        )
    return _first_token(tokenizer, after.lstrip(), name) if after.strip() else tokenizer.eos_token


def use_template(tokenizer: Any, name: str) -> None:
    """Gives the tokenizer the template `name`. Its EOS token becomes the token that ends a response there."""
    text = template_text(name)
    tokenizer.eos_token = end_token(tokenizer, text, name)
    tokenizer.chat_template = text


def _rendered(tokenizer: Any, text: str, name: str, messages: list[dict[str, str]], generation_prompt: bool) -> str:
    try:
        return tokenizer.apply_chat_template(
            messages, chat_template=text, add_generation_prompt=generation_prompt, tokenize=False
        )
    except Exception as error:  # jinja's TemplateError, or any error in the template's code
        raise ConfigError(
            f"chat_template={name!r} fails on a chat of user and assistant ({error}): correct it"
        ) from error


def _first_token(tokenizer: Any, after: str, name: str) -> str:
    first = tokenizer(after, add_special_tokens=False)["input_ids"][0]
    if first in tokenizer.added_tokens_decoder or first in tokenizer.all_special_ids:
        return tokenizer.convert_ids_to_tokens(first)
    raise ConfigError(
        f"chat_template={name!r} ends a response with {after.strip():.30}, which is not a token of this tokenizer: "
        f"generation stops on one token; take a template of this model, which ends with {tokenizer.eos_token} or "
        "another of its special tokens"
    )
