"""`vt-tools write-problems`: questions and answers by a model, votes, the cap, the stored replies, and the output."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import count

import pytest
from chat_server import chat_server
from typer.testing import CliRunner

from vt_ray.config import DataConfig, DataSource
from vt_ray.data.chat_model import ChatError, ChatReply, ChatRequest
from vt_ray.data.problem_sets import load_problem_sets
from vt_ray.problem_writer import messages
from vt_ray.problem_writer.answers import vote
from vt_ray.problem_writer.screen import Screen
from vt_ray.problem_writer.stored_replies import Cap, StoredReplies
from vt_ray.problem_writer.writer import MAX_WRITTEN, ROUND, Wanted, dropped_path, replies_path, write_problems
from vt_ray.records import Problem
from vt_ray.tools import app
from vt_ray.verify.verifier import Verifier

THINGS = ("area", "flux", "mass", "volume", "slope", "limit", "arc length", "average height", "work", "residue")
CURVES = ("cardioid", "helix", "parabola", "hyperbola", "catenary", "lemniscate", "astroid", "tractrix", "cycloid")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def question(number):
    """A question of its own for each number, with no long run of words in common with another."""
    thing, curve = THINGS[number % len(THINGS)], CURVES[number // len(THINGS) % len(CURVES)]
    return f"Determine {thing} q{number} for {curve} k{number * 7} turned about axis {number * 13 + 1}."


class Script:
    """A CountingModel: `problem(i)` is the reply for problem i, `answer(question, sample)` a reply to a question.

    A reply may be None for a refusal, a text, or a ChatReply. `asked` has all requests. Ends with ChatError after
    `lost_after` replies.
    """

    name, max_tokens = "script", 100

    def __init__(self, problem=None, answer=None, topics="curves\nsurfaces", lost_after=None, name="script"):
        self._problem = problem or (lambda i: f"<problem>{question(i)}</problem>")
        self._answer = answer or (lambda text, sample: rf"\boxed{{{len(text)}}}")
        self._topics, self._lost_after, self.name = topics, lost_after, name
        self.refusal, self.asked = "", []

    def counted_replies(self, requests):
        for index in reversed(range(len(requests))):
            if len(self.asked) == self._lost_after:
                raise ChatError("the server is gone")
            self.asked.append(requests[index])
            reply = self._reply(requests[index])
            self.refusal = "bad request" if reply is None else self.refusal
            yield index, ChatReply(reply, True, 10, 10) if isinstance(reply, str) else reply

    def _reply(self, request):
        if request.text.startswith("List "):
            return self._topics
        if request.text.startswith("Write one"):
            return self._problem(problem_number(request))
        text = request.text.partition("\n\nPlease reason")[0]
        return self._answer(text, next(i for i in count() if messages.answer_request(text, i).seed == request.seed))

    @property
    def writing(self):
        return [r for r in self.asked if r.text.startswith("Write one")]


def problem_number(request, subdomain="calculus", seed=0):
    topics = ["any"]
    return next(i for i in count() if messages.problem_request(subdomain, topics, i, seed).seed == request.seed)


NO_CAP = Cap(10**9)


def run(tmp_path, model, cap=NO_CAP, output="new/probe.jsonl", **wanted):
    return write_problems(Wanted(**{"subdomain": "calculus", "count": 3, **wanted}), tmp_path / output, model, cap)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- The messages.


def test_the_topics_are_the_lines_after_the_reasoning_without_bullets():
    reply = "<think>Hm.\nLimits?</think>\n1. Limits\n- **Series**\n(3) Line integrals\n\nx\n" + "y" * 90 + "\nLimits\n"
    assert messages.topics_of(reply, "calculus") == ["Limits", "Series", "Line integrals"]
    assert messages.topics_of("<think>no end", "calculus") == messages.topics_of("", "calculus") == ["calculus"]
    assert len(messages.topics_of("\n".join(f"topic {i}" for i in range(99)), "calculus")) == messages.TOPICS


def test_topic_level_and_seed_change_from_problem_to_problem():
    requests = [messages.problem_request("calculus", ["limits", "series"], i, 0) for i in range(6)]
    assert len({r.seed for r in requests}) == len({r.text for r in requests}) == 6
    assert ["limits" in r.text for r in requests] == [True, False] * 3
    assert [messages.level_of(i) for i in range(4)] == [1, 2, 3, 1]
    assert messages.problem_request("calculus", ["limits"], 0, 1).seed != requests[0].seed


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("Find 1 + 1.", "no problem between"),
        ("<problem>  </problem>", "no problem between"),
        ("<think><problem>Find 1.</problem>", "no problem between"),
        (f"<problem>{'long ' * 1000}</problem>", "more than 4,000"),
        ("<problem>Find 1 + 1.\n\n**Answer:** 2</problem>", "states its answer"),
        (r"<problem>Find 1 + 1, as in \boxed{2}.</problem>", "states its answer"),
        ("<problem>Find 1 + 1.\nSolution: add</problem>", "states its answer"),
    ],
)
def test_a_reply_without_a_usable_question_has_a_fault(reply, fault):
    with pytest.raises(ValueError, match=fault):
        messages.question_of(reply)


def test_the_last_problem_after_the_reasoning_counts():
    reply = (
        "<think><problem>Find 0.</problem></think>Here:\n<PROBLEM>\nFind 1.\n</PROBLEM> or <problem>Find 2.</problem>"
    )
    assert messages.question_of(reply) == "Find 2."


# --- The votes.


@pytest.fixture(scope="module")
def verifier():
    with Verifier() as verifier:
        yield verifier


def voted(verifier, *texts, least=0.5):
    replies = [ChatReply(t, True, 1, 1) if isinstance(t, str) else t for t in texts]
    return vote(Problem("q", "calculus", "math", "Find x."), replies, least, verifier)


def test_answers_in_different_notation_vote_together_and_the_most_frequent_text_is_the_gold(verifier):
    found = voted(verifier, r"\boxed{0.5}", r"\boxed{\frac12}", r"so \boxed{\frac12}", r"\boxed{3}")
    assert (found.gold, found.agreement, found.fault) == (r"\frac12", 0.75, "")
    assert found.answers == ("0.5", r"\frac12", r"\frac12", "3")


def test_algebra_votes_together(verifier):
    found = voted(verifier, r"\boxed{x^2+2x+1}", r"\boxed{(x+1)^2}", r"\boxed{x^2}")
    assert found.gold == "x^2+2x+1" and found.agreement == pytest.approx(2 / 3)


def test_replies_without_an_answer_cut_off_and_refused_count_in_the_share(verifier):
    cut = ChatReply(r"\boxed{7} and then", False, 1, 1)
    found = voted(verifier, r"\boxed{7}", r"\boxed{7}", cut, "I cannot", None)
    assert found.gold == "7" and found.agreement == 0.4 and found.fault == "too few replies agree"
    assert not voted(verifier, r"\boxed{7}", r"\boxed{7}", cut, "I cannot", None, least=0.4).fault


def test_a_tie_and_no_answer_are_faults(verifier):
    assert "most votes" in voted(verifier, r"\boxed{7}", r"\boxed{8}", r"\boxed{8}", r"\boxed{7.0}").fault
    assert voted(verifier, "", None, "<think>").fault == "no reply has an answer"


def test_an_answer_that_the_verifier_cannot_read_is_no_gold(verifier):
    found = voted(verifier, r"\boxed{\sqrt{+}}", r"\boxed{\sqrt{+}}", r"\boxed{2}")
    assert found.fault and found.answers[0] == r"\sqrt{+}"


# --- The screen.


def test_copies_near_copies_and_questions_of_files_are_found(tmp_path):
    text = "A tank holds forty litres of brine and drains at a rate of three litres every minute. Find its volume then."
    test_file = tmp_path / "test.jsonl"
    test_file.write_text(json.dumps({"problem": text, "answer": "1"}) + "\n")
    screen = Screen([str(test_file)])

    def fault(question):
        return screen.fault(Problem("q", "calculus", "math", question))

    assert fault(text) == "ngram of a question in test.jsonl"
    assert fault(text.upper()) == "copy of an earlier question"
    assert fault("Find the arc length of the curve that a falling ladder's midpoint draws on the wall of a barn.") == ""
    near = "Find the arc length of the curve that a falling ladder's midpoint draws on the wall of a barn, please."
    assert fault(near) == "near copy of an earlier question"
    assert fault("Compute 1 + 2.") == "" and fault("Compute 1 - 2.") == ""


# --- The stored replies and the cap.


def requests(number):
    return [ChatRequest(f"text {i}", i) for i in range(number)]


class Counting:
    """Replies to everything with 5 tokens of the prompt and `used` of the reply; records the size of each batch."""

    max_tokens = 50

    def __init__(self, used=50, name="counting"):
        self.name, self.refusal, self.used, self.batches = name, "", used, []

    def counted_replies(self, requests):
        self.batches.append(len(requests))
        for index, request in enumerate(requests):
            yield index, ChatReply(request.text, True, None if self.used is None else 5, self.used)


def most(request, max_tokens=50):
    """The most tokens of a request: its bytes, 200 of a template, and its reply."""
    return len(request.text) + 200 + max_tokens


@pytest.mark.parametrize("used", [None, 0, 1, 50])
@pytest.mark.parametrize("tokens", [1, most(requests(1)[0]), 1_000, 5_000])
def test_no_batch_can_exceed_the_cap(tmp_path, tokens, used):
    model = Counting(used)
    with StoredReplies(tmp_path / "r.jsonl", model, Cap(tokens)) as replies:
        found = replies.ask(requests(60))
        assert replies.spent.tokens <= tokens
        assert len(found) == sum(model.batches) and [r.text for r in found] == [f"text {i}" for i in range(len(found))]
        if len(found) < 60:
            assert replies.spent.tokens + most(requests(60)[len(found)]) > tokens
            assert replies.ask(requests(60)) == found and sum(model.batches) == len(found)


def test_a_cap_in_money_holds_too(tmp_path):
    cap = Cap(10**9, money=0.002, prompt_price=1.0, reply_price=20.0)
    with StoredReplies(tmp_path / "r.jsonl", Counting(), cap) as replies:
        found = replies.ask(requests(60))
        assert 0 < len(found) < 60 and cap.cost(replies.spent) <= 0.002
    with pytest.raises(ValueError, match="without a price"):
        Cap(1, money=1.0)
    for name, option in (
        ("money", "--money-cap"),
        ("prompt_price", "--prompt-price"),
        ("reply_price", "--reply-price"),
    ):
        for value in (float("inf"), float("nan")):
            with pytest.raises(ValueError, match=f"{option} {value} is not a number of money: give a finite one"):
                Cap(1, **{"money": 1.0, "prompt_price": 1.0, name: value})


def test_stored_replies_are_used_again_by_the_same_model_and_count_in_the_cap(tmp_path):
    path = tmp_path / "new" / "r.jsonl"
    with StoredReplies(path, Counting(), Cap(10**6)) as replies:
        first = replies.ask(requests(3))
    model = Counting()
    with StoredReplies(path, model, Cap(165)) as replies:
        assert replies.spent.tokens == 165 and replies.ask(requests(4)) == first and model.batches == []
    with StoredReplies(path, Counting(name="other"), Cap(10**6)) as replies:
        assert len(replies.ask(requests(3))) == 3 and replies.spent.tokens == 330


def test_a_missing_reply_in_the_middle_is_asked_for(tmp_path):
    path = tmp_path / "r.jsonl"
    with StoredReplies(path, Counting(), Cap(10**6)) as replies:
        replies.ask([requests(5)[i] for i in (0, 2, 4)])
    model = Counting()
    with StoredReplies(path, model, Cap(10**6)) as replies:
        assert [r.text for r in replies.ask(requests(5))] == [f"text {i}" for i in range(5)] and model.batches == [2]


def test_lines_that_a_kill_cut_off_and_foreign_lines_are_skipped(tmp_path):
    path = tmp_path / "r.jsonl"
    with StoredReplies(path, Counting(), Cap(10**6)) as replies:
        replies.ask(requests(2))
    path.write_bytes(path.read_bytes() + b'[1]\nnull\n\xff\n{"key": 1}\n{"key": "a", "text": "b", "fin')
    for known in (2, 3):
        model = Counting()
        with StoredReplies(path, model, Cap(10**6)) as replies:
            assert len(replies.ask(requests(3))) == 3 and sum(model.batches) == 3 - known


def test_a_second_command_on_the_same_file_is_refused(tmp_path):
    with (
        StoredReplies(tmp_path / "r.jsonl", Counting(), Cap(1)),
        pytest.raises(ChatError, match="in use by another command"),
        StoredReplies(tmp_path / "r.jsonl", Counting(), Cap(1)),
    ):
        pass


# --- The whole procedure.


def test_problems_are_written_and_all_questions_are_counted(tmp_path):
    def problem(number):
        special = {1: "no tags", 2: f"<problem>{question(0)}</problem>", 4: None}
        return special.get(number, f"<problem>{question(number)}</problem>")

    def answer(text, sample):
        return rf"\boxed{{{sample}}}" if text == question(5) else rf"\boxed{{{len(text)}}}"

    found = run(tmp_path, Script(problem, answer), count=5, samples=3)
    assert [row["question"] for row in found.rows] == [question(i) for i in (0, 3, 6, 7, 8)]
    assert found.rows == rows(tmp_path / "new" / "probe.jsonl") and found.end == ""
    assert dict(found.reasons) == {
        "no problem between the tags": 1,
        "copy of an earlier question": 1,
        "the request was refused": 1,
        "two answers have the most votes": 1,
    }
    assert found.questions == 9 == len(found.rows) + len(found.dropped)
    assert found.dropped == rows(dropped_path(tmp_path / "new" / "probe.jsonl"))
    row = found.rows[1]
    assert (row["level"], row["topic"], row["agreement"], row["samples"]) == (1, "surfaces", 1.0, 3)


def test_a_run_reads_the_output_unchanged_and_its_agreement_is_metadata(tmp_path):
    def answer(text, sample):
        return rf"\boxed{{{len(text)}}}" if sample or text == question(0) else "Hm."

    found = run(tmp_path, Script(answer=answer), samples=4)
    path = str(tmp_path / "new" / "probe.jsonl")
    data = DataConfig(probe_files=[DataSource(path)], probe_per_subdomain=0)
    problems = load_problem_sets(data, 0).probe
    assert [p.question for p in problems] == [row["question"] for row in found.rows]
    assert {(p.subdomain, p.kind) for p in problems} == {("calculus", "math")}
    assert [p.answer for p in problems] == [str(len(p.question)) for p in problems]
    assert [p.level for p in problems] == [1, 2, 3]
    sure = DataConfig(probe_files=[DataSource(path, where={"agreement": {"min": 0.9}})], probe_per_subdomain=0)
    assert [p.question for p in load_problem_sets(sure, 0).probe] == [question(0)]


def test_a_finished_command_asks_nothing_and_a_higher_count_keeps_the_first_problems(tmp_path):
    first = run(tmp_path, Script())
    again = Script()
    assert run(tmp_path, again).rows == first.rows and not again.asked
    more = Script()
    assert run(tmp_path, more, count=5).rows[:3] == first.rows and len(more.writing) == 2
    assert run(tmp_path, again, count=2).rows == first.rows[:2] and not again.asked


@pytest.mark.parametrize("lost_after", [0, 1, 3, 10, 27])
def test_a_lost_server_keeps_the_replies_and_the_same_command_gives_the_same_problems(tmp_path, lost_after):
    whole = run(tmp_path, Script(), output="whole.jsonl")
    with pytest.raises(ChatError, match=r"is gone \(0 of 3 problems are written: the same command continues\)"):
        run(tmp_path, Script(lost_after=lost_after))
    assert not (tmp_path / "new" / "probe.jsonl").exists()
    after = Script()
    assert run(tmp_path, after).rows == whole.rows and len(after.asked) == 1 + 3 + 24 - lost_after


def test_the_cap_ends_the_command_with_the_finished_problems_and_a_higher_cap_continues(tmp_path):
    model = Script()
    found = run(tmp_path, model, Cap(2_000), samples=4, count=20)
    assert 0 < len(found.rows) < 20 and found.end == "the cap is reached" and found.spent.tokens <= 2_000
    assert found.questions == len(found.rows) + len(found.dropped)
    assert dict(found.reasons).keys() == {"not answered before the cap"}
    more = run(tmp_path, Script(), samples=4, count=20)
    assert more.rows[: len(found.rows)] == found.rows and len(more.rows) == 20 and not more.end


def test_a_model_whose_questions_are_all_alike_ends_at_the_limit(tmp_path):
    found = run(tmp_path, Script(lambda i: f"<problem>{question(i % 2)}</problem>"), count=7)
    assert len(found.rows) == 2 and found.questions == 7 * MAX_WRITTEN and "10 questions" in found.end
    assert found.reasons == [("copy of an earlier question", 68)]


def test_a_model_without_a_usable_reply_writes_no_output_and_names_the_reasons(tmp_path):
    with pytest.raises(ChatError, match=r"no problem of 30 .*dropped.jsonl\): take a stronger model"):
        run(tmp_path, Script(lambda i: "Hm."))
    assert not (tmp_path / "new" / "probe.jsonl").exists()
    assert len(rows(dropped_path(tmp_path / "new" / "probe.jsonl"))) == 30


def test_a_server_that_refuses_everything_is_asked_once(tmp_path):
    model = Script(lambda i: None)
    with pytest.raises(ChatError, match="all requests were refused: bad request"):
        run(tmp_path, model, count=500)
    assert len(model.writing) == ROUND


@pytest.mark.parametrize(
    "text", ["\ud800 half", "nul \x00 here", "\N{LINE SEPARATOR}two lines", "a" * 3_999, "Vater: 几何?", "{}%s{0}"]
)
def test_odd_questions_are_dropped_or_read_back_unchanged(tmp_path, text):
    odd = {0: f"<problem>{text}</problem>"}
    found = run(tmp_path, Script(lambda i: odd.get(i, f"<problem>{question(i)}</problem>"), lambda *_: r"\boxed{1}"))
    path = str(tmp_path / "new" / "probe.jsonl")
    read = load_problem_sets(DataConfig(probe_files=[DataSource(path)], probe_per_subdomain=0), 0).probe
    assert [p.question for p in read] == [row["question"] for row in found.rows]
    assert text.strip() in [p.question for p in read] or found.questions == 4


@pytest.mark.parametrize("answer", ["N/A", r"\text{no answer}", "proof", "\ud800", "[]", "A", r"\begin{", "x" * 9_000])
def test_odd_answers_never_reach_the_output_unread(tmp_path, answer):
    odd = {question(0): rf"\boxed{{{answer}}}"}
    found = run(tmp_path, Script(answer=lambda text, _: odd.get(text, r"\boxed{1}")))
    path = str(tmp_path / "new" / "probe.jsonl")
    read = load_problem_sets(DataConfig(probe_files=[DataSource(path)], probe_per_subdomain=0), 0).probe
    assert len(read) == len(found.rows) == 3


# --- The command.


def chat(request):
    """A scripted model behind HTTP. The number of a problem follows from the seed of its request."""
    text, usage = request["messages"][0]["content"], {"prompt_tokens": 40, "completion_tokens": 20, "total_tokens": 60}
    if text.startswith("List "):
        return {"content": "limits\nseries", "usage": usage}
    if text.startswith("Write one"):
        number = problem_number(ChatRequest(text, request["seed"]))
        return {"content": f"<problem>{question(number)}</problem>", "usage": usage}
    return {"content": rf"\boxed{{{len(text)}}}", "usage": usage}


def command(url, output, *more):
    options = ["--subdomain", "calculus", "--output", str(output), "--endpoint", url, "--samples", "3"]
    return ["write-problems", *options, *more]


def test_the_command_prints_a_table_with_tokens_and_cost(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    output = tmp_path / "probe.jsonl"
    test_file = tmp_path / "test.jsonl"
    test_file.write_text(json.dumps({"problem": question(1), "answer": "1"}) + "\n")
    prices = ["--prompt-price", "1", "--reply-price", "2", "--money-cap", "1"]
    with chat_server(chat) as server:
        done = CliRunner().invoke(
            app, command(server.url, output, "--count", "4", "--against", str(test_file), *prices)
        )
    assert done.exit_code == 0, done.output
    assert set(server.keys) == {"Bearer secret"} and {r["temperature"] for r in server.requests} == {1.0}
    assert len(rows(output)) == 4
    table = " ".join(done.output.split())
    assert "questions 5 written" in table and "problems 4" in table and "lowest 1.00, median 1.00" in table
    assert re.search(r"dropped 1: .* of a question in test.jsonl", table)
    # One request for topics, 5 for questions, 12 for answers: 40 and 20 tokens each.
    assert "tokens 720 of prompts, 360 of replies" in table and "cost 0.0014" in table


def test_the_command_ends_with_1_at_the_cap(tmp_path):
    with chat_server(chat) as server:
        more = ["--count", "30", "--token-cap", "4000", "--max-tokens", "100"]
        done = CliRunner().invoke(app, command(server.url, tmp_path / "p.jsonl", *more))
    assert done.exit_code == 1 and "the cap is reached" in done.output, done.output
    assert 0 < len(rows(tmp_path / "p.jsonl")) < 30


def test_a_killed_command_continues_and_asks_for_no_stored_reply_again(tmp_path):
    output = tmp_path / "probe.jsonl"

    def slow(request):
        number = len(server.requests)
        if number > 12:
            time.sleep(500)
        return chat(request)

    def process_command(url):
        return [sys.executable, "-m", "vt_ray.tools", *command(url, output, "--count", "6", "--model", "m")]

    def stored():
        path = replies_path(output)
        return path.read_bytes().count(b"\n") if path.exists() else 0

    with chat_server(slow) as server:
        process = subprocess.Popen(process_command(server.url), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 400
        while stored() < 12:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kept = stored()
    with chat_server(chat) as server:
        done = subprocess.run(process_command(server.url), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 1 + 6 + 18 - kept and "6/6" in done.stdout
    with chat_server(chat) as server:
        whole = CliRunner().invoke(app, command(server.url, tmp_path / "whole.jsonl", "--count", "6", "--model", "m"))
    assert whole.exit_code == 0 and (tmp_path / "whole.jsonl").read_bytes() == output.read_bytes()


def test_usage_errors_are_one_message(tmp_path):
    (tmp_path / "there.jsonl").write_text("{}\n")
    output, there = str(tmp_path / "p.jsonl"), str(tmp_path / "there.jsonl")
    good = {"--subdomain": "calculus", "--output": output, "--endpoint": "http://127.0.0.1:9", "--model": "m"}
    for changes, message in (
        ({"--subdomain": "code"}, "programs have none"),
        ({"--subdomain": " "}, "1 to 80 characters"),
        ({"--subdomain": "a\nb"}, "1 to 80 characters"),
        ({"--min-agreement": "0"}, "above 0, at most 1"),
        ({"--min-agreement": "nan"}, "above 0, at most 1"),
        ({"--samples": "1"}, "equal to 2"),
        ({"--count": "0"}, "equal to 1"),
        ({"--token-cap": "0"}, "equal to 1"),
        ({"--money-cap": "3"}, "without a price"),
        ({"--output": str(tmp_path / "p.json")}, "ends in .jsonl"),
        ({"--output": there}, "is not of this command"),
        ({"--output": f"{there}/p.jsonl"}, "cannot be written"),
        ({"--against": str(tmp_path / "no.jsonl")}, "no.jsonl"),
        ({"--against": output}, "is the output itself"),
        ({"--endpoint": "127.0.0.1:9"}, "expected a URL"),
    ):
        arguments = [part for pair in (good | changes).items() for part in pair]
        done = CliRunner().invoke(app, ["write-problems", *arguments])
        assert done.exit_code == 2 and without_breaks(message) in without_breaks(done.output), (changes, done.output)
    assert [p.name for p in tmp_path.iterdir()] == ["there.jsonl"]


def without_breaks(text):
    """The letters of an error box, whose lines may break within a path."""
    return "".join(text.replace("│", " ").split())
