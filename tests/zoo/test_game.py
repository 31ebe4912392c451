"""The game itself, on the toy whose trajectories are known: min_x max_y V(x, y) = x y, with V' = (y, x)."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import SGD

from zoo.adversarial.dcgan import DCGAN
from zoo.adversarial.gan import GAN
from zoo.game import Game
from zoo.logs import Tracker
from zoo.optimizers import make_optimizer
from zoo.parts import networks
from zoo.serving import encode_png
from zoo.variational.avb import AVB
from zoo.variational.vae import VAE

LR = 0.1


class ProductGame(Game):
    default_optimizers = {
        "x": {"optimizer": "sgd", "learning_rate": LR},
        "y": {"optimizer": "sgd", "learning_rate": LR, "momentum": 0.5},
    }
    metric_names = ("value",)

    def __init__(self, *, data_shape=(1,), simultaneous: bool = True, seed: int = 0, name: str | None = None):
        super().__init__(data_shape=data_shape, seed=seed, name=name)
        self.set_arguments(locals())
        start = [keras.initializers.Constant(value) for value in (1.0, 0.5)]
        self.x, self.y = (
            keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer=value)])
            for value in start
        )

    @property
    def players(self):
        return {"x": [self.x], "y": [self.y]}

    def losses(self, data):
        value = self.x(data) * self.y(data)  # whose mean is x y times the mean square of the data
        return {"x": value, "y": -value, "value": value}

    def train_step(self, data):
        if self.simultaneous:
            self.minimize(lambda: self.losses(data))
        else:
            self.minimize(lambda: {"x": self.losses(data)["x"]})
            self.minimize(lambda: {"y": self.losses(data)["y"]})
        return self.next_step()

    @property
    def point(self):
        return np.array([self.x.weights[0].numpy().item(), self.y.weights[0].numpy().item()])


DATA = tf.constant([[1.4], [-0.2]])  # mean square 1
STEP = {  # (x, y) -> (x, y) after one round
    "simultaneous": np.array([[1, -LR], [LR, 1]]),
    "alternating": np.array([[1, 0], [LR, 1]]) @ np.array([[1, -LR], [0, 1]]),
}


def bilinear(optimizers=None, **arguments):
    model = ProductGame(**arguments)
    model.compile(optimizers or {"x": SGD(LR), "y": SGD(LR)}, jit_compile=False)
    return model


@pytest.mark.parametrize("schedule", STEP)
def test_simultaneous_and_alternating_moves(schedule):
    """Simultaneous play spirals outwards by sqrt(1 + lr^2) a step; alternating play keeps x^2 + y^2 - lr x y."""
    model = bilinear(simultaneous=schedule == "simultaneous")
    step, start = tf.function(model.train_step), model.point
    for _ in range(20):
        logs = step(DATA)
    np.testing.assert_allclose(model.point, np.linalg.matrix_power(STEP[schedule], 20) @ start, rtol=1e-5)
    if schedule == "simultaneous":
        np.testing.assert_allclose(model.point @ model.point, start @ start * (1 + LR**2) ** 20, rtol=1e-5)
        points = [np.linalg.matrix_power(STEP[schedule], n) @ start for n in range(20)]
        mean = np.mean([x * y for x, y in points])
        np.testing.assert_allclose([logs["value"], logs["x_loss"], logs["y_loss"]], [mean, mean, -mean], rtol=1e-4)
    else:
        form = np.array([[1, -LR / 2], [-LR / 2, 1]])
        np.testing.assert_allclose(model.point @ form @ model.point, start @ form @ start, rtol=1e-5)
    assert model.step == 20 and all(optimizer.iterations == 20 for optimizer in model.optimizers.values())


class Critic(Game):
    """Its gradient does not need all that it logs: what such a value reads, updates must wait for all the same."""

    default_optimizers = {"critic": {"optimizer": "sgd", "learning_rate": 1.0}}

    def __init__(self, *, data_shape=(3,), seed: int = 0, name: str | None = None):
        super().__init__(data_shape=data_shape, seed=seed, name=name)
        self.set_arguments(locals())
        self.network = networks.mlp((3,), (4,), (1,), activation="leaky_relu")

    @property
    def players(self):
        return {"critic": [self.network]}

    def train_step(self, x):
        self.minimize(lambda: {"critic": tf.exp(self.network(2.0 * x)) - self.network(x)})
        return self.next_step()


@pytest.mark.slow
def test_a_graph_updates_no_weights_before_their_last_use():
    """TensorFlow's optimizer of graphs decides by chance which updates it makes early: one trace in seven, once."""
    model, x = Critic(), tf.ones([4, 3])
    model.compile(jit_compile=False)
    start = [v.numpy() for v in model.variables]

    def loss_of(step):
        for variable, value in zip(model.variables, start, strict=True):
            variable.assign(value)
        model.reset_metrics()
        return float(step(x)["critic_loss"])

    losses = [loss_of(tf.function(lambda x: model.train_step(x))) for _ in range(60)]
    np.testing.assert_allclose(losses, loss_of(model.train_step), rtol=1e-6)


