"""The names of all files that a run writes. Other modules take these names from here.

runs/<run_name>/            RunPaths: run.json, config.yaml, prompt.json, metrics.jsonl, summary.json, report.html, ...
  data/                     sources.json, bad_rows.jsonl, decontamination.json, contaminated.jsonl,
                            flagged_problems.json, leakage.html
  evaluation/<milestone>.json
  rl/<stage>/               StagePaths: pool.json, filter/, checkpoints/, models/, evaluation/, model/, stage.json
  rollouts/<stage>/         StagePaths.rollouts: step_000012.parquet
  sft/                      SftPaths: metrics.jsonl, state/, checkpoints/, examples/
  probe/                    ProbePaths: step_000012.json, probe.json
  error_rates/              part_000000.json: verdicts of the first stage's model, for spectrum.second_stage
  fused/                    FusedPaths: the model, fusion.json, fused_on_probe.json, gate.json, soups/
  sft2/ probe2/ fused2/     the second stage, as sft/ probe/ fused/
  base/ spectrum_scores/
  rejection/                RejectionPaths: traces.jsonl, rejection.json
  self_distil/              SelfDistilPaths: nll/, selection.json, and the files of SftPaths
runs/phases/<name>-<key>/   the same files of a phase while it runs, shared by all runs with equal inputs
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from vt_ray.config import digest

METRICS = "metrics.jsonl"
# In the folder of a phase: DONE is written last, INPUTS first.
DONE, INPUTS = "DONE.json", "inputs.json"
# The scores of the fused model on the probing problems. A run of an older version has them in spectrum_scores/.
FUSED_PROBE = "fused_on_probe.json"


def step_name(step: int) -> str:
    """The name of a step's folder or file, without its suffix: `step_000012`. Names sort in the order of the steps."""
    return f"step_{step:06d}"


class RunPaths:
    """The files in the run folder `root` (runs/<run_name>)."""

    def __init__(self, root: Path):
        self.root = root
        self.run_json = root / "run.json"
        self.config = root / "config.yaml"
        # One prompt as tokens, from report/encoded_prompt.py.
        self.prompt = root / "prompt.json"
        self.lock = root / ".lock"
        # The phase that was started last, and the shared folder in which it works.
        self.current_phase = root / "phase.json"
        self.shared_phases = root.parent / "phases"
        self.logs = root / "logs"
        # The counts of each source, and the rows that on_bad_row=skip left out.
        self.sources = root / "data" / "sources.json"
        self.bad_rows = root / "data" / "bad_rows.jsonl"
        # The counts of the decontamination, the findings of each row, and the page with both.
        self.decontamination = root / "data" / "decontamination.json"
        self.contaminated = root / "data" / "contaminated.jsonl"
        # The problems of benchmarks that training rows contain, by benchmark.
        self.flagged = root / "data" / "flagged_problems.json"
        self.leakage = root / "data" / "leakage.html"
        self.metrics = root / METRICS
        self.recoveries = root / "recoveries.jsonl"
        self.evaluation = root / "evaluation"
        self.rl = root / "rl"
        self.rollouts = root / "rollouts"
        self.summary = root / "summary.json"
        self.report = root / "report.html"
        # The number of records that each tracking sink has received.
        self.tracking = root / "tracking.json"
        self.tensorboard = root / "tensorboard"
        self.tracking_lock = root / ".tracking.lock"
        self.base = root / "base"
        self.sft = SftPaths(root / "sft")
        self.probe = ProbePaths(root / "probe")
        self.fusion = FusedPaths(root / "fused")
        self.fused = self.fusion.folder
        self.error_rates = root / "error_rates"
        self.spectrum_scores = root / "spectrum_scores"
        self.rejection = RejectionPaths(root / "rejection")
        self.self_distil = SelfDistilPaths(root / "self_distil")

    @property
    def fused_probe(self) -> Path:
        older = self.spectrum_scores / FUSED_PROBE
        return older if older.exists() else self.fusion.probe

    def scores(self, milestone: str) -> Path:
        """The held-out scores of a milestone."""
        return self.evaluation / f"{milestone}.json"

    def partial_scores(self, milestone: str) -> Path:
        """The held-out scores of a milestone while its evaluation runs (`evaluation.milestones`)."""
        return self.evaluation / f"{milestone}.partial.jsonl"

    def stage(self, name: str) -> StagePaths:
        return StagePaths(self, name)


