"""vt_ray: the Spectrum-to-Signal training system of VibeThinker-1.5B (arXiv 2511.06221)."""

import os

__version__ = "0.1.0"

# PyTorch's OpenMP threads (libgomp) spin for milliseconds at each barrier by default. Where another process takes a
# core, the spinning threads wait for the thread that has lost its core, and a step takes several times as long. After
# 1,000 turns of the spinning loop (some 50 microseconds) a thread sleeps instead. ACTIVE keeps the 1,000 turns where
# libgomp counts more threads than cores and would otherwise sleep after 100 turns: in the process of a generator the
# small operations of a decoding step then took 50 microseconds instead of 6. libgomp reads the variables when it is
# loaded, so they must be set before torch is imported: here, in the driver, in every actor and in their children.
if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
    os.environ.update(OMP_WAIT_POLICY="ACTIVE", GOMP_SPINCOUNT="1000")
