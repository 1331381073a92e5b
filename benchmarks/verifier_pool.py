"""1,000 hostile programs and 1,000 math answers through a pool of real verifiers whose workers are killed.

    python benchmarks/verifier_pool.py --rows 1000 --workers 3 --kill-every 1

Prints a table and a line of JSON. The exit status is 1 if a row was not answered exactly once, a control has another
verdict than expected, a wrong program was accepted, or a process or file was left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> None:
    arguments = parsed()
    import ray
    from hostile_rows import code_rows, math_rows
    from pool_stress import close_pool, open_pool, stress

    from vt_ray.verify.limits import Limits

    os.environ.update(RAY_worker_niceness="0")
    ray.init(
        address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=2**28
    )
    limits = Limits(test_timeout_s=arguments.test_timeout, completion_timeout_s=2 * arguments.test_timeout)
    chance, found = random.Random(arguments.seed), {}
    with tempfile.TemporaryDirectory() as logs:
        pool = open_pool(arguments.workers, limits, Path(logs).resolve())
        pool.wait_for_start()
        kinds = {"code": code_rows(arguments.rows, chance), "math": math_rows(arguments.rows, chance)}
        for kind, groups in kinds.items():
            found[kind] = stress(pool, groups, Path(logs).resolve(), arguments.kill_every, arguments.seed)
            print_table(kind, found[kind])
        close_pool(pool)
    ray.shutdown()
    failed = [kind for kind, figures in found.items() if not passed(figures)]
    print(json.dumps({"passed": not failed, **found}))
    sys.exit(bool(failed))


def passed(figures: dict) -> bool:
    whole = figures["answered_once"] and figures["alive_afterwards"] and not figures["wrongly_correct"]
    clean = not figures["left_of_the_killed"] and not figures["zombies_after"]
    return whole and clean and figures["controls"] == figures["controls_as_expected"]


def print_table(kind: str, figures: dict) -> None:
    print(f"{kind}: {figures['rows']} rows, {figures['rows'] / figures['wall_seconds']:.1f} rows/s")
    for name, value in figures.items():
        print(f"  {name:32} {f'{value:.3f}' if isinstance(value, float) else value}")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000, help="number of rows of each kind")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--kill-every", type=float, default=1.0, help="seconds between kills, on average")
    parser.add_argument("--test-timeout", type=float, default=1.0, help="time limit of a test in seconds")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
