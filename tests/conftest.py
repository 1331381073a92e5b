"""Settings and hooks for all tests."""

import pytest
from hypothesis import settings
from starts import StartCounter

# The duration of an example depends on the load of the machine: pytest's own timeout is the only limit.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

STARTS = pytest.StashKey[StartCounter]()


def pytest_configure(config):
    # Workers of pytest-xdist inherit the mark, so the controller counts for them.
    if not hasattr(config, "workerinput"):
        config.stash[STARTS] = StartCounter()
        config.stash[STARTS].start()


def pytest_terminal_summary(terminalreporter, config):
    if STARTS in config.stash:
        terminalreporter.write_line(config.stash[STARTS].stop())
