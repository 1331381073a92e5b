"""One GPU for a generator and a learner: in a whole curriculum never both awake, and the results are the same."""

import inspect
from contextlib import contextmanager

import pytest
from test_loop import PROBLEMS, World, outcome, train

from vt_ray import interfaces
from vt_ray.actors.generators import RayGenerator
from vt_ray.actors.gpu_sharing import SharedGpu
from vt_ray.actors.learners import RayLearner
from vt_ray.records import Prompt, Sampling


class Side:
    """The generator or the learner of a World. Each call takes the GPU first; fails if the other side is awake."""

    def __init__(self, world, name):
        self.world, self.name, self.awake = world, name, False

    def sleep(self):
        assert self.awake
        self.awake = False

    def wake_up(self):
        assert not any(side.awake for side in self.world.sides.values())
        self.awake = True
        self.world.turns_taken.append(self.name)

    def _works(self):
        assert [side.name for side in self.world.sides.values() if side.awake] == [self.name]

    def generate(self, prompts, sampling):
        self.world.gpu.take(self)
        for rollouts in self.world.generate(prompts, sampling):
            self._works()
            yield rollouts

    def __getattr__(self, name):
        def call(*arguments):
            self.world.gpu.take(self)
            self._works()
            return getattr(self.world, name)(*arguments)

        return call


class SharedWorld(World):
    """A World whose generator and learner share one GPU in the way of `RayCluster`."""

    def __init__(self):
        super().__init__()
        self.gpu, self.turns_taken = SharedGpu(shared=True), []
        self.sides = {name: Side(self, name) for name in ("generator", "learner")}

    def _open(self, name):
        self.gpu.vacate()
        assert not any(side.awake for side in self.sides.values())
        self.sides[name].awake = True
        self.gpu.opened(self.sides[name])
        return self.sides[name]

    @contextmanager
    def generator(self, model_path):
        yield self._open("generator")

    @contextmanager
    def learner(self, *arguments):
        with super().learner(*arguments):
            yield self._open("learner")
        self.sides["learner"].awake = False
        self.gpu.closed(self.sides["learner"])

    def evaluate(self, experiment, milestone, generator, verifier, folder):
        """The evaluation generates, with the learner of the stage closed."""
        assert len(list(generator.generate([Prompt(PROBLEMS[0], (1,), (7,))], Sampling(1.0, 1.0, 0, 8)))) == 1
        self.record("evaluate", milestone, self.held)


def test_through_training_and_evaluation_only_one_side_is_awake_and_the_run_is_the_same(tmp_path):
    shared = train(tmp_path / "shared", SharedWorld())
    train(tmp_path / "apart", World())
    assert outcome(tmp_path / "shared") == outcome(tmp_path / "apart")
    # A stage opens its learner and sends the first weights; then each step wakes both sides, and so does each commit.
    # The last load is of the stage's model, when its learner is closed.
    swap = ["learner", "generator"]
    assert shared.turns_taken == ["generator", *swap, *swap, *swap, *swap, "generator", *swap, *swap]


def methods(protocol):
    return [name for name in vars(protocol) if not name.startswith("_")]


class Taken(Exception):
    pass


class RefusingGpu(SharedGpu):
    def take(self, user):
        raise Taken


@pytest.mark.parametrize(
    ("handle", "method"),
    [
        *((RayGenerator(None, 8, 1e-3, RefusingGpu(True)), name) for name in methods(interfaces.Generator)),
        *((RayLearner([], gpu=RefusingGpu(True)), name) for name in methods(interfaces.Learner)),
    ],
)
def test_every_call_of_the_phases_takes_the_gpu_before_it_does_anything(handle, method):
    call = getattr(handle, method)
    needed = [p for p in inspect.signature(call).parameters.values() if p.default is inspect.Parameter.empty]
    with pytest.raises(Taken):
        # `generate` is a generator function, which begins with its first item.
        list(call(*[None] * len(needed)))


def test_if_nothing_is_shared_no_side_sleeps_or_wakes():
    gpu, sides = SharedGpu(shared=False), [object(), object()]
    for side in sides:
        gpu.opened(side)
    for side in (*sides, *sides):
        gpu.take(side)
    gpu.vacate()
    gpu.closed(sides[0])
