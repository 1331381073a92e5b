"""TensorBoard: event files in tensorboard/ of the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vt_ray.run.paths import RunPaths
from vt_ray.tracking.completions import COLUMNS
from vt_ray.tracking.sinks import Numbered, RunInfo, flat


class TensorBoardSink:
    """Writes the metrics, the completions as text, and the config as hyper-parameters."""

    def __init__(self, run: RunInfo):
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self.run_id = run.run_name
        self._writer = SummaryWriter(str(RunPaths(run.root).tensorboard))
        if not run.run_id:
            # Not `add_hparams`, which would create a second run.
            values = {key: str(v) if isinstance(v, list) else v for key, v in flat(run.config, ".").items()}
            for summary in hparams({**values, **run.tags}, {"eval/pass_at_1/mean": 0.0, "rl/reward_mean": 0.0}):
                self._writer._get_file_writer().add_summary(summary)

    def send(self, records: Numbered) -> None:
        for _, record in records:
            for name, value in record.values.items():
                self._writer.add_scalar(f"{record.series}/{name}", value, record.step)
            if record.completions:
                texts = "\n\n---\n\n".join(map(_text, record.completions))
                self._writer.add_text(f"{record.series}/completions", texts, record.step)
        self._writer.flush()

    def send_report(self, report: Path) -> None:
        """TensorBoard keeps no files beside its events."""

    def close(self, finished: bool) -> None:
        self._writer.close()


def _text(row: Sequence[Any]) -> str:
    """A row as Markdown: its figures, question and completion, each a block of code, so that no mark has an effect."""
    known = dict(zip(COLUMNS, row, strict=True))
    texts = [known.pop(name) for name in ("question", "completion")]
    facts = ", ".join(f"{name}: {value}" for name, value in known.items())
    return "\n\n".join((_code(facts), *map(_code, texts)))


def _code(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
