"""The texts of an evaluation: traces/<benchmark>.jsonl beside a results file, one line for each problem.

completions --trace_line--> traces/<benchmark>.jsonl --> the claims of `evaluation.vote=clr`
                                                    \--> the search of report.html
"""

from __future__ import annotations

from typing import Any

from vt_ray.data.decontamination.rows import is_withheld
from vt_ray.evaluation.claims import TRACE_CHARS
from vt_ray.records import Problem, Rollouts

# Samples of a problem whose texts are kept, if no vote needs all of them.
KEPT_SAMPLES = 2


def is_readable(problem: Problem) -> bool:
    """Whether texts about the problem may be shown: the authors of GPQA ask that its questions are not."""
    return not is_withheld(problem.source, problem.meta or ())


def trace_line(rollouts: Rollouts, of_all_samples: bool) -> dict[str, Any]:
    """The texts of the samples of one problem, and its question, which is None if it must not be shown.

    The end of a text is enough: `claims_prompt` takes no more of it.
    """
    problem, count = rollouts.problem, None if of_all_samples else KEPT_SAMPLES
    texts = [completion.text[-TRACE_CHARS - 1 :] for completion in rollouts.completions[:count]]
    question = problem.question if is_readable(problem) else None
    return {"question_id": problem.question_id, "question": question, "texts": texts}
