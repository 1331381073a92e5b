"""The code that a phase depends on, and the edits that change its digest."""

import pytest

from vt_ray.run import phase_code as pc


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of vt_ray: write(name, text) changes a module, code(phase) computes the digests."""
    monkeypatch.setattr(pc, "PACKAGE", tmp_path / "vt_ray")
    monkeypatch.setattr(pc, "ENTRIES", {"sft": ("train", "rules")})
    monkeypatch.setattr(pc, "MACHINERY", ("store",))

    class Package:
        def write(self, name, text):
            path = pc.PACKAGE / f"{name.replace('.', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

        def code(self, phase="sft"):
            pc._imports.cache_clear()
            pc._digest.cache_clear()
            return pc.phase_code(phase)

    package = Package()
    package.write(
        "train", "from vt_ray.losses import loss\nimport vt_ray.store\nimport torch\n\n\ndef f():\n    return 1\n"
    )
    package.write("losses", "def loss():\n    from vt_ray.deep import late\n")
    package.write("deep.__init__", "")
    package.write("deep.late", "x = 1\n")
    package.write("store", "import vt_ray.other\n")
    package.write("other", "y = 1\n")
    package.write("rules.__init__", "")
    package.write("rules.first", "z = 1\n")
    return package


def test_a_phase_rests_on_what_its_entries_import_anywhere_but_on_no_machinery(package):
    assert set(package.code()) == {"train", "losses", "deep", "deep.late", "rules", "rules.first"}


def test_an_unknown_phase_rests_on_everything(package):
    assert {"store", "other", "train"} <= set(package.code("unknown"))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("x = 1  # reworded\n", True),
        ('"""A new docstring."""\n\nx = (\n    1\n)\n', True),
        ("x = 2\n", False),
        ("x = 1\ny = 2\n", False),
        ("x = '1'\n", False),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(package, text, same):
    before = package.code()
    package.write("deep.late", text)
    assert (package.code() == before) == same


def test_docstrings_of_functions_and_classes_do_not_count_but_other_strings_do(package):
    package.write(
        "deep.late", 'class A:\n    """One."""\n\n    async def f(self):\n        """Two."""\n        return "three"\n'
    )
    before = package.code()
    package.write("deep.late", "class A:\n    async def f(self):\n        return 'three'\n")
    assert package.code() == before
    package.write("deep.late", "class A:\n    async def f(self):\n        return 'four'\n")
    assert package.code() != before


def test_machinery_and_what_only_it_imports_does_not_count(package):
    before = package.code()
    package.write("store", "import vt_ray.other\nz = 9\n")
    package.write("other", "y = 2\n")
    assert package.code() == before


# A module of the paper that each phase must depend on, and a module that must not change it.
EXPECTED = {
    "base": ({"engines.base_model"}, {"algorithms.losses", "verify.mathematics.exact_numbers", "data.readers"}),
    "sft": (
        {"algorithms.losses", "algorithms.logprobs", "algorithms.packing", "algorithms.learning_rate", "data.prompts"}
        | {"engines.training", "engines.policy", "engines.learner_spec", "spectrum_phase.sft", "data.stream"}
        | {"engines.likelihood", "engines.lora"},
        {
            "algorithms.mgpo",
            "algorithms.tracker",
            "verify.mathematics.exact_numbers",
            "spectrum_phase.fusion",
            "signal_phase.loop",
        }
        | {"data.readers", "data.makers.algebra"},
    ),
    "probe": (
        {
            "spectrum_phase.probing",
            "engines.vllm.engine",
            "engines.vllm.request_batch",
            "algorithms.pass_at_k",
            "verify.mathematics.exact_numbers",
        }
        | {"verify.sandbox.inside.program_runner", "verify.choice"},
        {"algorithms.losses", "algorithms.mgpo", "spectrum_phase.sft"},
    ),
    "fused": (
        {"spectrum_phase.fusion", "spectrum_phase.fusion_rules", "spectrum_phase.fusion_gate"}
        | {"spectrum_phase.probing", "engines.vllm.engine", "verify.mathematics.exact_numbers"},
        {"algorithms.losses", "algorithms.mgpo", "spectrum_phase.sft"},
    ),
    "rejection": (
        {"self_distillation.rejection", "evaluation.repetition", "engines.vllm.engine", "verify.programs.run_tests"},
        {"algorithms.losses", "spectrum_phase.sft", "self_distillation.selection"},
    ),
    "self_distil": (
        {"self_distillation.selection", "engines.likelihood", "engines.policy", "spectrum_phase.sft"},
        {"engines.vllm.engine", "verify.programs.run_tests", "self_distillation.rejection"},
    ),
    "spectrum_scores": (
        {"evaluation.milestones", "evaluation.sampling", "engines.vllm.engine", "verify.programs.run_tests"},
        {"algorithms.losses", "algorithms.mgpo"},
    ),
}


@pytest.mark.parametrize("phase", EXPECTED)
def test_each_phase_rests_on_its_formulas_and_not_on_those_of_others(phase):
    found = set(pc.phase_code(phase))
    needed, foreign = EXPECTED[phase]
    assert needed <= found and not foreign & found
    assert not [name for name in found if pc.is_machinery(name)]


def test_every_named_module_is_there():
    everything = set(pc._modules_below(pc.PACKAGE))
    for name in (*pc.MACHINERY, *pc.SHOWN, *(entry for entries in pc.ENTRIES.values() for entry in entries)):
        assert any(f"{module}.".startswith(f"{name}.") for module in everything), name


def test_every_phase_that_the_pipeline_runs_is_known():
    import ast
    import inspect

    from vt_ray import pipeline
    from vt_ray.run.milestone_names import SPECTRUM_STAGES
    from vt_ray.self_distillation import phases as distillation

    trees = [ast.parse(inspect.getsource(module)) for module in (pipeline, distillation)]
    calls = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Call)]
    named = [ast.unparse(c.args[0]) for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "phase"]
    # A name is a literal, a constant, or an attribute of the spectrum stage.
    phases = {eval(name, vars(pipeline), {"stage": stage}) for name in named for stage in SPECTRUM_STAGES}
    assert phases == set(pc.ENTRIES)
