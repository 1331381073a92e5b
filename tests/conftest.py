"""Settings and hooks for all tests."""

import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from starts import StartCounter
from tiny_run import run_tiny

# The duration of an example depends on the load of the machine: pytest's own timeout is the only limit.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

STARTS = pytest.StashKey[StartCounter]()
# Expensive session fixtures, and the pattern in the text of a file that uses one. With several processes (`-n`) all
# files of a fixture run in the same process. They start first because they take longest.
SHARED = {
    "finished_run": r"\bfinished_run\b",
    "cluster": r"def \w+\((.*, )?(cluster|one_rank|two_ranks)\b|usefixtures\(\"cluster\"\)",
    "coin_runs": r"\bcoin_runs\b",
}


@cache
def shared_by(path: Path) -> str | None:
    """The expensive session fixture of a test file. In tests/unit these names are parameters."""
    text = "" if path.parent.name == "unit" else path.read_text()
    return next((fixture for fixture, pattern in SHARED.items() if re.search(pattern, text)), None)


def pytest_configure(config):
    # Workers of pytest-xdist inherit the mark, so the controller counts for them.
    if not hasattr(config, "workerinput"):
        config.stash[STARTS] = StartCounter()
        config.stash[STARTS].start()


def pytest_collection_modifyitems(items):
    order = [*SHARED, None]
    items.sort(key=lambda item: order.index(shared_by(item.path)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadFileScheduling

    class BySharedFixture(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = super()._split_scope(nodeid)
            return shared_by(config.rootpath / path) or path

    return BySharedFixture(config, log)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder of a finished run of experiment=tiny, and the result of its command. Tests do not change the run."""
    runs = tmp_path_factory.mktemp("runs")
    done = run_tiny(runs)
    assert done.returncode == 0, done.stdout + done.stderr
    return runs / "tiny", done


@pytest.fixture(scope="session")
def coin_runs(tmp_path_factory):
    """A folder for runs of coin questions: the first of them makes the spectrum phase of all."""
    return tmp_path_factory.mktemp("coin_runs")


def pytest_terminal_summary(terminalreporter, config):
    if STARTS in config.stash:
        terminalreporter.write_line(config.stash[STARTS].stop())
