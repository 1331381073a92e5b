"""Failure signatures: signatures.py needs scores of milestones, step_signatures.py only the RL steps."""
