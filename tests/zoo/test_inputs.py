"""What a Keras user tries first, of every model: it works, or a sentence says why not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import make, names, of_each_model


def rows_of(model, num=8):
    """As many rows as the steps of one epoch take, pixels in [0, 1], with labels where the model takes them."""
    x = np.random.default_rng(0).random([num * model.batches_per_step, *model.data_shape])
    return (x, np.arange(len(x)) % 2) if model.labelled else (x,)


@pytest.mark.slow
@pytest.mark.parametrize("name", of_each_model(names()))
def test_keras_methods(name, tmp_path):
    model = make(name)
    model.run_eagerly = True  # which spares it being traced, and hides nothing of what is asked for here
    rows, size = rows_of(model), 4 * model.batches_per_step
    loss = f"{next(iter(model.moves))}_loss"
    stop = keras.callbacks.EarlyStopping(f"val_{loss}", patience=1, min_delta=1e9)
    held_out = tuple(x[:size] for x in rows) if model.labelled else rows[0][:size]
    history = model.fit(*rows, batch_size=size, epochs=9, verbose=0, callbacks=[stop], validation_data=held_out)
    assert len(history.history[loss]) == 2 and stop.monitor_op == keras.ops.less and model.step == 4
    dataset = tf.data.Dataset.from_tensor_slices(held_out).batch(size)
    scores = model.evaluate(dataset, return_dict=True, verbose=0)
    assert scores.keys() == model.trackers.keys() and model.train_on_batch(*rows) and model.step == 5
    assert model.test_on_batch(*rows, return_dict=True).keys() == scores.keys()
    model.summary(print_fn=lambda line: None)
    model.run_eagerly = False  # a graph knows no numbers, and `predict` is to do without
    if "sample" not in model.signatures():
        for draw in (model, lambda seeds: model.predict(seeds, verbose=0)):
            with pytest.raises(ValueError, match="draws no samples"):
                draw(np.arange(3))
        return
    labels = [np.array([0, 1, 1])] * model.conditional
    samples = model(tf.range(3), *labels)  # int32
    inputs = dict(zip(("seed", "label"), [np.arange(3), *labels], strict=False))
    np.testing.assert_allclose(model.predict(inputs, verbose=0), samples, atol=1e-5)
    if name == "cgan":  # what the others export is asked elsewhere; each form of inputs takes another trace
        answer = model.predict([*inputs.values()], batch_size=2, verbose=0)
        np.testing.assert_allclose(answer, samples, atol=1e-5)
        served = tf.saved_model.load(str(model.export(tmp_path))).signatures["sample"]
        answer = served(**{key: tf.constant(value, tf.int64) for key, value in inputs.items()})
        np.testing.assert_allclose(answer["images"], samples, atol=1e-5)


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_integers_are_pixels_and_all_take_what_is_served(name):
    """The data of a step are in the networks' range, from 8-bit pixels as from floats, in batches or arrays."""
    seen, model = [], make(name)
    pixels = np.random.default_rng(0).integers(0, 256, [8, *model.data_shape])
    model.of_data = lambda data: seen.append(data) or [data]
    for x in (pixels.astype(np.uint8), pixels / 255.0, tf.constant(pixels)):
        model.test_step(x)
    low, high = model.data_range
    for x in seen:
        np.testing.assert_allclose(x, low + (high - low) * pixels / 255.0, atol=1e-6)
    assert len(seen) == 3