def forget_scores(run: RunPaths, milestone: str) -> None:
    """Deletes the held-out scores of a milestone whose model is made again, because its folder was deleted."""
    run.scores(milestone).unlink(missing_ok=True)
    run.partial_scores(milestone).unlink(missing_ok=True)
    shutil.rmtree(run.evaluation / milestone, ignore_errors=True)


class StagePaths:
    """The files of one RL stage of the run `run`."""

    def __init__(self, run: RunPaths, name: str):
        self.folder = run.rl / name
        # Ids of the stage's problems, after its filter.
        self.pool = self.folder / "pool.json"
        # The source of each problem of the pool and the weights of the sources, if they have weights.
        self.mixture = self.folder / "mixture.json"
        self.filter = self.folder / "filter"
        self.checkpoints = self.folder / "checkpoints"
        self.model = self.folder / "model"
        # Saved within the stage every signal.save_hf_every steps: step_000012, Hugging Face folders.
        self.saved_models = self.folder / "models"
        # Held-out scores within the stage every signal.evaluate_every steps: step_000012.json.
        self.evaluation = self.folder / "evaluation"
        # Written when the stage has ended: its steps, and why it ended.
        self.end = self.folder / "stage.json"
        self.rollouts = run.rollouts / name

    def rollout_file(self, step: int) -> Path:
        """The rollouts of a step, counted from 1."""
        return self.rollouts / f"{step_name(step)}.parquet"

    def rollout_files(self) -> list[Path]:
        """The rollout files so far, in the order of the steps."""
        return sorted(self.rollouts.glob("step_*.parquet"))


class SftPaths:
    """The files of an SFT in `folder`: a run's sft/, sft_continued/ or self_distil/, or the shared folder of the
    phase."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.metrics = folder / METRICS
        self.states = folder / "state"
        self.checkpoints = folder / "checkpoints"
        self.examples = folder / "examples"
        # {"heldout_loss": {"step_000012": nats per token}}, with spectrum.sft.heldout_share.
        self.heldout = self.checkpoints / "heldout.json"
        # {"kept": names, "of": number before}, if checkpoints were deleted (`retention`).
        self.kept = folder / "kept.json"


class ProbePaths:
    """The files of the probing in `folder`: a run's probe/, or the shared folder of the phase."""

    def __init__(self, folder: Path):
        self.folder = folder
        # Accuracy of each checkpoint in each subdomain, and the specialists.
        self.table = folder / "probe.json"

    def scores(self, checkpoint: str) -> Path:
        return self.folder / f"{checkpoint}.json"

    def all_scores(self) -> list[Path]:
        """The scores of the checkpoints so far, sorted by name: SFT checkpoints in the order of the steps."""
        return sorted(file for file in self.folder.glob("*.json") if file.name not in (self.table.name, DONE, INPUTS))


class FusedPaths:
    """The files of the fusion in `folder`, beside the model: a run's fused/, or the shared folder of the phase."""

    def __init__(self, folder: Path):
        self.folder = folder
        # The specialist and the weight of each subdomain.
        self.sources = folder / "fusion.json"
        # The scores of the fused model on the probing problems.
        self.probe = folder / FUSED_PROBE
        # The comparison with the best specialist.
        self.gate = folder / "gate.json"

    def soup_scores(self, models: Sequence[str]) -> Path:
        """The scores of a soup of these checkpoints on the probing problems (method=greedy_soup)."""
        return self.folder / "soups" / f"{digest([*models])}.json"


class RejectionPaths:
    """The files of rejection sampling in `folder`: a run's rejection/, or the shared folder of the phase."""

    def __init__(self, folder: Path):
        self.folder = folder
        # One file for each chunk of problems of a model. Deleted when the traces are collected.
        self.parts = folder / "parts"
        self.traces = folder / "traces.jsonl"
        # What became of the completions of each model.
        self.table = folder / "rejection.json"

    def part(self, model: str, start: int) -> Path:
        """The completions of the problems from index `start` on."""
        return self.parts / f"{model}_{start:06d}.json"


class SelfDistilPaths:
    """The files of self-distillation in `folder`: a run's self_distil/, or the shared folder of the phase."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.sft = SftPaths(folder)
        # The NLL of each trace under the student.
        self.nll = folder / "nll"
        # The number of kept traces, the reasons for the others, and the figures of each bucket.
        self.selection = folder / "selection.json"

    def nll_part(self, start: int) -> Path:
        """The NLL of the traces from index `start` on."""
        return self.nll / f"part_{start:06d}.json"
