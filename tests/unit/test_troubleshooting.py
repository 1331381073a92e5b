"""Every message of vt_ray in docs/troubleshooting.md is a message of the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SYMPTOMS = re.findall(r"^\| (?!message)(?!---)(.+?) \| ", (ROOT / "docs/troubleshooting.md").read_text(), re.M)
MESSAGES = [message for symptom in SYMPTOMS for message in re.findall(r"`(.+?)`", symptom)]
# Settings and names in a symptom that is described in words.
NOT_MESSAGES = ("cluster.colocate=true", "lo")


@pytest.fixture(scope="module")
def literals():
    """All texts in the code except docstrings, with "\\0" in place of each value of an f-string."""
    nodes = [n for file in (ROOT / "vt_ray").rglob("*.py") for n in ast.walk(ast.parse(file.read_text()))]
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    return [text for node in nodes if id(node) not in docstrings and (text := _text(node))]


def _text(node):
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def found(message, literals):
    """`...` in a message stands for any text."""
    pattern = re.compile(".*".join(re.escape(part) for part in re.split(r"\.\.\.(?!\.)", message)), re.S)
    return any(pattern.search(text) for text in literals)


@pytest.mark.parametrize("message", [message for message in MESSAGES if message not in NOT_MESSAGES])
def test_the_message_is_in_the_code(literals, message):
    assert found(message, literals), "the message has changed: correct docs/troubleshooting.md"


def test_there_are_messages_and_a_wrong_one_is_found(literals):
    assert len(MESSAGES) > 120
    assert not found("weight sync of version ... was fine", literals)