def test_gradient_is_that_of_the_mean_over_any_shape():
    model = bilinear()
    x, y = model.point
    data = tf.reshape(tf.range(6.0), [6, 1])
    model.minimize(lambda: {"x": tf.reshape(model.losses(data)["x"], [3, 2])})
    np.testing.assert_allclose(model.point, [x - LR * y * np.mean(np.arange(6.0) ** 2), y], rtol=1e-5)


@pytest.mark.parametrize("players", [("x",), ("x", "y", "z"), ("generator", "discriminator")])
def test_compile_wants_exactly_the_players(players):
    with pytest.raises(ValueError, match=r"its players \['x', 'y'\], not for"):
        ProductGame().compile({player: SGD() for player in players})


def test_compile_takes_names_and_defaults():
    model = ProductGame()
    model.compile({"x": "adam", "y": "sgd"})
    assert isinstance(model.optimizers["x"], keras.optimizers.Adam)
    model.compile()
    settings = {player: optimizer.get_config() for player, optimizer in model.optimizers.items()}
    assert settings["x"]["momentum"] == 0.0 and settings["y"]["momentum"] == 0.5
    assert settings["x"]["learning_rate"] == pytest.approx(LR)


@pytest.mark.parametrize("cls, arguments, message", [
    (VAE, {"estimator": "elbow"}, "estimator must be one of elbo, iwae, not 'elbow'"),
    (VAE, {"network": None}, "network must be one of"),
    (GAN, {"loss": "wasserstain"}, "loss must be one of minimax, .*, not 'wasserstain'"),
    (GAN, {"prior": "Normal"}, "prior must be one of"),
    (VAE, {"latent_size": 0}, "latent_size must be at least 1, not 0"),
    (VAE, {"hidden_units": (5, 0)}, "hidden_units must be at least 1"),
    (GAN, {"generator_units": [-3]}, "generator_units must be at least 1"),
    (GAN, {"num_discriminator_steps": -1}, "num_discriminator_steps must be at least 1"),
    (DCGAN, {"filters": 0}, "filters must be at least 1"),
    (VAE, {"beta": -0.5}, "beta must not be negative, but is -0.5"),
    (VAE, {"beta": -1}, "beta must not be negative"),
    (VAE, {"beta": float("nan")}, "beta must not be negative"),
    (VAE, {"data_shape": (8, 8)}, "data_shape must be"),
    (VAE, {"data_shape": (8, 8, 0)}, "data_shape must be"),
    (AVB, {"adversary_units": ()}, "adversary_units must not be empty"),
    (AVB, {"network": "convolutional", "hidden_units": ()}, "hidden_units must not be empty"),
    (VAE, {"network": "convolutional", "data_shape": (8, 16, 1)}, "square"),
    (DCGAN, {"data_shape": (7, 7, 1)}, "side 7"),
    (DCGAN, {"data_shape": (2,)}, "square"),
])  # fmt: skip
def test_arguments_out_of_range(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**{"data_shape": (8, 8, 1), **arguments})


def test_arguments_in_range():
    model = VAE(data_shape=[4, 4, 1], hidden_units=[], beta=0, seed=-5, latent_size=2)
    assert model.hidden_units == () and model.beta == 0.0 and model.seed == -5 and model.data_shape == (4, 4, 1)
    assert model.get_config()["beta"] == 0.0 and not hasattr(model, "values")


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_moving_averages(precision):
    """The average starts at the weights after the first step, then keeps `ema_momentum` of itself."""
    keras.config.set_dtype_policy(precision)
    try:
        model = bilinear({"x": SGD(LR, use_ema=True, ema_momentum=0.8), "y": SGD(LR)})
    finally:
        keras.config.set_dtype_policy("float32")
    if precision == "mixed_float16":
        for optimizer in model.optimizers.values():
            assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
            optimizer.dynamic_scale.assign(8.0)
    assert model.keep_averages() == []  # before the first step there are none
    average = None
    for _ in range(5):
        model.train_step(DATA)
        average = model.point if average is None else 0.8 * average + 0.2 * model.point
    after = model.point
    with pytest.raises(KeyError), model.averaged() as same:
        assert same is model
        np.testing.assert_allclose(model.point, [average[0], after[1]], rtol=1e-6)
        assert abs(average[0] - after[0]) > 0.01
        raise KeyError
    np.testing.assert_array_equal(model.point, after)
    ((weight, value),) = model.keep_averages()
    assert weight is model.x.weights[0] and value == after[0].astype(np.float32)
    np.testing.assert_allclose(model.point, [average[0], after[1]], rtol=1e-6)


