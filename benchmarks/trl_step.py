"""The TRL side of step_vs_trl.py, in the environment of TRL: GRPOTrainer, one block of steps for each line of input.

    python benchmarks/trl_step.py job.json        (started by step_vs_trl.py)

Each line of input has a number of steps. The script takes these steps and answers with a line of JSON: seconds and mean
completion tokens of each. A step is the time between the callbacks of the trainer: generation, reward, advantages,
forward, backward, optimizer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    # Output of the trainer goes to the log; the pipe has the answers only.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    open_trainer(job, answers).train()


def open_trainer(job: dict[str, Any], answers: Any) -> Any:
    """Settings of GRPO chosen for speed on a CPU: one update a batch, no reference model, nothing written."""
    import torch
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(job["threads"])
    lengths: list[int] = []

    def made_reward(completions: list, completion_ids: list[list[int]], **_: Any) -> list[float]:
        """Rewards every second sample. The samples of a question are adjacent, so each group has a signal."""
        lengths.extend(map(len, completion_ids))
        return [float(index % 2) for index in range(len(completions))]

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    prompts = [[{"role": "user", "content": prompt["text"]}] for prompt in job["prompts"]]
    refuse_other_tokens(tokenizer, prompts, [prompt["token_ids"] for prompt in job["prompts"]])
    completions = job["group_size"] * job["prompts_per_step"]
    arguments = GRPOConfig(
        output_dir=job["folder"],
        use_cpu=True,
        model_init_kwargs={"dtype": job["dtype"]},
        bf16=False,
        gradient_checkpointing=False,
        max_steps=job["steps"],
        per_device_train_batch_size=job["micro_batch"],
        gradient_accumulation_steps=completions // job["micro_batch"],
        num_generations=job["group_size"],
        num_iterations=1,
        max_completion_length=job["max_new_tokens"],
        temperature=job["temperature"],
        beta=0.0,
        loss_type="grpo",
        learning_rate=job["learning_rate"],
        shuffle_dataset=False,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return GRPOTrainer(
        model=job["model"],
        reward_funcs=made_reward,
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
        callbacks=[blocks_of_steps(lengths, answers)],
    )


def blocks_of_steps(lengths: list[int], answers: Any) -> Any:
    """Returns a callback that waits for a line before each block and answers after it; the end of input ends it."""
    from transformers import TrainerCallback

    class Blocks(TrainerCallback):
        wanted, began = 0, 0.0
        seconds: list[float] = []
        tokens: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if len(self.seconds) == self.wanted:
                line = sys.stdin.readline()
                if not line:
                    sys.exit()
                self.wanted, self.seconds, self.tokens = int(line), [], []
            lengths.clear()
            self.began = time.monotonic()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(time.monotonic() - self.began)
            self.tokens.append(fmean(lengths))
            if len(self.seconds) == self.wanted:
                print(json.dumps({"seconds": self.seconds, "tokens": self.tokens}), file=answers, flush=True)

    return Blocks()


def refuse_other_tokens(tokenizer: Any, prompts: list, expected: list[list[int]]) -> None:
    for prompt, ids in zip(prompts, expected, strict=True):
        found = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
        if list(found) != ids:
            raise SystemExit(
                f"prompt {prompt} has tokens {found} here and {ids} there: the two sides would do different work"
            )


if __name__ == "__main__":
    main()
