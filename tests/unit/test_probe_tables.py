"""The tables of the probing phase: specialists with their lead, all figures, and the sentence about racing."""

import pytest
from test_probing import probe_table as table_of
from test_probing import scores

from vt_ray.report import probe_tables
from vt_ray.report.run_page.training_sections import probe_section
from vt_ray.report.run_record import RunRecord

MEASURED = {
    "step_1": scores(algebra=[1] * 12, code=[1, 0] * 6),
    "step_2": scores(algebra=[0] * 12, code=[0, 1] * 6),
}


def rows(table):
    return probe_tables.specialist_rows(probe_tables.specialists(table), table["k"])


def test_the_specialists_have_their_lead_and_a_tie_is_named():
    header, algebra, code = rows(table_of(MEASURED, k=4))
    assert header == ["subdomain", "specialist", "Pass@4", "runner-up", "lead, points", ""]
    assert algebra == ["algebra", "step_1", "100.0%", "step_2", "+100.0 [+75.0, +100.0]", "clear"]
    assert code[:4] == ["code", "step_2", "50.0%", "step_1"] and code[5] == "tie"


def test_a_lead_in_loss_has_no_interval():
    losses = {"step_1": 0.5, "step_2": 0.75}
    found = rows(table_of(MEASURED, 4, losses, criterion="heldout_loss"))
    assert found[1] == ["algebra", "step_1", "100.0%", "step_2", "0.2500 nats", "clear"]


def test_a_table_of_an_older_version_has_no_leads():
    old = {key: value for key, value in table_of(MEASURED, k=4).items() if key in (
        "k", "checkpoints", "pass_at_k", "pass_at_1", "specialists", "best_pass_at_1")}  # fmt: skip
    assert rows(old)[1] == ["algebra", "step_1", "100.0%", "–", "–", ""]
    assert probe_tables.criterion_name(old) == "Pass@4" and probe_tables.racing_sentence(old.get("racing")) == ""
    section = probe_section(record(old))
    assert not section.tables and len(section.figures) == 2


def record(probe):
    return RunRecord(None, {}, "", {}, probe, [], [])


def test_every_checkpoint_has_a_row_with_its_figures():
    table = table_of(MEASURED, 4, {"step_1": 0.5}, ks=[2])
    header, *found = probe_tables.figure_rows(table)
    assert header[3:6] == ["Pass@1", "Pass@2", "Pass@4"] and header[-1] == "held-out loss"
    assert [row[:3] for row in found] == [[d, s, "12"] for d in ("algebra", "code") for s in ("step_1", "step_2")]
    assert found[0][-1] == "0.5000" and found[1][-1] == "–" and found[1][6].startswith("+100.0")
    assert found[0][7:10] == ["–"] * 3
    assert all(len(row) == len(header) for row in found)


def test_the_section_of_the_report_says_what_racing_saved():
    table = table_of(MEASURED, 4, stopped={"algebra": {"step_2": 6}}, racing=0.05)
    table["racing"] |= {"samples": 72, "samples_without_racing": 96}
    section = probe_section(record(table))
    assert any("drew 72 of 96 samples (25% saved)" in text and "once" in text for text in section.text)
    assert [t.title for t in section.tables] == ["Specialists", "All figures of the probe"]


@pytest.mark.parametrize("criterion", ["pass_at_k", "pass_at_1", "diversity", "heldout_loss"])
def test_the_criterion_is_named(criterion):
    table = table_of(MEASURED, 4, {"step_1": 0.5, "step_2": 0.4}, criterion=criterion)
    assert probe_tables.criterion_name(table) in probe_section(record(table)).text[0]