def test_tracker_remembers_the_first_step_that_was_not_finite():
    tracker = Tracker("loss")
    for step, values in enumerate([[1.0, 2.0], [3.0], [[4.0, 6.0], [7.0, 7.0]]]):
        tracker.track(tf.constant(values), step)
    np.testing.assert_allclose(tracker.result(), (1 + 2 + 3 + 5 + 7) / 5)  # a mean over examples
    assert tracker.first_nonfinite_step == -1
    for step, values in [(7, [1.0, np.nan]), (8, [1.0]), (9, [-np.inf])]:
        tracker.track(tf.constant(values), step)
    assert tracker.first_nonfinite_step == 7 and np.isnan(tracker.result())
    tracker.reset_state()
    assert tracker.first_nonfinite_step == -1
    tracker.track(True, 11), tracker.track(tf.constant([False, False, True]), 12)
    np.testing.assert_allclose(tracker.result(), 0.5)


def test_a_subclass_loads_from_its_file_with_all_it_was_compiled_with(tmp_path):
    schedule = make_optimizer("sgd", {"schedule": "CosineDecay", "decay_steps": 10}, 0.2)
    model = ProductGame(simultaneous=False, seed=4)
    model.compile({"x": schedule, "y": SGD(LR)}, jit_compile=False, steps_per_execution=3)
    model.track({"value": tf.constant(np.nan)})
    model.train_step(DATA)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is ProductGame and again.get_config() == model.get_config() and again.simultaneous is False
    assert again.compile_options == {"jit_compile": False, "steps_per_execution": 3}
    assert again.trackers["value"].first_nonfinite_step == -1  # logs are no state
    for m in (model, again):
        m.train_step(DATA)
    np.testing.assert_array_equal(model.point, again.point)
    np.testing.assert_allclose(again.optimizers["x"].learning_rate, 0.1 * (1 + np.cos(np.pi * 0.2)), rtol=1e-6)


@pytest.mark.parametrize("schedule, rates", [
    (None, [0.2, 0.2, 0.2]),
    ({"schedule": "CosineDecay", "decay_steps": 10}, [0.2, 0.1, 0.0]),
    ({"schedule": "ExponentialDecay", "decay_steps": 5, "decay_rate": 0.5}, [0.2, 0.1, 0.05]),
    ({"schedule": "PiecewiseConstantDecay", "boundaries": [4], "values": [1.0, 0.3]}, [1.0, 0.3, 0.3]),
])  # fmt: skip
def test_make_optimizer(schedule, rates):
    given = dict(schedule) if schedule else None
    optimizer = make_optimizer("adam", schedule, 0.2, beta_1=0.4)
    assert schedule == given and isinstance(optimizer, keras.optimizers.Adam) and optimizer.beta_1 == 0.4
    optimizer.build([keras.Variable(0.0)])
    for step, rate in zip((0, 5, 10), rates, strict=True):
        optimizer.iterations.assign(step)
        np.testing.assert_allclose(optimizer.learning_rate, rate, rtol=1e-6, atol=1e-9)


def test_served_range_and_lines_between_latents():
    model = GAN(data_shape=(2, 2, 1), latent_size=3, generator_units=(), discriminator_units=())
    pixels = tf.constant([-1.5, -1.0, 0.0, 1.0])
    np.testing.assert_allclose(model.to_served(pixels), [0.0, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(model.from_served(model.to_served(pixels)), [-1.0, -1.0, 0.0, 1.0])
    points = GAN(data_shape=(4,), latent_size=3, generator_units=(), discriminator_units=())
    np.testing.assert_array_equal(points.to_served(pixels), points.from_served(pixels))
    z_from, z_to = tf.constant([[1.0, 2.0, 3.0]] * 3), tf.constant([[0.0, -2.0, 5.0]] * 3)
    line = points.interpolate(z_from, z_to, tf.constant([0.0, 0.25, 1.0]))  # a linear generator maps lines to lines
    ends = points.decode(tf.stack([z_from[0], z_to[0]])).numpy()
    np.testing.assert_allclose(line, [ends[0], 0.75 * ends[0] + 0.25 * ends[1], ends[1]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_encode_png_rounds_to_the_nearest_of_256_values(channels):
    images = np.random.default_rng(0).random([2, 3, 5, channels], np.float32)
    decoded = [tf.io.decode_png(png).numpy() for png in encode_png(tf.constant(images))]
    np.testing.assert_allclose(np.array(decoded) / 255.0, images, atol=0.5 / 255 + 1e-6)
