"""The engines' counters of a step: differences of two readings, by hand."""

from types import SimpleNamespace

from vt_ray.engines.vllm.counters import EngineCounters
from vt_ray.signal_phase.engine_record import SUMS, engine_record


def counters(steps, running, queries, hits, tokens, **others):
    """Readings of an engine whose steps take 0.5 s."""
    sums = {**dict.fromkeys(SUMS, 0), "engine_steps": steps, "step_seconds": steps / 2, "tokens": tokens}
    sums |= {"running_sum": steps * running, "prefix_queries": queries, "prefix_hits": hits}
    return {**sums, "kv_usage_max": 0.25, "memory_gb_max": None, **others}


def test_the_figures_of_a_step_are_differences_of_the_counters():
    before = {"generator_0": counters(10, 4, 100, 50, 40)}
    after = {
        "generator_0": counters(30, 4, 300, 200, 140, preemptions=2, waiting_sum=10, memory_gb_max=8.0),
        "generator_1": counters(5, 2, 0, 0, 10, kv_usage_max=0.5),
    }
    record = engine_record(before, after)
    first, second = record["generators"].values()
    assert first == {
        "engine_steps": 20,
        "running": 4.0,
        "waiting": 0.5,
        "kv_usage_max": 0.25,
        "preemptions": 2,
        "prefix_hit_share": 0.75,
        "decode_tokens_per_second": 10.0,
        "memory_gb_max": 8.0,
    }
    assert (second["running"], second["prefix_hit_share"], second["memory_gb_max"]) == (2.0, None, None)
    assert record["generation"] == {
        "engine_steps": 25,
        "running": 6.0,
        "waiting": 0.5,
        "kv_usage_max": 0.5,
        "preemptions": 2,
        "prefix_hit_share": 0.75,
        "decode_tokens_per_second": 14.0,
        "memory_gb_max": 8.0,
    }


def test_a_replaced_generator_counts_from_its_start():
    record = engine_record({"generator_0": counters(90, 4, 90, 9, 900)}, {"generator_0": counters(10, 3, 40, 10, 30)})
    figures = record["generators"]["generator_0"]
    assert (figures["engine_steps"], figures["running"], figures["prefix_hit_share"]) == (10, 3.0, 0.25)
    assert record["generation"] == figures
    early = engine_record({"generator_0": counters(5, 4, 90, 9, 900)}, {"generator_0": counters(6, 3, 40, 10, 30)})
    assert early["generators"]["generator_0"]["decode_tokens_per_second"] == 10.0


def test_an_idle_engine_has_no_shares_and_an_engine_without_counters_no_figures():
    idle = {"generator_0": counters(10, 4, 100, 50, 40)}
    figures = engine_record(idle, idle)["generation"]
    assert figures["running"] == 0 and figures["prefix_hit_share"] is figures["decode_tokens_per_second"] is None
    assert engine_record({}, {}) == engine_record({}, {"generator_0": {}}) == {}


def test_the_counters_of_vllm_are_summed_and_the_peak_can_be_measured_anew():
    counted = EngineCounters(queued=lambda: 3)
    preempted = SimpleNamespace(type=SimpleNamespace(name="PREEMPTED"))
    outputs = [
        SimpleNamespace(new_token_ids=[1, 2], events=[preempted], finish_reason=None),
        SimpleNamespace(new_token_ids=[], events=None, finish_reason="length"),
    ]
    given = []
    for running, usage in ((8, 0.5), (6, 0.25)):
        stats = SimpleNamespace(
            num_running_reqs=running,
            num_waiting_reqs=1,
            num_skipped_waiting_reqs=1,
            kv_cache_usage=usage,
            prefix_cache_stats=SimpleNamespace(queries=10, hits=4),
        )
        given.append(SimpleNamespace(outputs=outputs, scheduler_stats=stats))
    given.append(SimpleNamespace(outputs=[], scheduler_stats=None))
    engine = SimpleNamespace(engine_core=SimpleNamespace(get_output=iter(given).__next__))
    counted.attach(engine)
    assert [engine.engine_core.get_output() for _ in given] == given and engine.log_stats is False
    values = counted.values()
    assert [values[name] for name in SUMS] == [2, 0.0, 16, 10, 4, 2, 20, 8]
    assert (values["running"], values["waiting"], values["kv_usage_max"]) == (6, 5, 0.5)
    counted.restart_peak()
    assert counted.values()["kv_usage_max"] == 0.25
