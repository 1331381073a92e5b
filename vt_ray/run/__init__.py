"""The files of a run: paths, identity, shared phases, checkpoints, metrics, recoveries, audit."""
