"""What every phase of one run works with: settings, cluster, run folder, problems, base model and tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vt_ray.config import Config
from vt_ray.data.problem_sets import ProblemSets
from vt_ray.data.prompts import PromptEncoder
from vt_ray.interfaces import Cluster
from vt_ray.run.run_folder import RunFolder


@dataclass(frozen=True)
class Experiment:
    """`problems` fit the context of the model. The engines are opened with the Hugging Face folder `base`, and phases
    then load their own weights into these engines."""

    config: Config
    cluster: Cluster
    run: RunFolder
    problems: ProblemSets
    base: Path
    encoder: PromptEncoder
