"""What a run left in its folder, read without complaint: a file that is missing or torn reads as empty."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vt_ray.report.paired import Scores, question_scores

# In the run's spectrum_scores/: the fused model's scores on the probing problems.
FUSED_PROBE = "fused_on_probe.json"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """`identity` is run.json, `sft` and `rl` are metric lines in the order of their steps.

    `held_out` has each milestone's scores by question, `probed` each checkpoint's and, as "fused", the fused model's
    on the probing problems. `stage_subdomains` says what each RL stage trains on, where the config does.
    """

    root: Path
    identity: Mapping[str, Any]
    config: str
    summary: Mapping[str, Any]
    probe: Mapping[str, Any]
    sft: Sequence[Mapping[str, Any]]
    rl: Sequence[Mapping[str, Any]]
    held_out: Mapping[str, Scores] = field(default_factory=dict)
    probed: Mapping[str, Scores] = field(default_factory=dict)
    stage_subdomains: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def known(self, key: str) -> Any:
        """`key` of run.json or, where that has none, of summary.json; None where neither has."""
        return self.identity.get(key, self.summary.get(key))

    @property
    def stages(self) -> list[str]:
        """RL stages in the order they ran."""
        return list(dict.fromkeys(str(line.get("stage", "")) for line in self.rl))


def read_run(root: Path) -> RunRecord:
    """Raises FileNotFoundError where `root` is no folder."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: pass the folder of a run, runs/<run_name>")
    return RunRecord(
        root=root,
        identity=_read_object(root / "run.json"),
        config=(config := _read_text(root / "config.yaml")),
        summary=_read_object(root / "summary.json"),
        probe=_read_object(root / "probe" / "probe.json"),
        sft=_read_lines(root / "sft" / "metrics.jsonl", "sft"),
        rl=_read_lines(root / "metrics.jsonl", "rl"),
        held_out=_read_scores((root / "evaluation").glob("*.json")),
        probed=_read_scores((root / "probe").glob("step_*.json"))
        | _read_scores([root / "spectrum_scores" / FUSED_PROBE], "fused"),
        stage_subdomains=_stage_subdomains(config),
    )


def _read_scores(files: Iterable[Path], name: str = "") -> dict[str, Scores]:
    """By the name of the file, or as `name`; a file without scores is left out."""
    found = {name or file.stem: question_scores(_read_object(file)) for file in sorted(files)}
    return {model: scores for model, scores in found.items() if scores}


def _stage_subdomains(config: str) -> dict[str, list[str]]:
    import yaml

    try:
        stages = yaml.safe_load(config)["curriculum"]["stages"]
        return {stage["name"]: stage["subdomains"] for stage in stages}
    except (yaml.YAMLError, KeyError, TypeError):
        return {}


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read_object(path: Path) -> dict[str, Any]:
    value = _parsed(_read_text(path))
    return value if isinstance(value, dict) else {}


def _read_lines(path: Path, phase: str) -> list[dict[str, Any]]:
    """Lines of one phase; the last line of a run that was killed may be torn, and is left out."""
    values = [_parsed(line) for line in _read_text(path).splitlines()]
    return [v for v in values if isinstance(v, dict) and v.get("phase") == phase]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None
