"""Self-distillation: traces of the run's own models (rejection), and SFT of a student on chosen ones (self_distil)."""
