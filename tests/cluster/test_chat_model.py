"""The local chat model of `vt-tools classify`, on the tiny model: real replies, and prompts over its context."""

import pytest

from vt_ray.data.chat_model import ChatError, ChatRequest
from vt_ray.data.classify import (
    ClassificationError,
    Question,
    classify,
    votes_path,
)
from vt_ray.engines.vllm.chat import VllmChatModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(base_model):
    model = VllmChatModel(str(base_model), max_tokens=8)
    yield model
    model.close()


def test_each_request_has_one_reply_that_depends_on_its_seed_alone(model):
    requests = [ChatRequest("What is 2 + 2?", seed) for seed in (5, 6, 5)]
    replies = dict(model.replies(requests))
    assert sorted(replies) == [0, 1, 2] and replies[0] == replies[2] != replies[1]


def test_a_prompt_over_the_context_is_refused_and_the_others_are_not(model):
    replies = dict(model.replies([ChatRequest("x" * 4_000, 0), ChatRequest("What is 2 + 2?", 0)]))
    assert replies[0] is None and isinstance(replies[1], str)
    assert "the model's context has" in model.refusal


def test_the_replies_of_a_model_that_names_nothing_are_stored(model, tmp_path):
    with pytest.raises(ClassificationError, match="no question has 2 replies"):
        classify([Question("a", "What is 2 + 2?")], tmp_path / "out.json", model, ["algebra", "geometry"])
    assert len(votes_path(tmp_path / "out.json").read_text().splitlines()) == 3


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ChatError, match="no model there"):
        VllmChatModel(str(tmp_path))
