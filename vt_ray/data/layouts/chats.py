"""Chats in problem rows: the system message and the one user message.

[{"role": "user", "content": text}] | [{"from": "human", "value": text}] | the list as JSON text  -->  system, question
"""

from __future__ import annotations

from typing import Any

from vt_ray.data.json_text import loads
from vt_ray.data.layouts.wrappers import bare_question
from vt_ray.data.problem_rows import Row, type_name

_ROLES = {"human": "user"}


def system_and_question(row: Row, name: str, skip_assistant: bool = False) -> tuple[str, str]:
    """Returns the system message ("" without one) and the user's message without its wrapper.

    With `skip_assistant`, messages of the assistant are left out. Raises ProblemFileError unless one message is the
    user's.
    """
    expected = "expected a chat list with one message of role 'user' (or that list as a JSON string)"
    chat = row.fields.get(name)
    if isinstance(chat, str):
        try:
            chat = loads(chat)
        except ValueError as error:
            raise row.error(f"{name!r} is text but not JSON ({error}): {expected}") from None
    if not isinstance(chat, list) or not all(isinstance(message, dict) for message in chat):
        raise row.error(f"{name!r} is {type_name(chat)}: {expected}")
    messages = [_role_and_text(message) for message in chat]
    if skip_assistant:
        messages = [message for message in messages if message[0] != "assistant"]
    roles = [role for role, _ in messages]
    known = roles.count("user") + roles.count("system") == len(roles)
    if not known or roles.count("user") != 1 or roles.count("system") > 1:
        raise row.error(f"{name!r} has messages of roles {roles}: {expected}, and at most one of role 'system'")
    said = dict(messages)
    if not all(isinstance(content, str) for content in said.values()):
        raise row.error(f"a message in {name!r} is not text: {expected}")
    question = bare_question(row, name, said["user"], f"the user message in {name!r}")
    return row.encodable(name, said.get("system", "").strip()), question


def _role_and_text(message: dict[str, Any]) -> tuple[Any, Any]:
    role = message.get("role", message.get("from"))
    role = _ROLES.get(role, role) if isinstance(role, str) else role
    return role, message.get("content", message.get("value"))
