"""What a user reads about a run: pages, tables and the terminal.

run_page/     report.html of one run             diagnosis/  failure signatures
comparison/   comparison.html of several runs    watch/      the terminal during a run
run_summary.py writes summary.json; run_record.py reads a run folder; metrics.py is the table of metrics.
"""
