"""Generators over actors that are there already."""

from __future__ import annotations

from vt_ray.actors.generator_pool import GeneratorSeats
from vt_ray.actors.generators import RayGenerator


def seated(*actors, logprob_tolerance=1e-3) -> RayGenerator:
    """`actors` as one `RayGenerator`; one that is lost is put in its own place again, that is, nobody is."""
    by_name = {f"generator_{i}": actor for i, actor in enumerate(actors)}
    seats = GeneratorSeats(list(by_name), lambda name: by_name[name], lambda: None, startup_timeout_s=300)
    seats.wait()
    return RayGenerator(seats, room=256, logprob_tolerance=logprob_tolerance)
