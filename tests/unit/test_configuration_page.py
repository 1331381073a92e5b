"""docs/configuration.md agrees with the dataclasses, and every field has its meaning and allowed values."""

import importlib.util
from pathlib import Path

import pytest

from vt_ray import config
from vt_ray.config import Config, CurriculumConfig, DataConfig, DataSource, StageConfig
from vt_ray.run.identity import settings
from vt_ray.verify.limits import BACKENDS

SCRIPT = Path(__file__).resolve().parents[2] / "docs/make_configuration.py"


@pytest.fixture(scope="module")
def make_configuration():
    spec = importlib.util.spec_from_file_location("make_configuration", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(make_configuration):
    """Key -> type, default and meaning, from the table rows of the page."""
    lines = [line for line in make_configuration.page().splitlines() if line.startswith("| `")]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return {key.strip("`"): rest for key, *rest in cells}


def test_the_page_is_up_to_date(make_configuration):
    assert make_configuration.PAGE.read_text() == make_configuration.page(), "run `python docs/make_configuration.py`"


def test_every_setting_has_a_row_with_a_meaning(rows):
    """A stage and a source are given, so that the keys of list members are settings too."""
    data = DataConfig(sources=[DataSource()])
    one_of_each = Config(data=data, curriculum=CurriculumConfig([StageConfig()]))
    keys = {key.replace(".0", "[]") for key, _, _ in settings(one_of_each)}
    assert keys == set(rows)
    assert not [key for key, (_, _, meaning) in rows.items() if len(meaning) < 15]


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("model.attention", config.ATTENTIONS),
        ("cluster.take_turns", config.TAKE_TURNS),
        ("spectrum.sft.optimizer.schedule", config.SCHEDULES),
        ("signal.mgpo.ratio", config.RATIOS),
        ("signal.mgpo.importance.kind", config.IMPORTANCE_BOUNDS),
        ("signal.mgpo.importance.mean", config.IMPORTANCE_MEANS),
        ("signal.mgpo.aggregation", config.AGGREGATIONS),
        ("signal.mgpo.advantage_norm", config.ADVANTAGE_NORMS),
        ("tracker.estimator", config.ESTIMATORS),
        ("signal.sync.transport", config.TRANSPORTS),
        ("signal.control", config.CONTROLS),
        ("signal.schedule", config.SCHEDULES_OF_STEPS),
        ("curriculum.stages[].optimizer_state", config.OPTIMIZER_STATES),
        ("curriculum.stages[].truncated", config.TRUNCATED),
        ("curriculum.stages[].sampling", config.SAMPLINGS),
        ("verify.sandbox.backend", BACKENDS),
    ],
)
def test_a_choice_names_every_allowed_value(rows, key, allowed):
    assert [value for value in allowed if f'"{value}"' not in rows[key][-1]] == []


def test_the_default_of_a_section_is_its_own(rows):
    """SFT and RL share the dataclass of the optimizer, not its defaults."""
    assert rows["spectrum.sft.optimizer.lr"][1] == "`5e-05`" and rows["signal.optimizer.lr"][1] == "`1e-06`"


def test_defaults_that_follow_the_dtype_are_shown_as_not_set(rows):
    assert rows["signal.mgpo.importance.kind"][1] == "`null`"


def test_a_field_without_a_comment_is_found(make_configuration):
    assert make_configuration.field_comments(StageConfig)["gate"] == ""
