"""The residual GAN: its blocks, widths and depth, R1 with its 1/2, and labels or none."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.cli import UserError
from tests.models import settings_of
from trainers import rundir
from zoo.adversarial import resnet_gan
from zoo.adversarial.resnet_gan import ResNetGAN

TINY = {"filters": 2, "latent_size": 3, "embedding_size": 4}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def f(x):
    return tf.where(x > 0, x, 0.2 * x)


@pytest.mark.parametrize("filters", [2, 5, 3])
def test_a_block_is_its_formula(filters):
    x = keras.Input((6, 6, 3))
    block = keras.Model(x, resnet_gan.residual_block(x, filters))
    block.set_weights([normal(*w.shape, seed=i) for i, w in enumerate(block.get_weights())])
    held = [layer.get_weights() for layer in block.layers if layer.get_weights()]
    (a, b), (c, d) = (weights for weights in held if len(weights) == 2)
    kernels = [weights[0] for weights in held if len(weights) == 1]
    x = normal(5, 6, 6, 3, seed=9)
    h = tf.nn.conv2d(f(tf.nn.conv2d(f(x), a, 1, "SAME") + b), c, 1, "SAME") + d
    shortcut = tf.nn.conv2d(x, kernels[0], 1, "SAME") if kernels else x
    assert a.shape[-1] == min(3, filters) and len(kernels) == (filters != 3)
    np.testing.assert_allclose(block(x), shortcut + 0.1 * h, rtol=1e-4, atol=1e-4)


def test_widths_are_the_papers():
    sides, of_g = resnet_gan.widths(resnet_gan.MOST_FILTERS["generator"], 0, (64, 64, 3), 64)
    assert (sides, of_g) == ([64, 32, 16, 8, 4], [64, 128, 256, 512, 512])
    assert resnet_gan.widths(resnet_gan.MOST_FILTERS["discriminator"], 0, (64, 64, 3), 64)[1] == [*of_g[:4], 1024]
    model = ResNetGAN(data_shape=(16, 16, 1), num_classes=4, **TINY)
    for network, expected in (
        (model.generator, {(4, 4, 8), (4, 4, 4), (8, 8, 4), (8, 8, 2), (16, 16, 2), (16, 16, 1)}),
        (model.discriminator, {(16, 16, 1), (16, 16, 2), (8, 8, 2), (8, 8, 4), (4, 4, 4), (4, 4, 8)}),
    ):  # channels change before the side doubles, and after it halves
        shapes = {tuple(layer.output.shape[1:]) for layer in network.layers if "Padding" not in type(layer).__name__}
        assert {shape for shape in shapes if len(shape) == 3} == expected
    assert model.generator.output_shape == (None, 16, 16, 1) and model.discriminator.output_shape == (None, 4)


@pytest.mark.slow
@pytest.mark.parametrize("side, num_halvings, smallest", [(28, 0, 7), (28, 3, 4), (8, 0, 4)])
def test_other_sides(side, num_halvings, smallest):
    model = ResNetGAN(data_shape=(side, side, 3), conditional=False, num_halvings=num_halvings, **TINY)
    assert model.G(normal(2, 3)).shape == (2, side, side, 3)
    assert model.discriminator.layers[-3].output.shape[1:3] == (smallest, smallest)


@pytest.mark.slow
def test_the_discriminators_loss_has_the_half_of_equation_9():
    model = ResNetGAN(data_shape=(8, 8, 1), num_classes=4, penalty_weight=3.0, **TINY)
    x, z, y = tf.constant(normal(5, 8, 8, 1)), tf.constant(normal(5, 3)), tf.one_hot([0, 1, 2, 3, 0], 4)

    def logit(x):
        return tf.reduce_sum(model.discriminator(x) * y, axis=1)

    with tf.GradientTape() as tape:
        tape.watch(x)
        real = logit(x)
    square = np.sum(tape.gradient(real, x).numpy() ** 2, axis=(1, 2, 3))
    expected = tf.nn.softplus(-real) + tf.nn.softplus(logit(model.generator([z, y]))) + 3.0 / 2.0 * square
    found = model.discriminator_losses(x, z, y, key=model.key("penalty"))["discriminator"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert model.penalty == "r1" and ResNetGAN.arguments()["penalty_weight"].default == 10.0


@pytest.mark.slow
def test_D_takes_the_output_of_the_class_and_G_sees_a_vector_of_unit_length():
    model = ResNetGAN(data_shape=(8, 8, 1), num_classes=4, **TINY)
    x, label = normal(4, 8, 8, 1), tf.range(4)
    psi = model.discriminator(x).numpy()
    np.testing.assert_allclose(model.D_output(x, *model.conditions(label=label)), np.diag(psi), rtol=1e-5)
    (unit,) = [layer for layer in model.generator.layers if isinstance(layer, keras.layers.UnitNormalization)]
    embedding = keras.Model(model.generator.inputs[1], unit.output)(tf.eye(4))
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, rtol=1e-5)
    images = model.sample(tf.zeros([4], tf.int64), label=tf.range(4))
    assert np.abs(images[0] - images[1:]).max(axis=(1, 2, 3)).min() > 1e-4


@pytest.mark.slow
def test_without_labels():
    model = ResNetGAN(data_shape=(8, 8, 1), conditional=False, **TINY)
    model.compile(jit_compile=False)
    model.train_step(tf.zeros([4, 8, 8, 1]))
    assert model.sample(tf.range(3, dtype=tf.int64)).shape == (3, 8, 8, 1)
    assert all("label" not in specs for _, specs in model.signatures().values())
    with pytest.raises(ValueError, match="learns from x alone"):
        model.train_on_batch(np.zeros([4, 8, 8, 1], np.float32), np.zeros(4, np.int64))
    with pytest.raises(ValueError, match="needs num_classes, how many classes the labels are of"):
        ResNetGAN(data_shape=(8, 8, 1), **TINY)


@pytest.mark.slow
def test_runs_on_data_without_labels():
    facts = {"dataset": "made", "data_shape": (8, 8, 1), "num_classes": None}
    assert not rundir.make_model(settings_of("resnet_gan", "--noconditional"), facts).conditional
    with pytest.raises(UserError, match="made has no labels"):
        rundir.make_model(settings_of("resnet_gan"), facts)


@pytest.mark.slow
def test_fifty_layers_have_the_gradients_of_ten():
    """Of the first layer of each player, at 32x32 pixels."""

    def gradients(num_blocks):
        keras.utils.set_random_seed(0)
        model = ResNetGAN(data_shape=(32, 32, 1), conditional=False, num_blocks=num_blocks, **TINY | {"filters": 4})
        kernels = [w for w in model.weights_of("discriminator") if w.shape[0] != 1 and w.name == "kernel"]
        assert len(kernels) == {1: 10, 6: 50}[num_blocks]
        x, z = tf.constant(normal(4, 32, 32, 1)), normal(4, 3)
        with tf.GradientTape(persistent=True) as tape:
            losses = {**model.discriminator_losses(x, z), **model.generator_losses(z)}
            means = {move: tf.reduce_mean(losses[move]) for move in model.moves}
        firsts = [tape.gradient(means[move], model.weights_of(move)[0]) for move in model.moves]
        return np.array([np.linalg.norm(gradient) for gradient in firsts])

    ratio = gradients(6) / gradients(1)
    assert (ratio > 0.2).all() and (ratio < 5.0).all()
