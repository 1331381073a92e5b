"""The page of one run: report.py writes it, sections.py and training_sections.py list its sections."""
