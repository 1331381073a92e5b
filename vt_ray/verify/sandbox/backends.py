"""Chooses the sandbox backend of this machine: the first one in which every escape attempt fails.

namespaces -> namespaces_without_proc -> landlock -> (unsafe) unsandboxed, or code is refused
"""

from __future__ import annotations

import threading
from dataclasses import astuple, dataclass
from typing import Protocol

from vt_ray.verify.limits import BACKENDS, Limits, SandboxConfig
from vt_ray.verify.sandbox.broker_client import BrokerClient, BrokerLost, Outcome
from vt_ray.verify.sandbox.escape_attempts import successful_escapes
from vt_ray.verify.sandbox.interpreter import NoInterpreter, find_interpreter
from vt_ray.verify.sandbox.remote import RemoteSandbox

UNSANDBOXED = "unsandboxed"
REMOTE = "remote"


class NoSandbox(Exception):
    """No backend confines programs on this machine, and the configuration does not allow programs without a sandbox."""


class Sandbox(Protocol):
    """Runs a program on a test: `broker_client.BrokerClient`, or `remote.RemoteSandbox`."""

    def run(self, request: dict[str, object], timeout_s: float) -> Outcome: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ChosenBackend:
    """A backend that works on this machine, its interpreter, and notes on how it was found."""

    backend: str
    python: str
    notes: tuple[str, ...]


_choices: dict[object, ChosenBackend | NoSandbox] = {}
_choosing = threading.Lock()


def choose_backend(limits: Limits) -> ChosenBackend:
    """Try the configured backends in turn, once per process. Raises NoSandbox with the fault of each."""
    key = (astuple(limits.sandbox), limits.memory_mb)
    with _choosing:
        if key not in _choices:
            try:
                _choices[key] = _choose(limits)
            except NoSandbox as refusal:
                _choices[key] = refusal
        choice = _choices[key]
    if isinstance(choice, NoSandbox):
        raise NoSandbox(str(choice))
    return choice


def open_sandbox(choice: ChosenBackend, limits: Limits) -> Sandbox:
    """Returns the sandbox of one verifier. Its process starts with the first program."""
    if choice.backend == REMOTE:
        return RemoteSandbox(limits.sandbox.remote_url, limits)
    return BrokerClient(limits, choice.backend, choice.python)


def _choose(limits: Limits) -> ChosenBackend:
    config = limits.sandbox
    if config.backend == REMOTE:
        try:
            RemoteSandbox(config.remote_url, limits)
        except ValueError as error:
            raise NoSandbox(str(error)) from error
        return ChosenBackend(REMOTE, "", (f"remote: programs go to {config.remote_url}",))
    try:
        python = find_interpreter(config.python)
    except NoInterpreter as error:
        raise NoSandbox(str(error)) from error
    notes: list[str] = []
    for backend in _candidates(config):
        client = BrokerClient(limits, backend, python)
        try:
            client.start()
            found = [] if backend == UNSANDBOXED else successful_escapes(client)
            started_as = client.started_as
        except BrokerLost as error:
            found, started_as = [str(error)], ""
        finally:
            client.close()
        if not found:
            notes.append(f"{backend}: {_description(backend)}; programs run with {started_as}")
            return ChosenBackend(backend, python, tuple(notes))
        notes.append(f"{backend} does not work here: {'; '.join(found)}")
    raise NoSandbox(
        "code is refused, no sandbox works here: " + " | ".join(notes) + ". See docker/README.md for what it needs; "
        "verify.sandbox.unsafe=true runs programs with limits only"
    )


def _candidates(config: SandboxConfig) -> list[str]:
    named = list(BACKENDS) if config.backend == "auto" else [config.backend]
    return [*named, UNSANDBOXED] if config.unsafe and UNSANDBOXED not in named else named


def _description(backend: str) -> str:
    return "limits only, no confinement" if backend == UNSANDBOXED else "no escape attempt succeeded"
