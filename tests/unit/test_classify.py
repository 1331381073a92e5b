"""`vt-tools classify`: votes, majority, the file of votes, and an OpenAI-compatible endpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from chat_server import ChatHandler, chat_server
from typer.testing import CliRunner

from vt_ray.config import DataConfig, DataSource
from vt_ray.data.chat_model import ChatError, ChatReply, ChatRequest
from vt_ray.data.classify import (
    CHUNK,
    ClassificationError,
    Question,
    VoteFile,
    checked_names,
    classify,
    named_subdomain,
    prompt_text,
    read_questions,
    votes_path,
)
from vt_ray.data.problem_sets import load_problem_sets
from vt_ray.engines.endpoint import EndpointModel
from vt_ray.tools import app

NAMES = ["algebra", "linear algebra", "geometry"]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def asked_question(text):
    return text.removeprefix("Problem:\n").partition("\n\nWhich one of these")[0]


class Script:
    """A ChatModel whose replies are a list for each question; the last one is repeated. None refuses.

    `asked` are the questions of all requests, in order.
    """

    def __init__(self, replies, name="script"):
        self.given, self.name, self.refusal = replies, name, ""
        self.asked, self.seeds = [], set()

    def replies(self, requests):
        for index, request in enumerate(requests):
            question = asked_question(request.text)
            listed = self.given[question]
            reply = listed[min(self.asked.count(question), len(listed) - 1)]
            self.asked.append(question)
            self.seeds.add(request.seed)
            if isinstance(reply, Exception):
                raise reply
            self.refusal = "too long" if reply is None else self.refusal
            yield index, reply


def questions(*texts):
    return [Question(text, text) for text in texts]


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ("algebra", "algebra"),
        ("Algebra.", "algebra"),
        ("**Linear Algebra**", "linear algebra"),
        ("The subdomain is linear algebra.", "linear algebra"),
        ("This is geometry, and geometry only.", "geometry"),
        ("algebra\n\nIt has no geometry in it.", "algebra"),
        ("There is a circle and an equation (algebra or geometry).\n\n- geometry", "geometry"),
        ("<think>Is it algebra? No.</think>\n\ngeometry", "geometry"),
        ("Is it algebra? No.</think>geometry", "geometry"),
        ("<think>It is algebra, or", ""),
        ("Other", "other"),
        ("algebra or geometry", ""),
        ("prealgebra", ""),
        ("geometrically", ""),
        ("I cannot say", ""),
        ("", ""),
        ("\n\n", ""),
        ("这道题属于geometry。", "geometry"),
        (r"\boxed{geometry}", "geometry"),
    ],
)
def test_a_reply_votes_for_the_one_name_that_it_gives(reply, name):
    assert named_subdomain(reply, NAMES) == name


def test_names_in_other_scripts_and_with_special_characters_are_found():
    assert named_subdomain("答案：几何。", ["代数", "几何"]) == "几何"
    assert named_subdomain("It is C++ (code)", ["C++ (code)", "sets"]) == "C++ (code)"


@pytest.mark.parametrize("names", [[], ["algebra"], ["algebra", "Algebra"], ["algebra", "other", " "]])
def test_fewer_than_two_different_names_are_refused(names):
    with pytest.raises(ClassificationError, match="at least two different names"):
        checked_names(names)


def test_two_equal_replies_decide_and_a_third_is_asked_for_only_when_they_differ(tmp_path):
    replies = {"a": ["algebra"], "b": ["geometry", "algebra", "geometry"], "c": ["?", "geometry", "geometry"]}
    model = Script(replies | {"d": ["algebra", "geometry", "other"], "e": ["other"]})
    found = classify(questions(*"abcde"), tmp_path / "out.json", model, NAMES)
    assert found.subdomains == {"a": "algebra", "b": "geometry", "c": "geometry", "d": "other", "e": "other"}
    assert found.undecided == 1 and json.loads((tmp_path / "out.json").read_text()) == found.subdomains
    assert Counter(model.asked) == {"a": 2, "b": 3, "c": 3, "d": 3, "e": 2} and len(model.seeds) == 13


def test_stored_votes_are_not_asked_for_again_unless_the_model_or_the_names_change(tmp_path):
    output, replies = tmp_path / "new" / "out.json", {"a": ["algebra"], "b": ["geometry", "algebra"]}
    first = classify(questions("a", "b"), output, Script(replies), NAMES)
    again = Script(replies)
    assert classify(questions("a", "b"), output, again, NAMES) == first and not again.asked
    others = [(Script(replies, "another"), NAMES), (Script(replies), ["algebra", "geometry"])]
    for model, names in others:
        assert classify(questions("a", "b"), output, model, names).subdomains == first.subdomains
        assert len(model.asked) == 5


def test_an_error_keeps_the_votes_and_says_how_many_questions_are_done(tmp_path):
    texts = [f"q{i}" for i in range(CHUNK + 1)]
    broken = {text: ["algebra"] for text in texts} | {texts[-1]: ["algebra", ChatError("lost")]}
    with pytest.raises(ClassificationError, match=rf"lost \({CHUNK} of {CHUNK + 1} questions are classified"):
        classify(questions(*texts), tmp_path / "out.json", Script(broken), NAMES)
    assert not (tmp_path / "out.json").exists()
    after = Script({texts[-1]: ["algebra"]})
    assert len(classify(questions(*texts), tmp_path / "out.json", after, NAMES).subdomains) == CHUNK + 1
    assert after.asked == [texts[-1]]


def test_refused_requests_are_no_votes_and_are_asked_again_by_the_next_command(tmp_path):
    model = Script({"a": ["algebra"], "b": [None]})
    found = classify(questions("a", "b"), tmp_path / "out.json", model, NAMES)
    assert found.subdomains == {"a": "algebra", "b": "other"} and found.undecided == 1
    again = Script({"b": ["geometry"]})
    assert classify(questions("a", "b"), tmp_path / "out.json", again, NAMES).subdomains["b"] == "geometry"


def test_a_model_whose_replies_name_nothing_writes_no_output(tmp_path):
    with pytest.raises(ClassificationError, match=r"replies are in .*votes.jsonl; a refusal: too long.*instruction"):
        classify(questions("a", "b"), tmp_path / "out.json", Script({"a": ["Hm"], "b": [None]}), NAMES)
    assert not (tmp_path / "out.json").exists()
    stored = [json.loads(line) for line in votes_path(tmp_path / "out.json").read_text().splitlines()]
    assert [vote["reply"] for vote in stored] == ["Hm"] * 3


def test_lines_that_a_kill_cut_off_and_foreign_lines_are_skipped(tmp_path):
    path = tmp_path / "votes.jsonl"
    with VoteFile(path, "s") as votes:
        votes.append("a", 0, "algebra", "")
    path.write_bytes(path.read_bytes() + b'[1]\n\xff\n{"settings": "s", "question": "b", "sam')
    with VoteFile(path, "s") as votes:
        votes.append("c", 1, "geometry", "")
        assert list(votes.stored()) == [("a", 0, "algebra"), ("c", 1, "geometry")]


def rows(path, *texts, **fields):
    path.write_text("".join(json.dumps({"problem": text, "answer": "1", **fields}) + "\n" for text in texts))
    return str(path)


def test_copies_are_one_question_and_programs_are_code_without_a_request(tmp_path):
    program = {"question_id": "p", "kind": "code", "question": "Print 1.", "tests": {"type": "stdio", "cases": []}}
    program["tests"]["cases"] = [{"input": "", "output": "1"}]
    (tmp_path / "code.jsonl").write_text(json.dumps(program))
    sources = [rows(tmp_path / "a.jsonl", "What is 1?", "what is  1"), str(tmp_path / "code.jsonl")]
    found = read_questions(sources, ["algebra", "code"])
    assert [q.text for q in found] == ["What is 1?", "Print 1."]
    assert [q.majority for q in found] == ["", "code"]
    assert [q.majority for q in read_questions(sources, NAMES)] == ["", ""]


def by_topic(request):
    return "It is geometry." if "circle" in asked_question(request["messages"][0]["content"]) else "algebra"


def test_the_command_asks_an_endpoint_and_a_run_takes_its_output(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    source = rows(tmp_path / "train.jsonl", "Area of a circle?", "Solve x = 1.")
    output = tmp_path / "subdomains.json"
    with chat_server(by_topic) as server:
        command = ["classify", source, "--output", str(output), "--endpoint", server.url]
        done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "geometry: 1" in done.output and "algebra: 1" in done.output
    assert {r["model"] for r in server.requests} == {"tiny-judge"} and set(server.keys) == {"Bearer secret"}
    assert len({r["seed"] for r in server.requests}) == 4
    data = DataConfig(train_files=[DataSource(source)], train_per_subdomain=0, subdomain_file=str(output))
    assert [p.subdomain for p in load_problem_sets(data, 0).train] == ["geometry", "algebra"]


def model_error(answer=by_topic, url=None, requests=1, **changes):
    with chat_server(answer, **changes) as server, pytest.raises(ChatError) as raised:
        model = EndpointModel(url or server.url, retries=0)
        list(model.replies([chat_request(i) for i in range(requests)]))
    return str(raised.value)


def chat_request(seed):
    return ChatRequest(prompt_text("x", NAMES), seed)


def test_each_fault_of_an_endpoint_has_its_message():
    assert "no connection" in model_error(url="http://127.0.0.1:9/v1")
    assert "expected a URL" in model_error(url="127.0.0.1:9/v1")
    assert "it lists no model" in model_error(models=())
    assert "set the variable OPENAI_API_KEY" in model_error(lambda _: (401, "no key"))
    assert "--model" in model_error(lambda _: (404, "no such model"))
    assert "boom" in model_error(lambda _: (500, "boom"), requests=40)


def test_a_server_that_answers_no_chat_has_a_message(monkeypatch):
    monkeypatch.setattr(ChatHandler, "do_POST", lambda self: self._send(200, {"hello": "world"}))
    assert "the reply has no message" in model_error()


def test_a_bad_request_refuses_one_prompt_and_an_empty_message_is_a_reply():
    with chat_server(lambda r: (400, "too long") if r["seed"] else None) as server:
        model = EndpointModel(server.url, retries=0)
        assert dict(model.replies([chat_request(0), chat_request(1)])) == {0: "", 1: None}
        assert "too long" in model.refusal


def test_a_server_that_names_another_limit_gets_it():
    def new_model(request):
        if "max_tokens" in request:
            return 400, "Unsupported parameter: use 'max_completion_tokens' instead."
        return "algebra"

    with chat_server(new_model) as server:
        model = EndpointModel(server.url, max_tokens=7, retries=0)
        assert [text for _, text in model.replies([chat_request(i) for i in range(5)])] == ["algebra"] * 5
    assert {r.get("max_completion_tokens") for r in server.requests[-5:]} <= {7, None} and not model.refusal


def test_the_tokens_of_a_reply_are_counted_and_a_cut_off_reply_is_marked():
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    odd = {"prompt_tokens": -1, "completion_tokens": "4"}
    given = iter([{"content": "a", "usage": usage, "finish_reason": "length"}, {"content": ["b"], "usage": odd}, "c"])
    with chat_server(lambda _: next(given)) as server:
        model = EndpointModel(server.url, retries=0)
        found = [reply for i in range(3) for _, reply in model.counted_replies([chat_request(i)])]
    assert found[0] == ChatReply("a", False, 3, 4) and found[2] == ChatReply("c", True, None, None)
    assert (found[1].prompt_tokens, found[1].reply_tokens) == (None, None)


def test_a_busy_server_is_asked_again():
    failures = iter([(503, "busy"), (429, "slow down")])
    with chat_server(lambda r: next(failures, "algebra")) as server:
        model = EndpointModel(server.url, retries=3)
        assert list(model.replies([chat_request(0)])) == [(0, "algebra")]
    assert len(server.requests) == 3


def test_a_killed_command_continues_and_asks_for_no_stored_reply_again(tmp_path):
    texts = [f"Problem number {word}" for word in ("one", "two", "three", "four", "five", "six")]
    source, output = rows(tmp_path / "train.jsonl", *texts), tmp_path / "out.json"

    def slow(request):
        time.sleep(500 if "six" in request["messages"][0]["content"] else 0)
        return "algebra"

    def command(url):
        arguments = ["classify", source, "--output", str(output), "--endpoint", url, "--model", "m"]
        return [sys.executable, "-m", "vt_ray.tools", *arguments]

    with chat_server(slow) as server:
        process = subprocess.Popen(command(server.url), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 400
        while not votes_path(output).exists() or votes_path(output).read_text().count("algebra") < 10:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with chat_server(by_topic) as server:
        done = subprocess.run(command(server.url), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 2 and "6/6" in done.stdout
    assert len(json.loads(output.read_text())) == 6


def test_usage_errors_are_one_message(tmp_path):
    source = rows(tmp_path / "a.jsonl", "x?")
    output = str(tmp_path / "out.json")
    for arguments, message in (
        ([source], "give --endpoint URL"),
        ([source, "--subdomains", "a"], "two different names"),
        ([str(tmp_path / "no.jsonl"), "--endpoint", "http://127.0.0.1:9"], "no.jsonl"),
        ([source, "--model", str(tmp_path)], "no model there"),
    ):
        done = CliRunner().invoke(app, ["classify", *arguments, "--output", output])
        assert done.exit_code == 2 and without_breaks(message) in without_breaks(done.output)


def without_breaks(text):
    """The letters of an error box, whose lines may break within a path."""
    return "".join(text.replace("│", " ").split())
