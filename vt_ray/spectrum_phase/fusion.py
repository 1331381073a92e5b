"""Expert model fusion: M = sum_i w_i M*_i, w_i >= 0, sum w_i = 1 (section 2; the paper takes w_i = 1/N)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from vt_ray.checkpoint import write_json
from vt_ray.config import ConfigError


def fusion_weights(weights: Sequence[float], subdomains: Sequence[str]) -> list[float]:
    """One weight a subdomain, uniform where none are given. Raises ConfigError unless they are a partition of 1."""
    if not weights:
        return [1 / len(subdomains)] * len(subdomains)
    if len(weights) != len(subdomains) or not min(weights) >= 0 or not abs(sum(weights) - 1) < 1e-6:
        raise ConfigError(
            f"spectrum.fusion.weights={list(weights)} must be {len(subdomains)} numbers >= 0 that sum to 1, one for "
            f"each of {list(subdomains)}: leave it empty for 1/N"
        )
    return list(weights)


def fuse(specialists: dict[str, Path], weights: Sequence[float], folder: Path) -> None:
    """Average the specialists of the subdomains (in their order) into an ordinary Hugging Face checkpoint.

    Sums run in float32 whatever the stored type. Raises ValueError where the checkpoints have unlike tensors.
    """
    import torch
    from safetensors.torch import load_file, save_file

    shares: dict[Path, float] = {}
    for path, weight in zip(specialists.values(), weights, strict=True):
        shares[path] = shares.get(path, 0.0) + weight
    first = next(iter(shares))
    for name in sorted(f.name for f in first.glob("*.safetensors")):
        total: dict[str, torch.Tensor] = {}
        like = {key: (t.shape, t.dtype) for key, t in load_file(first / name).items()}
        for path, share in shares.items():
            tensors = _load_like(path / name, like)
            for key in like:
                total[key] = total.get(key, torch.zeros(())) + share * tensors[key].float()
        fused = {key: total[key].to(dtype).contiguous() for key, (_, dtype) in like.items()}
        save_file(fused, folder / name, {"format": "pt"})
    for other in first.iterdir():
        if other.suffix != ".safetensors":
            shutil.copy2(other, folder / other.name)
    sources = {d: {"checkpoint": p.name, "weight": w} for (d, p), w in zip(specialists.items(), weights, strict=True)}
    write_json(folder / "fusion.json", sources)


def _load_like(file: Path, like: dict) -> dict:
    """The tensors of `file`; ValueError unless names, shapes and types are those of the first checkpoint."""
    from safetensors.torch import load_file

    tensors = load_file(file) if file.exists() else {}
    unlike = {key for key, t in tensors.items() if like.get(key) != (t.shape, t.dtype)} | (like.keys() - tensors.keys())
    if unlike:
        raise ValueError(
            f"{file} is of another model than the first checkpoint: {sorted(unlike)[:3]} differ or are missing"
        )
    return tensors
