"""A generator made of actors that are already started."""

from __future__ import annotations

from vt_ray.actors.generator_pool import GeneratorPool
from vt_ray.actors.generators import RayGenerator


def generator_from(*actors, logprob_tolerance=1e-3) -> RayGenerator:
    """Returns one `RayGenerator` over `actors`. A dead actor is not replaced: its place gets the same actor again."""
    by_name = {f"generator_{i}": actor for i, actor in enumerate(actors)}
    pool = GeneratorPool(list(by_name), lambda name: by_name[name], lambda: None, startup_timeout_s=300)
    pool.wait_until_ready()
    return RayGenerator(pool, room=256, logprob_tolerance=logprob_tolerance)
