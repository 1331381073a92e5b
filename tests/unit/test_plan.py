"""The steps and tokens of the plan, computed by hand."""

from dataclasses import replace

from vt_ray.config import Config, CurriculumConfig, GateConfig, StageConfig
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.planning.resource_plan import phase_plan
from vt_ray.records import Problem, Solution


def problems_of(algebra, code):
    return [
        *(Problem(f"a{i}", "algebra", "math", f"{i}?", "1") for i in range(algebra)),
        *(Problem(f"c{i}", "code", "code", f"{i}?") for i in range(code)),
    ]


SETS = ProblemSets(problems_of(20, 10), problems_of(6, 2), problems_of(5, 3))


def planned(*stages, **signal):
    config = Config(curriculum=CurriculumConfig(list(stages)))
    config.spectrum.probe.samples, config.spectrum.probe.max_new_tokens = 4, 10
    config.evaluation.samples, config.evaluation.code_samples, config.evaluation.max_new_tokens = 2, 3, 100
    for name, value in signal.items():
        setattr(config.signal, name, value)
    return {phase.name: (phase.steps, phase.tokens) for phase in phase_plan(config, SETS)}


def stage(**changes):
    return StageConfig(**{"name": "math", "steps": 50, "prompts_per_step": 4, "max_new_tokens": 100} | changes)


def test_the_evaluations_of_a_gate_are_counted():
    gate = GateConfig(eval_every=20, samples=5)
    plan = planned(stage(subdomains=["algebra"], gate=gate), stage(name="code", subdomains=["code"], gate=gate))
    # After steps 20 and 40: 6 probing problems of algebra, 2 of code, 5 samples each of at most 100 tokens.
    assert plan["gate math"] == (2, 2 * 6 * 5 * 100)
    assert plan["gate code"] == (2, 2 * 2 * 5 * 100)


def test_a_stage_without_an_evaluating_gate_has_none():
    assert "gate math" not in planned(stage(gate=GateConfig(max_truncated_share=0.5)))


def test_evaluation_and_the_probe_of_the_fused_model_are_counted():
    plan = planned(stage())
    # base, sft_last, sft_best, fused and the stage; 5 math problems x 2 samples, 3 of code x 3.
    assert plan["evaluate"] == (5, 5 * (5 * 2 + 3 * 3) * 100)
    assert plan["probe fused"] == (1, 8 * 4 * 10)


def test_refills_are_counted_up_to_the_pool():
    assert planned(stage())["rl math"] == (50, 50 * 4 * 8 * 100)
    assert planned(stage(refill_rounds=2))["rl math"] == (50, 50 * 12 * 8 * 100)
    assert planned(stage(refill_rounds=2, subdomains=["code"]))["rl math"] == (50, 50 * 10 * 8 * 100)


def test_the_sft_control_has_no_stages():
    plan = planned(stage(), control="sft", control_sft_steps=7)
    assert "rl math" not in plan
    assert plan["sft continued"] == (7, 7 * 64 * 256)
    assert plan["evaluate"][0] == 5


def test_the_plan_counts_questions_with_solutions_if_only_a_share_has_them():
    solved = [replace(p, solutions=(Solution("direct", "1"),)) for p in SETS.train[:4]]
    sets = replace(SETS, train=[*solved, *SETS.train[4:]])
    config = Config(curriculum=CurriculumConfig([stage()]))
    config.data.solved_share = 0.2
    sft = next(phase for phase in phase_plan(config, sets) if phase.name == "sft")
    assert sft.what.endswith("; 4 of 30 questions have solutions")


def test_the_steps_of_epochs_are_those_of_all_examples():
    solutions = (Solution("direct", "1"), Solution("long", "2"))
    sets = replace(SETS, train=[replace(p, solutions=solutions) for p in SETS.train])
    config = Config(curriculum=CurriculumConfig([stage()]))
    sft, second = config.spectrum.sft, config.spectrum.second_stage
    sft.epochs, sft.batch_size, sft.checkpoint_every, sft.styles, second.epochs = 4, 8, 5, ["direct"], 2
    plan = {phase.name: phase for phase in phase_plan(config, sets)}
    # 30 examples are 3 whole batches.
    assert (plan["sft"].steps, plan["sft2"].steps) == (12, 6) and plan["sft"].tokens == 12 * 8 * sft.max_tokens
    assert plan["sft"].what == "at most 3 checkpoints: 4 epochs of at most 30 examples"
    assert plan["probe"].steps == 3
