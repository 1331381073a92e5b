"""Settings and hooks for all tests."""

import pytest
from hypothesis import settings
from starts import StartCounter
from tiny_run import run_tiny

# The duration of an example depends on the load of the machine: pytest's own timeout is the only limit.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

STARTS = pytest.StashKey[StartCounter]()
# Expensive session fixtures. With several processes (`-n`) all files that use one of them run in the same process, and
# they start first because they take longest.
SHARED = ("finished_run", "cluster", "coin_runs")


def pytest_configure(config):
    # Workers of pytest-xdist inherit the mark, so the controller counts for them.
    if not hasattr(config, "workerinput"):
        config.stash[STARTS] = StartCounter()
        config.stash[STARTS].start()


# Before the hook of pytest-xdist, which reads the mark.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if not config.pluginmanager.hasplugin("xdist"):
        return
    groups = {}
    for item in items:
        shared = [name for name in SHARED if name in item.fixturenames]
        groups[item.path] = shared[-1] if shared else groups.get(item.path, item.path.name)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[item.path]))
    items.sort(key=lambda item: SHARED.index(groups[item.path]) if groups[item.path] in SHARED else len(SHARED))


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
