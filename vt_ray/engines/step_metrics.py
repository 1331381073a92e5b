"""The metrics of one optimizer step: totals over micro-batches and ranks, and the memory of a rank."""

from __future__ import annotations

import resource

import torch

from vt_ray.algorithms.losses import Metrics


def accumulate(totals: Metrics, metrics: Metrics) -> None:
    for name, value in metrics.items():
        if name.endswith("_max"):
            totals[name] = torch.maximum(totals.get(name, value), value)
        else:
            totals[name] = totals.get(name, 0) + value


def all_reduce(totals: Metrics, device: torch.device) -> dict[str, float]:
    """Sums (names ending in `_max`: maxima) over ranks, in float64."""
    out: dict[str, float] = {}
    for op in (torch.distributed.ReduceOp.SUM, torch.distributed.ReduceOp.MAX):
        names = [n for n in sorted(totals) if n.endswith("_max") == (op == torch.distributed.ReduceOp.MAX)]
        values = torch.tensor([float(totals[n]) for n in names], dtype=torch.float64, device=device)
        torch.distributed.all_reduce(values, op=op)
        out |= dict(zip(names, values.tolist(), strict=True))
    return out


def peak_memory_gb(device: torch.device) -> float:
    """The most memory that this rank has held, in units of 1e9 bytes: tensors on a GPU, the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
