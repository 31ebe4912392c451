"""Progressive growing: phases by the step, fades that join neighbouring networks, optimizers that begin anew."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.adversarial.progressive_gan import ProgressiveGAN, doubled, halved
from zoo.optimizers import start_of
from zoo.parts import noise
from zoo.parts.layers import Equalized

TINY = {"latent_size": 3, "filters": 2, "max_filters": 4, "phase_steps": 2}


def model_of(side=16, compiled=False, **options):
    keras.utils.set_random_seed(0)
    model = ProgressiveGAN(data_shape=(side, side, 1), **(TINY | options))
    if compiled:
        model.compile(jit_compile=False)
    return model


def images(side, num=4, seed=0):
    return tf.constant(np.random.default_rng(seed).uniform(0.0, 1.0, [num, side, side, 1]), tf.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "step, level, alpha",
    [(0, 0, 1.0), (9, 0, 1.0), (10, 1, 0.0), (15, 1, 0.5), (19, 1, 0.9), (20, 1, 1.0), (29, 1, 1.0), (30, 2, 0.0),
     (37, 2, 0.7), (40, 2, 1.0), (10**6, 2, 1.0)],
)  # fmt: skip
def test_phases_are_a_function_of_the_step(step, level, alpha):
    model = model_of(phase_steps=10)
    model.step.assign(step)
    found = model.phase(*model.at_level(lambda level, alpha: (tf.constant(level), tf.convert_to_tensor(alpha))))
    np.testing.assert_allclose(found, (level, alpha), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("level", [1, 2])
def test_a_fade_leads_from_one_network_to_the_next(level):
    """Of fakes, of reals, and of what D says of an image."""
    model, z, x = model_of(), noise.normal([0, 1], [4, 3]), 2.0 * images(16) - 1.0
    nothing, half, all_of_it = tf.constant(0.0), tf.constant(0.5), tf.constant(1.0)
    x_of_level = x if level == 2 else halved(x)
    ends = {
        "fakes": (lambda alpha: model.G(z, level, alpha), doubled(model.G(z, level - 1, 1.0)),
                  model.G(z, level, 1.0)),
        "reals": (lambda alpha: model.reals(x, level, alpha), doubled(halved(x_of_level)), x_of_level),
        "D": (lambda alpha: model.D_output(x_of_level, level, alpha),
              model.D_output(halved(x_of_level), level - 1, 1.0), None),
    }  # fmt: skip
    for of_alpha, old, new in ends.values():
        np.testing.assert_allclose(of_alpha(nothing), old, atol=1e-5)
        if new is not None:  # images are mixtures; D's features are
            np.testing.assert_allclose(of_alpha(all_of_it), new, atol=1e-5)
            np.testing.assert_allclose(of_alpha(half), 0.5 * (old + new), atol=1e-5)
    h = model.discriminator[level](model.from_image[level](x_of_level))
    for block in reversed(model.discriminator[:level]):
        h = block(h)
    np.testing.assert_allclose(model.D_output(x_of_level, level, all_of_it), h[:, 0], atol=1e-5)


def test_halved_and_doubled():
    x = images(4).numpy()
    expected = (x[:, ::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, ::2] + x[:, 1::2, 1::2]) / 4.0
    np.testing.assert_allclose(halved(x), expected, rtol=1e-6)
    np.testing.assert_array_equal(doubled(x), x.repeat(2, 1).repeat(2, 2))


@pytest.mark.slow
def test_samples_are_those_of_the_level_enlarged():
    model, z = model_of(), noise.normal([0, 1], [4, 3])
    for weight in model.to_image[0].weights[:1]:  # so that no pixel is clipped
        weight.assign(0.01 * weight)

    def served(x, side):
        for _ in range(int(np.log2(16 // side))):
            x = doubled(x)
        return model.to_served(x)

    expected = {  # what G makes where the level's fade begins, in its midst, and at the end
        0: served(model.G(z, 0, 1.0), 4), 2: served(model.G(z, 0, 1.0), 4),
        3: served(model.G(z, 1, tf.constant(0.5)), 8), 6: served(model.G(z, 1, tf.constant(1.0)), 8),
        7: model.to_served(model.G(z, 2, tf.constant(0.5))), 8: model.to_served(model.G(z, 2, 1.0)),
    }  # fmt: skip
    decode = tf.function(model.decode)  # a picture's graph, traced at the start
    for step, images_then in expected.items():
        model.step.assign(step)
        np.testing.assert_allclose(model.decode(z), images_then, atol=1e-4)
        np.testing.assert_allclose(decode(z), images_then, atol=1e-4)


@pytest.mark.slow
def test_networks_are_the_papers():
    """Channels, gains and the place of the deviation (tables 1 and 2, section 4.1)."""
    model = ProgressiveGAN(data_shape=(32, 32, 3), latent_size=5, filters=4, max_filters=16)
    assert model.sides == [4, 8, 16, 32]
    kernels = {move: [tuple(w.shape) for w in model.weights_of(move) if w.name == "kernel"] for move in model.moves}
    assert kernels["generator"] == [
        (5, 256), (3, 3, 16, 16), (3, 3, 16, 16), (3, 3, 16, 16), (3, 3, 16, 8), (3, 3, 8, 8), (3, 3, 8, 4),
        (3, 3, 4, 4), *((1, 1, width, 3) for width in (16, 16, 8, 4)),
    ]  # fmt: skip
    assert kernels["discriminator"] == [
        (3, 3, 17, 16), (256, 16), (16, 1), (3, 3, 16, 16), (3, 3, 16, 16), (3, 3, 8, 8), (3, 3, 8, 16), (3, 3, 4, 4),
        (3, 3, 4, 8), *((1, 1, 3, width) for width in (16, 16, 8, 4)),
    ]  # fmt: skip
    networks = [network for networks in model.moves.values() for network in networks]
    gains = [layer.gain for network in networks for layer in network.layers if isinstance(layer, Equalized)]
    he = 2.0**0.5
    expected = [he, he, 1.0, *[he] * 6, *[he] * 4, he / 4.0, *[he] * 7, *[1.0] * 4]
    np.testing.assert_allclose(gains, expected)


@pytest.mark.slow
def test_losses_are_wgan_gp_with_drift():
    model, x, z = model_of(8), 2.0 * images(8) - 1.0, noise.normal([0, 1], [4, 3])
    model.step.assign(3)  # half of level 1
    alpha, key = tf.constant(0.5), noise.key(0, 3, 0)
    real, fake = 0.5 * (x + doubled(halved(x))), model.G(z, 1, alpha)
    epsilon = noise.uniform(key, [4, 1, 1, 1])
    x_hat = epsilon * real + (1.0 - epsilon) * fake
    with tf.GradientTape() as tape:
        tape.watch(x_hat)
        output = model.D_output(x_hat, 1, alpha)
    norm = np.sqrt(np.sum(tape.gradient(output, x_hat).numpy() ** 2, axis=(1, 2, 3)))
    of_real, of_fake = model.D_output(real, 1, alpha), model.D_output(fake, 1, alpha)
    expected = of_fake - of_real + 10.0 * (norm - 1.0) ** 2 + 0.001 * of_real**2
    losses = model.phase(*model.losses_of_D(x, z, key)) | model.phase(*model.losses_of_G(z))
    np.testing.assert_allclose(losses["discriminator"], expected, rtol=1e-4)
    np.testing.assert_allclose(losses["generator"], -of_fake, rtol=1e-5)


@pytest.mark.slow
def test_optimizers_begin_anew_with_each_level_and_layers_wait_for_it():
    """In a graph, in which weights of levels to come have gradients, of zeros."""
    model = model_of(8, compiled=True, phase_steps=3)
    later = [v for network in (model.generator[1], model.to_image[1], model.discriminator[1], model.from_image[1])
             for v in network.trainable_variables]  # fmt: skip
    start, counts = [v.numpy() for v in later], []
    for step in range(7):
        if step == 3:
            assert all(np.array_equal(a, v) for a, v in zip(start, later, strict=True))
        kernel = model.weights_of("generator")[0].numpy()
        model.train_on_batch(images(8, seed=step))
        counts.append(int(model.optimizers["generator"].iterations))
        if step in (0, 3):  # Adam's first step is one of its rate, whatever the gradient
            moved = np.abs(model.weights_of("generator")[0] - kernel)
            assert np.median(moved) == pytest.approx(1e-3, rel=1e-2)
    assert counts == [1, 2, 3, 1, 2, 3, 4]
    assert not any(np.array_equal(a, v) for a, v in zip(start, later, strict=True) if np.any(a))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Adam", "Nadam", "Adagrad", "SGD"])
def test_an_optimizer_starts_from_its_start(name):
    model, optimizer = model_of(8), getattr(keras.optimizers, name)(0.3, use_ema=True)
    weight = keras.Variable([1.0, 2.0])
    optimizer.build([weight])
    before = [v.numpy() for v in optimizer.variables]
    optimizer.apply([tf.constant([3.0, 4.0])], [weight])
    after = [v.numpy() for v in optimizer.variables]
    starts = start_of(optimizer, [weight])
    for when, expected in ((False, after), (True, before)):
        model.restart(starts, tf.constant(when))
        for variable, value in zip(optimizer.variables, expected, strict=True):
            if "average" not in variable.name:  # which the next first step replaces
                np.testing.assert_array_equal(variable, value)


@pytest.mark.slow
def test_a_run_resumes_within_a_fade_bit_for_bit(tmp_path):
    """And where the optimizers begin anew after it: phases of 2 steps, the second level from step 6."""

    def state(model):
        model.keep_averages()
        return [*model.variables, *(v for optimizer in model.optimizers.values() for v in optimizer.variables)]

    whole, saved_at = model_of(16, compiled=True), (3, 4)
    for step in range(7):
        if step in saved_at:
            whole.save(tmp_path / f"{step}.keras")
        whole.train_step(images(16, seed=step))
    for first in saved_at:
        again = keras.models.load_model(tmp_path / f"{first}.keras")
        for step in range(first, 7):
            again.train_step(images(16, seed=step))
        for a, b in zip(state(whole), state(again), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_grown_model_is_served_at_its_last_level(tmp_path):
    model, seeds = model_of(8, compiled=True), tf.range(3, dtype=tf.int64)
    model.step.assign(100)
    served = tf.saved_model.load(str(model.export(tmp_path))).signatures["sample"](seed=seeds)["images"]
    np.testing.assert_allclose(served, model.to_served(model.G(model.latent(seeds), 1, 1.0)), atol=1e-5)
