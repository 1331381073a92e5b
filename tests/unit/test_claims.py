"""Claim-level reliability: claims are read, checked and weighted; the weighted vote is compared with the majority."""

import pytest

from vt_ray.evaluation import claims as clr
from vt_ray.evaluation.claims import (
    TRACE_CHARS,
    Reply,
    check_prompt,
    claims_prompt,
    parsed_check,
    parsed_claims,
    reliability,
)
from vt_ray.evaluation.voting import majority_score


class Model:
    """Lists the claims "<trace> 1", "<trace> 2", ... and checks a claim by `is_true`. Each reply has ten tokens."""

    def __init__(self, is_true, claims=5):
        self.is_true, self.claims, self.calls = is_true, claims, []

    def __call__(self, prompts):
        self.calls.append(len(prompts))
        return [Reply(self.reply(prompt), 10) for prompt in prompts]

    def reply(self, prompt):
        if "A solution:" in prompt:
            trace = prompt.split("A solution:\n")[1].split("\n\n")[0]
            return "<think>hm</think>\n" + "\n".join(f"{i}. {trace} {i}" for i in range(1, self.claims + 1))
        claim = prompt.split("Claim about this problem:\n")[1].split("\n\n")[0]
        return f"I check it. \\boxed{{{str(self.is_true(claim)).lower()}}}"


def claim_weights(question, traces, generate, claims=5):
    (found,) = clr.claim_weights([(question, traces)], generate, claims)
    return found


def test_each_problem_has_its_own_weights_and_tokens():
    model = Model(lambda claim: claim.startswith("good"))
    first, none, second = clr.claim_weights([("p", ["good", "bad"]), ("q", []), ("r", ["good"])], model)
    assert (first.weights, none.weights, second.weights) == ((1.0, 0.0), (), (1.0,))
    assert (first.tokens, none.tokens, second.tokens) == (120, 0, 60) and model.calls == [3, 15]


def test_weights_follow_from_the_share_of_true_claims():
    model = Model(lambda claim: claim.startswith("good") or claim in ("half 1", "half 2", "half 3", "half 4"))
    found = claim_weights("What is 1+1?", ["good", "half", "bad"], model)
    assert found.weights == pytest.approx((1.0, 0.8**5, 0.0))
    assert model.calls == [3, 15], "two calls of generate for any number of traces"
    assert found.tokens == 180


def test_missing_claims_count_as_false():
    found = claim_weights("q", ["good"], Model(lambda claim: True, claims=3))
    assert found.weights == pytest.approx((0.6**5,))
    assert claim_weights("q", ["good"], Model(lambda claim: True, claims=0)).weights == (0.0,)
    assert claim_weights("q", [], Model(lambda claim: True)).weights == ()


def test_one_reliable_trace_outvotes_two_unreliable_ones():
    classes, verdicts = [0, 1, 1], ["correct", "wrong", "wrong"]
    assert majority_score(classes, verdicts) == 0.0
    weights = claim_weights("q", ["good", "bad", "bad"], Model(lambda claim: claim.startswith("good"))).weights
    assert majority_score(classes, verdicts, weights) == 1.0


@pytest.mark.parametrize(
    ("weights", "score"),
    [
        ([0.5, 0.25, 0.25], 0.5),
        ([0.1, 0.1, 0.2], 0.0),
        ([0.75, 0.5, 0.25], 0.5),
        ([0.0, 0.0, 0.0], 0.0),
        ([1.0, 0.0, 0.0], 1.0),
    ],
)
def test_weighted_votes(weights, score):
    assert majority_score([0, 1, 1], ["correct", "wrong", "wrong"], weights) == score


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_impossible_weights_are_refused(weight):
    with pytest.raises(ValueError, match="must be finite"):
        majority_score([0], ["correct"], [weight])


def test_reliability_of_five_claims():
    assert [reliability([True] * n + [False] * (5 - n)) for n in range(6)] == pytest.approx(
        [0, 0.00032, 0.01024, 0.07776, 0.32768, 1]
    )


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("1. a\n2. b\n3. c", ["a", "b", "c"]),
        ("Here they are:\n\n1) a\n2) b", ["a", "b"]),
        ("**1.** a\n**2.** b", ["a", "b"]),
        ("Claim 1: a\n- Claim 2: b", ["a", "b"]),
        ("<think>1. wrong\n2. wrong</think>\n1. x = 2.\n2. b", ["x = 2.", "b"]),
        ("1. a\n1. again\n7. beyond", ["again"]),
        ("no claims at all", []),
        ("<think>never ends 1. a", []),
        ("", []),
    ],
)
def test_claims_are_read_from_a_list(text, claims):
    assert parsed_claims(text) == claims


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (r"so \boxed{true}", True),
        (r"\boxed{\text{False}}", False),
        (r"\boxed{true}, no: \boxed{false}", False),
        ("The claim is correct.", True),
        ("It is not clear, but it is incorrect", False),
        ("The claim is not true.", False),
        ("This is not quite right", False),
        ("It is not wrong", True),
        (r"\boxed{42}", None),
        ("I cannot say", None),
        ("<think>true", None),
        ("", None),
    ],
)
def test_checks_are_read(text, verdict):
    assert parsed_check(text) is verdict


def test_prompts_hold_their_parts_and_no_more():
    prompt = claims_prompt("What is 1+1?", "It is 2.", 3)
    assert "What is 1+1?" in prompt and "It is 2." in prompt and "3 claims" in prompt and "1 to 3" in prompt
    assert "It is 2." not in check_prompt("What is 1+1?", "1+1=2")
    long = claims_prompt("q", "begin" + "x" * TRACE_CHARS + "end")
    assert "begin" not in long and "end\n\n" in long


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="claims=0 must be at least 1"):
        claim_weights("q", ["t"], Model(lambda claim: True), claims=0)
    with pytest.raises(ValueError, match="0 replies for 1 prompts"):
        claim_weights("q", ["t"], lambda prompts: [])