IMAGES = np.zeros([8, 8, 8, 1], np.float32)
MISTAKES = {  # model and arguments, what it is given, what it says
    "scale": ("vae", {}, [255 * IMAGES + 255], r"pixels, integers in \[0, 255\] or floats in \[0, 1\], .* 255 to 255"),
    "negative": ("gan", {}, [IMAGES - 1], "these run from -1 to -1: scale them"),
    "16 bits": ("vae", {}, [(IMAGES + 256).astype(np.uint16)], "256 to 256"),
    "NaN": ("gan", {}, [IMAGES * np.nan], "not finite"),
    "an infinity among many": ("gan", {}, [np.repeat([IMAGES[0], IMAGES[0] - np.inf], [20_000, 1], 0)], "not finite"),
    "no channels": ("dbm", {}, [IMAGES[..., 0]], r"rows of shape \[n, 8, 8, 1\], not \[8, 8, 8\]: give it a last axis"),
    "shape": ("vae", {}, [IMAGES[:, :4]], r"not \[8, 4, 8, 1\]\."),
    "no label": ("cgan", {}, [IMAGES], "CGAN needs the label of each row"),
    "label": ("vae", {}, [IMAGES, np.zeros(8)], "VAE learns from x alone"),
    "float labels": ("cgan", {}, [IMAGES, np.zeros(8)], r"labels must be integers \[n\], not float64 of rank 1"),
    "labels in a column": ("cgan", {}, [IMAGES, np.zeros([8, 1], int)], r"integers \[n\], not int64 of rank 2"),
    "nothing": ("vae", {}, [IMAGES[:0]], "there are no rows"),
    "k": ("gan", {"num_discriminator_steps": 3}, [IMAGES], "3 minibatches of one size, which 8 rows do not give"),
    "points": (
        "vae",
        {"data_shape": (2,), "likelihood": "bernoulli"},
        [np.full([4, 2], 1.5)],
        "points in .0, 1.*likelihood or a model of any real numbers",
    ),
}


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "train_step"])
@pytest.mark.parametrize("name, arguments, data, message", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_sentence_before_the_first_step(method, name, arguments, data, message):
    model = make(name, **arguments)
    if method == "train_step" and any(part in message for part in ("255", "256", "from", "finite", "real", "no row")):
        pytest.skip("a step does not look at values")
    if method == "evaluate" and "minibatches" in message:  # which an evaluation does not divide
        assert model.evaluate(*data, verbose=0) and model.test_on_batch(*data) and model.test_step(*data)
        return
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(data if method == "train_step" else data[0], *data[1:] if method != "train_step" else ())
    assert model.step == 0


@pytest.mark.parametrize("arguments, given, options, message", [
    ({}, IMAGES, {"sample_weight": np.ones(8)}, "GAN takes no weights of samples"),
    ({}, IMAGES.tolist(), {}, "rows come as arrays, not as lists"),
    ({}, IMAGES, {"callbacks": keras.callbacks.ReduceLROnPlateau()}, "ReduceLROnPlateau sets .* give these a schedule"),
    ({"num_discriminator_steps": 3}, tf.data.Dataset.from_tensors(IMAGES), {}, "3 minibatches .* 8 rows do not give"),
])  # fmt: skip
def test_a_mistake_of_fit(arguments, given, options, message):
    with pytest.raises(ValueError, match=message):
        make("gan", **arguments).fit(given, **options)


@pytest.mark.slow
def test_a_model_of_one_move_takes_one_optimizer():
    model = make("vae")
    for compiled in (model.compile("adam"), model.compile(optimizer="adam")):
        assert compiled is None and isinstance(model.optimizers["autoencoder"], keras.optimizers.Adam)
    with pytest.raises(ValueError, match=r"a dict with an optimizer for each of its moves \['discriminator'.*'adam'"):
        make("gan").compile("adam")


@pytest.mark.slow
def test_a_conditional_model_draws_of_a_class():
    for draw in (lambda model: model(tf.range(3)), lambda model: model.sample(tf.range(3))):
        with pytest.raises(ValueError, match="CGAN is of rows of a class: give the label of each row"):
            draw(make("cgan"))


@pytest.mark.slow
def test_fit_goes_on_by_keras_own_backup(tmp_path):
    """Stopped after 2 of 4 epochs and called again with `BackupAndRestore`, a model ends with the same bits."""

    def trained(stops):
        for stop in stops:  # each call as in a process of its own
            backup = keras.callbacks.BackupAndRestore(tmp_path / str(len(stops)), delete_checkpoint=False)
            model = make("vae")
            model.run_eagerly = True
            model.fit(*rows_of(model), batch_size=4, epochs=stop, shuffle=False, verbose=0, callbacks=[backup])
        return model

    once, twice = trained([4]), trained([2, 4])
    assert once.step == twice.step == 8
    for a, b in zip(once.variables, twice.variables, strict=True):
        np.testing.assert_array_equal(a, b)
