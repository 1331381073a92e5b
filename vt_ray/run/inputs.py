"""Digests of the inputs of a run: problems, problem files, user functions, and model files by size and time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from vt_ray.config import Config, DataSource, ModelConfig, digest
from vt_ray.data.chat_templates import template_text
from vt_ray.data.roles import listed_sources
from vt_ray.data.sources.hub import HubSource, commit
from vt_ray.data.sources.names import parts
from vt_ray.import_path import source_digests
from vt_ray.records import Problem
from vt_ray.run.identity import identity
from vt_ray.run.milestone_names import given_folders, named_models
from vt_ray.run.phase_code import code_digest

# The keys of a benchmark's file that change neither its problems nor its prompts nor the samples.
_SHOWN = ("title", "download", "instead_note", "published", "note")


def input_files(config: Config) -> dict[str, str]:
    """{path: hash of a problem file, or size and time of a model file} of all files that the run reads.

    A run or a finished phase is not continued after one of its input files was edited.
    """
    data = config.data
    problems = problem_files(source for _, source in listed_sources(data))
    problems |= {data.subdomain_file: _digest(Path(data.subdomain_file))} if data.subdomain_file else {}
    models = (
        model_files(config.model)
        | checkpoint_files(config)
        | model_folders(folder for _, folder in named_models(config.evaluation.models))
        | model_folders(folder for _, folder in given_folders(asdict(config)))
    )
    mgpo = config.signal.mgpo
    one = [config.spectrum.fusion.method, mgpo.weight, mgpo.loss, config.cluster.generation_engine]
    return problems | models | source_digests([*one, *config.verify.kinds.values()]) | _benchmark_files(config)


def _benchmark_files(config: Config) -> dict[str, str]:
    """{benchmark and file name: hash of its problems}, and {name of its .yaml file: hash of its protocol}.

    Without the folder, so that VT_BENCHMARKS may change when a run continues.
    """
    if not config.evaluation.benchmarks:
        return {}
    from vt_ray.data.benchmark_problems import source_files

    found = {}
    for benchmark in config.benchmarks:
        if not benchmark.perturbation:
            found[f"{benchmark.name}.yaml"] = digest({k: v for k, v in vars(benchmark).items() if k not in _SHOWN})
            for file in source_files(benchmark, config.evaluation.benchmark_folder)[0]:
                (content,) = problem_files([DataSource(file)]).values()
                found[f"{benchmark.name}: {Path(file).name}"] = content
    return found


def inputs_digest(config: Config) -> str:
    """A hash of all that the run reads and of the code that reads it: equal hashes give equal problem sets."""
    return digest({"settings": identity(config), "files": input_files(config), "code": code_digest()})


def problem_files(sources: Iterable[DataSource]) -> dict[str, str]:
    """The SHA-256 of each file's content, by path, and the commit of each data set of the hub, by name."""
    return {str(part): _digest(part) for source in sources for part in parts(source.path)}


def _digest(part: Path | HubSource) -> str:
    if isinstance(part, HubSource):
        return commit(part)
    with part.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def problems_digest(problems: Iterable[Problem]) -> str:
    """A hash of the problems, independent of the code that made or read them.

    Fields with their default value are left out: a new field of Problem does not change the digest of older problems.
    """
    found, defaults = hashlib.sha256(), [(f.name, f.default) for f in fields(Problem)]
    for problem in problems:
        values = [(name, value) for name, default in defaults if (value := getattr(problem, name)) != default]
        found.update(repr(values).encode())
    return found.hexdigest()[:12]


def model_files(model: ModelConfig) -> dict[str, str]:
    """{path: size and time} of each file of a local model folder, and the digest of a chat template by its name.

    Hashing the weights would take minutes.
    """
    files = _folder_files(Path(model.path)) if model.source == "hf" else {}
    name = model.chat_template
    return files | {name: digest(template_text(name))} if name else files


def checkpoint_files(config: Config) -> dict[str, str]:
    """{path: size and time} of each file of the folders in `spectrum.checkpoints`."""
    return model_folders(config.spectrum.checkpoints)


def model_folders(folders: Iterable[str]) -> dict[str, str]:
    """{path: size and time} of each file of these model folders."""
    return {path: stat for folder in folders for path, stat in _folder_files(Path(folder)).items()}


def milestone_files(folder: Path) -> dict[str, str]:
    """{name: size and time} of each file of the model of a milestone. A run that shares the model has equal values."""
    return {Path(path).name: stat for path, stat in _folder_files(folder).items()}


def code_of(*values: str) -> dict[str, str]:
    """The code of the user's functions among `values`: what a phase that calls them rests on."""
    return {f"code of {path}": digest for path, digest in source_digests(values).items()}


def _folder_files(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    stats = {str(file): file.stat() for file in sorted(folder.iterdir()) if file.is_file()}
    return {path: f"{stat.st_size} bytes, {stat.st_mtime_ns}" for path, stat in stats.items()}
