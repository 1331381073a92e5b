"""Which dead actors an error is put down to."""

from ray.exceptions import WorkerCrashedError

from vt_ray.actors.failures import find_dead


class NoDeadNode:
    def lost_nodes(self):
        return []


def test_a_rollout_writer_that_died_each_time_is_named():
    # Without a name the error would end the run, although the newest commit can be continued.
    dead = find_dead(WorkerCrashedError(), NoDeadNode(), {})
    assert dead is not None and dead.actors == ("the process that writes rollouts",)


def test_an_error_of_another_cause_has_no_dead_actor():
    assert find_dead(ValueError("a bug"), NoDeadNode(), {}) is None
