"""The comparison of several runs: runs.py pairs them, compare.py computes, report.py writes the page."""
