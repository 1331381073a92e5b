"""vt_ray: the Spectrum-to-Signal training system of VibeThinker-1.5B (arXiv 2511.06221)."""

__version__ = "0.1.0"
