"""Keys by name: all different, each drawn once in a step, and the same whoever asks for them again."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from zoo.game import Game
from zoo.logs import Tracker
from zoo.parts import layers, noise

DRAWS = ("z", "epsilon", "z", "penalty", "z")
POSITIONS = {("z", 0): 0, ("z", 1): 2, ("z", 2): 4, ("epsilon", 0): 1, ("penalty", 0): 3}
ROWS = tf.zeros([6, 1])


class Drawer(Game):
    """A step does what a test has put into `play`, and logs the number that it returns."""

    default_optimizers = {"player": {"optimizer": "sgd"}}
    metric_names = ("number",)
    draws = DRAWS

    def __init__(self, *, data_shape=(1,), seed, name):
        super().__init__(locals())

    def make_networks(self):
        self.network = layers.Numbers("network", weight=0.0)

    @property
    def moves(self):
        return {"player": [self.network]}

    def train_step(self, x):
        self.track({"number": self.play()})
        return self.next_step()

    def test_step(self, x):
        self.track({"number": self.play()})
        return self.logs()


def number(model):
    return noise.uniform(model.key("z"), ())


@pytest.fixture
def model():
    model = Drawer(seed=7)
    model.compile(jit_compile=False)
    model.play = lambda: number(model)
    return model


def as_tuple(key):
    return tuple(np.array(key).tolist())


def steps_of(model, play):
    """The step with this play, in eager mode and in a graph."""
    model.play = play
    return [model.train_step, tf.function(lambda x: model.train_step(x))]


def test_keys_are_those_of_their_positions(model):
    keys = {as_tuple(model.key(name, index)) for name, index in POSITIONS}
    assert len(keys) == len(POSITIONS)
    model.step.assign(5)
    model.replica_id = lambda: 3
    for (name, index), position in POSITIONS.items():
        np.testing.assert_array_equal(model.key(name, index), noise.key(7, 5, 3, position))
        np.testing.assert_array_equal(model.key(name, index, shared=True), noise.key(7, 5, 0, position))
        assert as_tuple(model.key(name, index)) not in keys


@pytest.mark.parametrize("name, index", [("z", 3), ("z", -1), ("epsilon", 1), ("y", 0), ("Z", 0)])
def test_what_is_not_declared_is_not_drawn(name, index, model):
    for given in (index, tf.constant(index)):
        with pytest.raises(ValueError, match=f"Drawer draws no {name} of index"):
            model.key(name, given)


@pytest.mark.parametrize("twice", [
    [("z", 1), ("z", 1)], [("z", 1), ("z", tf.constant(1))], [("z", 0), ("epsilon", 0), ("z", 0)],
])  # fmt: skip
def test_a_key_is_drawn_once_in_a_step(twice, model):
    def play():
        for name, index in twice:
            key = model.key(name, index)
        return noise.uniform(key, ())

    for step in steps_of(model, play):
        with pytest.raises(ValueError, match="was drawn before in this step"):
            step(ROWS)
    for name, index in twice:  # outside of steps, nobody counts
        model.key(name, index)


def test_the_next_step_draws_again(model):
    def draw():
        return tf.add_n([noise.uniform(model.key(name, index), ()) for name, index in POSITIONS])

    for step in steps_of(model, draw):
        step(ROWS), step(ROWS)
    with model.drawing(noise.EVALUATION, 0):
        draw()
        with model.drawing(noise.EVALUATION, 1), pytest.raises(ValueError, match="drawn before"):
            draw(), draw()
        with pytest.raises(ValueError, match="drawn before"):  # the outer one has not forgotten
            draw()


def test_a_subclass_that_calls_the_step_it_extends_is_in_the_same_step():
    class Twice(Drawer):
        def train_step(self, x):
            self.key("epsilon")
            return super().train_step(x)

    model = Twice()
    model.compile(jit_compile=False)
    model.play = lambda: number(model)
    model.train_step(ROWS)
    model.play = lambda: noise.uniform(model.key("epsilon"), ())
    with pytest.raises(ValueError, match="drawn before"):
        model.train_step(ROWS)


def test_an_index_may_be_a_tensor(model):
    @tf.function
    def in_a_loop():
        keys = tf.TensorArray(tf.int64, 3)
        with model.drawing(noise.TRAINING, model.step.value):
            for i in tf.range(3):
                keys = keys.write(i, model.key("z", i))
        return keys.stack()

    expected = [model.key("z", i) for i in range(3)]
    np.testing.assert_array_equal(in_a_loop(), expected)
    for dtype in (tf.int32, tf.int64):
        given = tf.function(lambda i: model.key("z", i), input_signature=[tf.TensorSpec([], dtype)])
        for i in range(3):
            np.testing.assert_array_equal(given(tf.constant(i, dtype)), expected[i])
            np.testing.assert_array_equal(model.key("z", tf.constant(i, dtype)), expected[i])


def test_keys_of_different_uses_never_coincide(model):
    """For seeds, steps, positions, and the first and the last replica of each use."""
    uses = {
        noise.TRAINING: 1024, noise.TEST: 1024, noise.EVALUATION: 512, noise.ANNEALING: 512, noise.LAYERS: 512,
        noise.MOMENTS: 511, noise.DATA: 1,
    }  # fmt: skip
    keys, replica = [], [0]
    model.replica_id = lambda: replica[0]
    for (use, replicas), seed, step in itertools.product(uses.items(), (0, 1, -3, 2**63), (0, 1, 2**34, 2**35 - 1)):
        for replica[0] in sorted({0, replicas - 1}):
            with model.drawing(use, step, seed):
                keys += [as_tuple(model.key(name, index)) for name, index in POSITIONS]
    assert len(set(keys)) == len(keys) == 13 * 4 * 4 * 5


def test_the_branches_of_a_phase_may_draw_the_same_key(model):
    def play_phase(*after):
        def play():
            model.key("penalty")
            branches = [lambda: model.key("z"), lambda: model.key("z", 1), lambda: model.key("z") + 0]
            key = model.phase(tf.cast(model.step.value % 3, tf.int32), branches)
            for name, index in after:
                model.key(name, index)
            return noise.uniform(key, ())

        return play

    for step in steps_of(model, play_phase(("epsilon", 0))):
        model.step.assign(0)
        for t, position in enumerate((0, 2, 0)):
            model.reset_metrics()
            np.testing.assert_array_equal(step(ROWS)["number"], noise.uniform(noise.key(7, t, 0, position), ()))
    eager, graph = steps_of(model, play_phase(("z", 1)))
    with pytest.raises(ValueError, match="drawn before"):  # what any branch draws is drawn
        graph(ROWS)
    model.step.assign(1)
    with pytest.raises(ValueError, match="drawn before"):  # and so is, without a graph, what this one draws
        eager(ROWS)


def test_a_phase_does_not_draw_what_was_drawn_before_it(model):
    def play():
        model.key("z")
        return model.phase(tf.constant(0), [lambda: model.key("epsilon"), lambda: model.key("z")])

    with pytest.raises(ValueError, match="the key z of index 0 was drawn before"):
        steps_of(model, play)[1](ROWS)


@pytest.fixture
def logged(monkeypatch):
    """List of what is logged, a number for each step."""
    numbers, track = [], Tracker.track

    def spy(tracker, values, step):
        tf.py_function(lambda value: numbers.append(float(value)), [values], [])
        track(tracker, values, step)

    monkeypatch.setattr(Tracker, "track", spy)
    return numbers


def expected(use, *steps):
    return [float(noise.uniform(noise.key(7, step, use, 0), ())) for step in steps]


def test_every_batch_of_an_evaluation_draws_noise_of_its_own(model, logged):
    model.step.assign(40)
    for _ in range(2):  # the same after a reset
        model.evaluate(ROWS, batch_size=2, verbose=0)
        assert logged == expected(noise.TEST, 0, 1, 2) and model.test_steps.result() == 3
        logged.clear()
    assert model.step == 40


def test_a_validation_stands_beside_the_training(model, logged):
    model.fit(ROWS, validation_data=ROWS, epochs=2, shuffle=False, batch_size=3, validation_batch_size=2, verbose=0)
    of_epochs = [expected(noise.TRAINING, t, t + 1) + expected(noise.TEST, 0, 1, 2) for t in (0, 2)]
    assert logged == sum(of_epochs, []) and model.step == 4
