"""Steps of D that G looks through (Metz et al. 2017): against closed forms, and against Keras's own steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import SGD, Adam, RMSprop
from keras.optimizers.schedules import ExponentialDecay

from tests.models import batch_of, make
from zoo.adversarial.gan import GAN
from zoo.optimizers import differentiable

FALLING = ExponentialDecay(0.2, 1, 0.7)  # to 0.7 of it with every step


def start(optimizer, value=0.3):
    """A variable and a built optimizer that has taken two steps with it."""
    variable = keras.Variable(np.float32([value, 0.0]))
    optimizer.build([variable])
    for gradient in ([1.0, 0.0], [-0.2, 0.0]):
        optimizer.apply([tf.constant(gradient)], [variable])
    return variable


@pytest.mark.parametrize("num_steps", [0, 1, 5])
def test_value_and_slope_of_a_game_in_closed_form(num_steps):
    """min_x max_y V = x y - y^2 / 2: y_K = x + (1 - e)^K (y - x), and dV(x, y_K) / dx = y_K + (x - y_K) dy_K / dx."""
    e, x0, optimizer = 0.2, 0.7, SGD(0.2)
    variable = start(optimizer)
    y0, x = variable.numpy()[0], tf.constant(x0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        step, y = differentiable(optimizer, [variable]), tf.convert_to_tensor(variable.value)
        for _ in range(num_steps):
            [y] = step([y], [-tf.stack([x - y[0], 0.0])])
        V = x * y[0] - y[0] ** 2 / 2
    y_k, dy_dx = x0 + (1 - e) ** num_steps * (y0 - x0), 1 - (1 - e) ** num_steps
    np.testing.assert_allclose(y[0], y_k, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(V, x), y_k + (x0 - y_k) * dy_dx, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [0, 1, 5])
def test_a_step_of_the_whole_game_in_closed_form(num_steps):
    """D(x) = y x + c, data 0, fakes g, and R1: D descends y g + y^2 / 2, and G -y_K g, whose y_K knows of g."""
    e, rate, g, y = 0.2, 0.1, 0.7, 0.4
    options = {"latent_size": 1, "generator_units": (), "discriminator_units": (), "loss": "wasserstein"}
    model = GAN(data_shape=(1,), num_unrolled_steps=num_steps, penalty="r1", penalty_weight=1.0, **options)
    model.compile({"discriminator": SGD(e), "generator": SGD(rate)}, jit_compile=False)
    model.generator.set_weights([np.zeros([1, 1]), np.array([g])])
    model.discriminator.set_weights([np.array([[y]]), np.array([0.1])])
    model.train_step(tf.zeros([4, 1]))
    y -= e * (g + y)
    y_k, dy_dg = -g + (1 - e) ** num_steps * (y + g), -1 + (1 - e) ** num_steps
    np.testing.assert_allclose(model.discriminator.get_weights()[0], [[y]], rtol=1e-6)
    np.testing.assert_allclose(model.generator.get_weights()[1], [g + rate * (y_k + g * dy_dg)], rtol=1e-6)


@pytest.mark.parametrize("make", [
    lambda: SGD(0.1), lambda: Adam(0.1, 0.5), lambda: Adam(0.1, epsilon=0.3), lambda: SGD(FALLING),
    lambda: Adam(FALLING),
])  # fmt: skip
def test_steps_are_those_of_the_optimizer_and_can_be_differentiated(make):
    optimizer = make()
    variable = start(optimizer)

    def unrolled(a):
        step, value = differentiable(optimizer, [variable]), tf.convert_to_tensor(variable.value)
        for _ in range(3):
            [value] = step([value], [a * tf.sin(value)])  # of a cosine, at 0 flat
        return value

    def slope(a):
        a = tf.constant(a)
        with tf.GradientTape() as tape:
            tape.watch(a)
            value = unrolled(a)[0]
        return tape.gradient(value, a)

    before, numeric = variable.numpy(), (unrolled(2.05)[0] - unrolled(1.95)[0]) / 0.1
    np.testing.assert_allclose(slope(2.0), numeric, rtol=0.01, atol=1e-4)
    ahead = unrolled(2.0)
    np.testing.assert_array_equal(variable.numpy(), before)
    for _ in range(3):
        optimizer.apply([2.0 * tf.sin(variable.value)], [variable])
    np.testing.assert_allclose(ahead, variable.numpy(), rtol=1e-5)


def test_a_flat_loss_has_no_slope_but_a_finite_one():
    variable = keras.Variable(np.float32([0.0]))
    optimizer, a = Adam(0.1), tf.constant(2.0)
    optimizer.build([variable])
    with tf.GradientTape() as tape:
        tape.watch(a)
        value = differentiable(optimizer, [variable])([variable.value], [a * 0.0 * tf.ones([1])])[0]
    assert np.isfinite(tape.gradient(value, a))


@pytest.mark.parametrize("optimizer, given", [
    (RMSprop(), "RMSprop"), (SGD(0.1, momentum=0.9), "SGD with momentum"), (Adam(clipnorm=1.0), "Adam with clipnorm"),
    (SGD(gradient_accumulation_steps=2), "SGD with gradient_accumulation_steps"),
])  # fmt: skip
def test_other_optimizers_are_refused(optimizer, given):
    model = GAN(data_shape=(1,), generator_units=(), discriminator_units=(), num_unrolled_steps=1)
    with pytest.raises(ValueError, match=f"steps of {given} can not be unrolled"):
        model.compile({"discriminator": optimizer, "generator": SGD()})


def test_a_clipped_weight_stays_clipped_on_the_way():
    options = {"generator_units": (), "discriminator_units": (), "weight_constraint": "clipping", "clip_value": 0.05}
    model = GAN(data_shape=(1,), **options)
    model.compile({"discriminator": SGD(1.0), "generator": SGD()})
    weights = model.weights_of("discriminator")
    values = differentiable(model.optimizers["discriminator"], weights)([w.value for w in weights], [-5.0, None])
    np.testing.assert_allclose(values[0], [[0.05]])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["dcgan", "dcgan --packing=2", "cgan", "cgan --network=convolutional", "gan --penalty=wgan_gp"]
)
def test_where_d_does_not_learn_looking_ahead_changes_nothing(name):
    """Not even averages of batch normalisation. But dropout counts the draws of the look ahead, too."""
    after = []
    for num_steps in (0, 2):
        model = make(name, compiled=False, num_unrolled_steps=num_steps)
        model.compile({"discriminator": SGD(0.0), "generator": SGD(0.1)}, jit_compile=False)
        before = model.get_weights()
        model.train_step(batch_of(model))
        after.append(model.get_weights())
    assert sum(np.any(a != b) for a, b in zip(after[0], before, strict=True)) > 3
    for plain, unrolled, variable in zip(*after, model.weights, strict=True):
        if variable.name == "calls":
            assert unrolled > plain
        else:
            np.testing.assert_allclose(unrolled, plain, rtol=1e-5, atol=1e-6)
