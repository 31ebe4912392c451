"""The game itself, on toys whose steps are known: min_x max_y x y with V' = (y, x), and a few numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import SGD

from tests.replicas import two_replicas
from zoo.adversarial.gan import GAN
from zoo.game import Game
from zoo.logs import Tracker
from zoo.optimizers import make_optimizer, unscaled
from zoo.parts import networks
from zoo.parts.layers import BatchNormalization, Dropout, Numbers, SpectralNormalization
from zoo.serving import encode_png
from zoo.studies.bilinear import Bilinear

LR = 0.1
DATA = tf.zeros([2, 1])


class ProductGame(Bilinear):
    default_optimizers = Bilinear.default_optimizers | {"y": {"optimizer": "sgd", "learning_rate": LR, "momentum": 0.5}}

    @property
    def point(self):
        return np.array(self.position)


def product(optimizers=None, **arguments):
    model = ProductGame(data_shape=(1,), y0=0.5, **arguments)
    model.compile(optimizers or {"x": SGD(LR), "y": SGD(LR)}, jit_compile=False)
    return model


def toy(networks, moves, optimizers=None, data_shape=(1,)):
    """A compiled game with these networks as attributes, which moves name; by default all descend at the rate 1."""

    class Toy(Game):
        def __init__(self, *, data_shape, seed, name):
            super().__init__(locals())

        def make_networks(self):
            for name, network in networks.items():
                setattr(self, name, network)

        @property
        def moves(self):
            return {move: [networks[name] for name in names] for move, names in moves.items()}

    model = Toy(data_shape=data_shape)
    model.compile(optimizers or {move: SGD(1.0) for move in moves}, jit_compile=False)
    return model


def numbers(optimizers, **start):
    """A game of one network `n` that has these numbers, and of the moves in `optimizers`, all of which change them."""
    return toy({"n": Numbers("n", **start)}, {move: ["n"] for move in optimizers}, optimizers)


@pytest.fixture(params=["float32", "mixed_float16"])
def precision(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.mark.slow
@pytest.mark.parametrize("play", ["simultaneous", "alternating", "extragradient"])
def test_steps_are_counted_and_their_logs_averaged(play):
    """Where the moves lead, tests of that game say; the losses are those that its moves have seen."""
    model = product(play=play)
    step, start, matrix = tf.function(model.train_step), model.point, model.linear_map()
    for _ in range(20):
        logs = step(DATA)
    points = [np.linalg.matrix_power(matrix, n) @ start for n in range(20)]
    ahead = {"extragradient": lambda x, y: (x - LR * y, y + LR * x)}.get(play, lambda x, y: (x, y))
    values = [np.prod(ahead(*point)) for point in points]
    np.testing.assert_allclose(logs["x_loss"], np.mean(values), rtol=1e-4)
    if play == "alternating":  # y answers the x that has moved
        values = [(x - LR * y) * y for x, y in points]
    np.testing.assert_allclose(logs["y_loss"], -np.mean(values), rtol=1e-4)
    updates = 40 if play == "extragradient" else 20  # those of the look ahead count
    assert model.step == 20 and all(optimizer.iterations == updates for optimizer in model.optimizers.values())


@pytest.mark.slow
def test_a_look_ahead_leaves_its_trace_in_the_momentum():
    momentum = 0.6
    model = product({name: SGD(LR, momentum=momentum) for name in "xy"}, play="extragradient")
    point, velocity, step = model.point.astype(np.float64), np.zeros(2), tf.function(model.train_step)
    for _ in range(10):
        step(DATA)
        velocity = momentum * velocity - LR * point[::-1] * [1, -1]
        ahead = point + velocity
        velocity = momentum * velocity - LR * ahead[::-1] * [1, -1]
        point = point + velocity
    np.testing.assert_allclose(model.point, point, rtol=1e-5)


@pytest.mark.slow
def test_a_graph_updates_no_weights_before_their_last_use():
    """TensorFlow's optimizer of graphs decides by chance which updates it makes early: one trace in seven, once.

    The gradient does not need all that is logged: what such a value reads, updates must wait for all the same.
    """

    critic, x = networks.mlp((3,), (4,), (1,), activation="leaky_relu"), tf.ones([4, 3])
    model = toy({"critic": critic}, {"critic": ["critic"]}, data_shape=(3,))
    start = model.get_weights()

    def step(x):
        model.minimize(lambda: {"critic": tf.exp(critic(2.0 * x)) - critic(x)})
        return model.logs()

    def loss_of(step):
        model.set_weights(start)
        model.reset_metrics()
        return float(step(x)["critic_loss"])

    losses = [loss_of(tf.function(lambda x: step(x))) for _ in range(30)]
    np.testing.assert_allclose(losses, loss_of(step), rtol=1e-6)


def test_gradient_is_that_of_the_mean_over_any_shape():
    model, data = numbers({"player": SGD(LR)}, a=1.0), tf.reshape(tf.range(6.0), [3, 2])
    model.minimize(lambda: {"player": model.n.a * data**2})
    np.testing.assert_allclose(model.n.a, 1.0 - LR * np.mean(np.arange(6.0) ** 2), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [lambda f: f, tf.function])
@pytest.mark.parametrize("index, a, b", [(0, 2.0 - 0.4, 3.0), (1, 2.0 - 0.3, 3.0 - 0.2)])
def test_one_of_several_losses_is_descended(index, a, b, compiler):
    model = numbers({"move": SGD(0.1)}, a=2.0, b=3.0)
    losses = [lambda: {"move": model.n.a**2}, lambda: {"move": model.n.a * model.n.b}]
    compiler(lambda index: model.minimize((index, losses)))(tf.constant(index))
    np.testing.assert_allclose([model.n.a, model.n.b], [a, b], rtol=1e-6)


def test_compile_takes_names_and_defaults_for_exactly_the_players():
    model = ProductGame(data_shape=(1,))
    for players in (("x",), ("x", "y", "z"), ("generator", "discriminator")):
        with pytest.raises(ValueError, match=r"its moves \['x', 'y'\], not"):
            model.compile({player: SGD() for player in players})
    model.compile({"x": "adam", "y": "sgd"})
    assert isinstance(model.optimizers["x"], keras.optimizers.Adam)
    model.compile()
    settings = {player: optimizer.get_config() for player, optimizer in model.optimizers.items()}
    assert settings["x"]["momentum"] == 0.0 and settings["y"]["momentum"] == 0.5
    assert settings["x"]["learning_rate"] == pytest.approx(LR)


@pytest.mark.slow
def test_moving_averages(precision):
    """The average starts at the weights after the first step, then keeps `ema_momentum` of itself."""
    model = product({"x": SGD(LR, use_ema=True, ema_momentum=0.8), "y": SGD(LR)})
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
    assert weight is model.x.position and value == after[0].astype(np.float32)
    np.testing.assert_allclose(model.point, [average[0], after[1]], rtol=1e-6)


# --- Whose weights and whose state a move changes ---------------------------------------------------------------------


@pytest.mark.parametrize("at_once, a", [(True, 2.0 - 0.01 * 30.0 - 0.1 * 4.0), (False, 1.7 - 0.1 * 3.4)])
def test_two_moves_share_a_network(at_once, a):
    """Encoder a and decoder b: reconstruction (a b - 1)^2 moves both at 0.01, regularisation a^2 moves a at 0.1.

    At (2, 3) (a b - 1)^2 has the gradient (2 * 5 * 3, 2 * 5 * 2), and a^2 has 4.
    """
    moves = {"reconstruction": ["encoder", "decoder"], "regularisation": ["encoder"]}
    optimizers = {"reconstruction": SGD(0.01), "regularisation": SGD(0.1)}
    model = toy({"encoder": Numbers("encoder", a=2.0), "decoder": Numbers("decoder", b=3.0)}, moves, optimizers)

    def losses():
        reconstruction = (model.encoder.a * model.decoder.b - 1.0) ** 2
        return {"reconstruction": reconstruction, "regularisation": model.encoder.a.value**2}

    if at_once:
        model.minimize(losses)
    else:
        for move in moves:
            model.minimize(lambda: {move: losses()[move]})
    np.testing.assert_allclose([model.encoder.a.numpy(), model.decoder.b.numpy()], [a, 2.8], rtol=1e-6)


def test_moves_of_one_kind_have_the_settings_of_their_kind():
    moves = {"generator_0": ["n"], "generator_1": ["m"], "discriminator": ["k"]}
    model = toy({name: Numbers(name, a=1.0) for name in "nmk"}, moves)
    model.default_optimizers = {
        "generator": {"optimizer": "adam", "learning_rate": 0.5, "beta_1": 0.3},
        "discriminator": {"optimizer": "sgd", "learning_rate": 0.25},
    }
    model.compile(jit_compile=False)
    first, second, other = (model.optimizers[move] for move in moves)
    assert first is not second and isinstance(other, SGD) and float(other.learning_rate) == 0.25
    for optimizer in (first, second):
        assert isinstance(optimizer, keras.optimizers.Adam) and optimizer.beta_1 == 0.3
        assert float(optimizer.learning_rate) == 0.5


@pytest.mark.parametrize("optimizer_of", [
    lambda: keras.optimizers.Adam(0.1, weight_decay=0.1), lambda: SGD(0.1, momentum=0.9, weight_decay=0.1),
])  # fmt: skip
def test_a_weight_without_a_gradient_is_left_alone(optimizer_of, precision):
    model = numbers({"player": optimizer_of()}, a=1.0, b=2.0)
    n, optimizer = model.n, unscaled(model.optimizers["player"])
    model.minimize(lambda: {"player": (n.a * n.b) ** 2})  # from now on, there is momentum
    a, b, iterations = n.a.numpy(), n.b.numpy(), int(optimizer.iterations)
    assert a != 1.0 and b != 2.0 and iterations == 1
    model.minimize(lambda: {"player": n.a.value**2})
    assert n.a.numpy() != a and n.b.numpy() == b
    before = [v.numpy() for v in model.variables + optimizer.variables]
    model.minimize(lambda: {"player": tf.ones([3])})
    for old, new in zip(before, model.variables + optimizer.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_allclose(model.trackers["player_loss"].total, 4.0 + float(a) ** 2 + 3.0, rtol=1e-5)


class StatefulGame(GAN):
    """Batch normalisation in both networks, and dropout and spectral normalisation in D."""

    def make_networks(self):
        self.generator = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), BatchNormalization()])
        layers = [BatchNormalization(), Dropout(0.5), SpectralNormalization(keras.layers.Dense(2))]
        self.discriminator = keras.Sequential([keras.Input((3,)), *layers])


@pytest.mark.slow
def test_state_changes_in_the_moves_of_its_network_alone():
    keras.utils.set_random_seed(0)
    model = StatefulGame(data_shape=(3,), latent_size=2)
    model.compile({move: SGD(0.0) for move in model.moves}, jit_compile=False)
    dense, norm_of_g = model.generator.layers
    norm_of_d, dropout, spectral = model.discriminator.layers
    rng = np.random.default_rng(0)
    x, z = rng.normal(1.0, 2.0, [16, 3]).astype(np.float32), rng.normal(size=[16, 2]).astype(np.float32)

    def after(losses):
        """The averages of G's norm and of D's, the singular vector, and the number of masks, after a move."""
        model.minimize(losses)
        variables = (norm_of_g.moving_mean, norm_of_g.moving_variance, norm_of_d.moving_mean, norm_of_d.moving_variance)
        return [v.numpy() for v in (*variables, spectral.u, dropout.calls)]

    def averaged(old_mean, old_variance, batch, kept=0.9):
        return [
            kept * old + (1.0 - kept) * new for old, new in [(old_mean, batch.mean(0)), (old_variance, batch.var(0))]
        ]

    h = z @ dense.kernel.numpy() + dense.bias.numpy()
    fake = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)
    start = after(dict)
    # The first minibatch, of data and samples at once, is what the averages start from.
    of_d = after(lambda: model.discriminator_losses(tf.constant(x), tf.constant(z)))
    np.testing.assert_array_equal(of_d[:2], start[:2])
    np.testing.assert_allclose(of_d[2:4], averaged(*start[2:4], np.concatenate([x, fake]), 0.0), rtol=1e-5, atol=1e-6)
    before, of_d = of_d, after(lambda: model.discriminator_losses(tf.constant(3.0 * x), tf.constant(z)))
    np.testing.assert_allclose(of_d[2:4], averaged(*before[2:4], np.concatenate([3.0 * x, fake])), rtol=1e-5, atol=1e-6)
    start = before
    assert np.any(of_d[4] != start[4]) and of_d[5] == start[5] + 2  # D was called on data and on samples
    of_g = after(lambda: model.generator_losses(tf.constant(z)))
    np.testing.assert_allclose(of_g[:2], averaged(*of_d[:2], h, 0.0), rtol=1e-5, atol=1e-6)
    for now, before in zip(of_g[2:5], of_d[2:5], strict=True):
        np.testing.assert_array_equal(now, before)
    assert of_g[5] == of_d[5] + 1  # no mask is drawn twice
    of_both = after(lambda: model.discriminator_losses(x, z) | model.generator_losses(2.0 * z))
    assert all(np.any(now != before) for now, before in zip(of_both, of_g, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("num_replicas", [1, 2])
def test_averages_of_weights_come_with_those_of_batch_normalisation(num_replicas, tmp_path):
    strategy = two_replicas() if num_replicas == 2 else tf.distribute.get_strategy()
    with strategy.scope():
        model = StatefulGame(data_shape=(3,), latent_size=2)
        optimizers = {"discriminator": SGD(0.1, use_ema=True, ema_momentum=0.8), "generator": SGD(0.1)}
        model.compile(optimizers, jit_compile=False)
        norm_of_g, norm = model.generator.layers[1], model.discriminator.layers[0]
        x, average = tf.random.stateless_normal([16, 3], [0, 1], 1.0, 2.0), None
        step = tf.function(lambda: strategy.run(model.train_step, [x]))
        for _ in range(3):
            step()
            now = np.stack([norm.moving_mean, norm.moving_variance, norm.gamma])
            average = now if average is None else 0.8 * average + 0.2 * now
    of_g = norm_of_g.moving_mean.numpy()
    with model.averaged():
        np.testing.assert_allclose([norm.moving_mean, norm.moving_variance, norm.gamma], average, rtol=1e-5)
        np.testing.assert_array_equal(norm_of_g.moving_mean, of_g)
        assert np.abs(average - now).max() > 1e-4
    np.testing.assert_array_equal([norm.moving_mean, norm.moving_variance, norm.gamma], now)
    model.save(tmp_path / "with.keras")
    again = keras.models.load_model(tmp_path / "with.keras")
    again.keep_averages()
    np.testing.assert_allclose(again.discriminator.layers[0].moving_variance, average[1], rtol=1e-5)
    model.compile({move: SGD(0.1) for move in model.moves})
    model.save_weights(tmp_path / "without.weights.h5")  # as files of before averages of state were kept
    model.compile(optimizers)
    model.load_weights(tmp_path / "without.weights.h5")
    assert model.state_averages.replace() == []


GRADIENTS = np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]], np.float32)  # of two replicas, or the first of one


@pytest.mark.slow
@pytest.mark.parametrize("num_replicas", [1, 2])
def test_descend_is_minimize_of_the_linear_loss(num_replicas, precision):
    strategy = two_replicas() if num_replicas == 2 else tf.distribute.get_strategy()
    results = []
    with strategy.scope():
        for descends in (True, False):
            model = numbers({"player": SGD(0.1, momentum=0.5)}, a=[1.0, 2.0, 3.0], b=4.0)

            def step():
                gradient = tf.gather(GRADIENTS, model.replica_id())
                if descends:
                    model.descend("player", [gradient, None])
                else:
                    model.minimize(lambda: {"player": tf.reduce_sum(model.n.a * gradient)})

            run = tf.function(lambda: strategy.run(step))
            run(), run()
            results.append(model.n.a.numpy())
            assert model.n.b.numpy() == 4.0
    np.testing.assert_allclose(*results, rtol=1e-6)
    mean = GRADIENTS[:num_replicas].mean(0)
    np.testing.assert_allclose(results[0], np.array([1.0, 2.0, 3.0]) - 0.1 * (1.0 + 1.5) * mean, rtol=1e-5)


def test_one_of_the_moves_of_a_network_can_average_it():
    numbers({"first": SGD(0.1, use_ema=True), "second": SGD(0.1)}, a=1.0)
    with pytest.raises(ValueError, match="use_ema in one of their optimizers only"):
        numbers({"first": SGD(0.1, use_ema=True), "second": SGD(0.1, use_ema=True)}, a=1.0)


def test_an_average_satisfies_the_constraint_of_its_weight():
    """Keras averages what an update gives, before it is constrained."""
    model = numbers({"player": SGD(0.5, use_ema=True, ema_momentum=0.5)}, a=[1.0, 0.0])
    model.n.a.constraint = keras.constraints.UnitNorm(axis=0)
    point, average = np.array([1.0, 0.0]), None
    for _ in range(4):
        model.minimize(lambda: {"player": tf.reduce_sum(model.n.a * [0.0, -1.0])})
        updated = point + [0.0, 0.5]
        average = updated if average is None else 0.5 * (average + updated)
        point = updated / np.linalg.norm(updated)
    np.testing.assert_allclose(model.n.a, point, rtol=1e-5)
    assert np.linalg.norm(average) > 1.01
    with model.averaged():
        np.testing.assert_allclose(model.n.a, average / np.linalg.norm(average), rtol=1e-5)
    np.testing.assert_allclose(model.n.a, point, rtol=1e-5)


# --- Logs, files, optimizers, serving ---------------------------------------------------------------------------------


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
    schedule = {"schedule": "CosineDecay", "decay_steps": 10}
    model = ProductGame(data_shape=(1,), play="alternating", seed=4)
    model.compile({"x": make_optimizer("sgd", schedule, 0.2), "y": SGD(LR)}, jit_compile=False, steps_per_execution=3)
    assert schedule == {"schedule": "CosineDecay", "decay_steps": 10}  # as it was given
    model.track({"distance": tf.constant(np.nan)})
    model.train_step(DATA)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is ProductGame and again.get_config() == model.get_config() and again.play == "alternating"
    assert again.compile_options == {"jit_compile": False, "steps_per_execution": 3}
    assert again.trackers["distance"].first_nonfinite_step == -1  # logs are no state
    for m in (model, again):
        m.train_step(DATA)
    np.testing.assert_array_equal(model.point, again.point)
    np.testing.assert_allclose(again.optimizers["x"].learning_rate, 0.1 * (1 + np.cos(np.pi * 0.2)), rtol=1e-6)


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
