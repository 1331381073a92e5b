"""One GPU for a generator and a learner: through a whole curriculum never both awake, and nothing else changes."""

from contextlib import contextmanager

from test_loop import PROBLEMS, World, outcome, train

from vt_ray.actors.gpu_sharing import Turns, TurnTakingGenerator, TurnTakingLearner
from vt_ray.records import Prompt, Sampling


class Side:
    """Half of a World: its calls need the GPU, and fail where it is asleep or the other side is awake."""

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
        for rollouts in self.world.generate(prompts, sampling):
            self._works()
            yield rollouts

    def __getattr__(self, name):
        def call(*arguments):
            self._works()
            return getattr(self.world, name)(*arguments)

        return call


class SharedWorld(World):
    """A World whose generator and learner share one GPU as `RayCluster` has them share it."""

    def __init__(self):
        super().__init__()
        self.turns, self.turns_taken = Turns(shared=True), []
        self.sides = {name: Side(self, name) for name in ("generator", "learner")}

    def _open(self, name):
        self.turns.vacate()
        assert not any(side.awake for side in self.sides.values())
        self.sides[name].awake = True
        self.turns.opened(self.sides[name])
        return self.sides[name], self.turns

    @contextmanager
    def generator(self, model_path):
        yield TurnTakingGenerator(*self._open("generator"))

    @contextmanager
    def learner(self, *arguments):
        with super().learner(*arguments):
            yield TurnTakingLearner(*self._open("learner"))
        self.sides["learner"].awake = False
        self.turns.closed(self.sides["learner"])

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


def test_where_nothing_is_shared_nobody_sleeps_or_wakes():
    turns, sides = Turns(shared=False), [object(), object()]
    for side in sides:
        turns.opened(side)
    for side in (*sides, *sides):
        turns.take(side)
    turns.vacate()
    turns.closed(sides[0])
