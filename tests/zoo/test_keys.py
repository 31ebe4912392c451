"""Keys by name: all different, each drawn once in a step, and the same whoever asks for them again."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from zoo.game import Game
from zoo.logs import Tracker
from zoo.parts import layers, noise

POSITIONS = {("z", 0): 0, ("z", 1): 2, ("z", 2): 4, ("epsilon", 0): 1, ("penalty", 0): 3}
ROWS, ONE = tf.zeros([6, 1]), tf.constant(1)


class Drawer(Game):
    """A step does what a test has put into `play`, and logs the number that it returns."""

    default_optimizers = {"player": {"optimizer": "sgd"}}
    metric_names = ("number",)
    draws = ("z", "epsilon", "z", "penalty", "z")

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


def drawer(cls=Drawer):
    """A model whose steps draw one number, by its first key."""
    model = cls(seed=7)
    model.compile(jit_compile=False)
    model.play = lambda: noise.uniform(model.key("z"), ())
    return model


@pytest.fixture
def model():
    return drawer()


def numbers(use, *steps, position=0):
    """What a model draws by the key of a position."""
    return [float(noise.uniform(noise.key(7, step, use, position), ())) for step in steps]


def steps_of(model, play):
    """The step with this play, in eager mode and in a graph."""
    model.play = play
    return [model.train_step, tf.function(lambda x: model.train_step(x))]


def test_keys_are_those_of_their_positions(model):
    model.step.assign(5)
    model.replica_id = lambda: 3
    for (name, index), position in POSITIONS.items():
        np.testing.assert_array_equal(model.key(name, index), noise.key(7, 5, 3, position))
        np.testing.assert_array_equal(model.key(name, index, shared=True), noise.key(7, 5, 0, position))


@pytest.mark.slow
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
                keys += [tuple(model.key(name, index).numpy()) for name, index in POSITIONS]
    assert len(set(keys)) == len(keys) == 13 * 4 * 4 * 5


@pytest.mark.parametrize("name, index", [("z", 3), ("z", -1), ("epsilon", 1), ("y", 0), ("Z", 0)])
def test_what_is_not_declared_is_not_drawn(name, index, model):
    for given in (index, tf.constant(index)):
        with pytest.raises(ValueError, match=f"Drawer draws no {name} of index"):
            model.key(name, given)


@pytest.mark.slow
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
        indices = [tf.constant(i, dtype) for i in range(3)]
        given = tf.function(lambda i: model.key("z", i), input_signature=[tf.TensorSpec([], dtype)])
        for draw in (given, lambda i: model.key("z", i)):
            np.testing.assert_array_equal([draw(i) for i in indices], expected)
    np.testing.assert_array_equal(tf.function(lambda: model.key("z", tf.constant(2)))(), expected[2])


def phase(model, *indices):
    """Branches that draw a z of each index: in eager mode the second one happens, in a graph the first."""
    branches = [lambda index=index: model.key("z", index) for index in indices]
    return model.phase(tf.constant(int(tf.executing_eagerly())), branches)


@pytest.mark.parametrize("draw, index", [
    (lambda model: (model.key("z", 1), model.key("z", 1)), "1"),
    (lambda model: (model.key("z", 1), model.key("z", ONE)), ".*"),
    (lambda model: (model.key("z"), model.key("epsilon"), model.key("z")), "0"),
    (lambda model: (model.key("z"), phase(model, 1, 0)), "0"),
    (lambda model: (phase(model, 0, 1, 0), model.key("z", 1)), "1"),  # what any branch of a graph draws is drawn
])  # fmt: skip
def test_a_key_is_drawn_once_in_a_step(draw, index, model):
    for step in steps_of(model, lambda: noise.uniform(draw(model)[0], ())):
        with pytest.raises(ValueError, match=f"the key z of index {index} was drawn before in this step"):
            step(ROWS)
    draw(model)  # outside of steps, nobody counts


@pytest.mark.slow
def test_the_branches_of_a_phase_may_draw_the_same_key(model):
    def play():
        model.key("penalty")
        branches = [lambda: model.key("z"), lambda: model.key("z", 1), lambda: model.key("z") + 0]
        key = model.phase(tf.cast(model.step.value % 3, tf.int32), branches)
        model.key("epsilon")
        return noise.uniform(key, ())

    for step in steps_of(model, play):
        model.step.assign(0)
        for t, position in enumerate((0, 2, 0)):
            model.reset_metrics()
            np.testing.assert_array_equal([step(ROWS)["number"]], numbers(noise.TRAINING, t, position=position))


@pytest.mark.slow
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

    model = drawer(Twice)
    model.train_step(ROWS)
    model.play = lambda: noise.uniform(model.key("epsilon"), ())
    with pytest.raises(ValueError, match="drawn before"):
        model.train_step(ROWS)


@pytest.mark.slow
def test_evaluations_and_validations_draw_noise_of_their_own(model, monkeypatch):
    """For every batch, the same after a reset; the training beside them does not notice."""
    logged, track = [], Tracker.track

    def spy(tracker, values, step):
        tf.py_function(lambda value: logged.append(float(value)), [values], [])
        track(tracker, values, step)

    monkeypatch.setattr(Tracker, "track", spy)
    model.step.assign(40)
    for _ in range(2):
        model.evaluate(ROWS, batch_size=2, verbose=0)
        assert logged == numbers(noise.TEST, 0, 1, 2) and model.test_steps.result() == 3
        logged.clear()
    assert model.step == 40
    model.fit(ROWS, validation_data=ROWS, epochs=2, shuffle=False, batch_size=3, validation_batch_size=2, verbose=0)
    of_epochs = [numbers(noise.TRAINING, t, t + 1) + numbers(noise.TEST, 0, 1, 2) for t in (40, 42)]
    assert logged == sum(of_epochs, []) and model.step == 44
