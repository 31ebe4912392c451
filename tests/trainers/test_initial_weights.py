"""Models that are taken back from runs, with the weights that evaluation takes or those that training left."""

import keras
import numpy as np
import pytest

import trainers
from tests.mistakes import mistake
from tests.trainers.test_run import SMALL_GAN, _from_the_root, every, train_here  # noqa: F401
from trainers import flags, initial_weights, rundir
from trainers.data import load
from zoo import MODELS, weights
from zoo.adversarial.gan import GAN
from zoo.variational.vae import VAE

pytestmark = pytest.mark.slow
AVERAGED = ["--generator.use_ema", "--generator.ema_momentum=0.5"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Three steps of a GAN on the ring, whose generator keeps averages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(rundir.__file__.rpartition("/trainers/")[0])
        path = tmp_path_factory.mktemp("given") / "run"
        return train_here(path, *SMALL_GAN, *AVERAGED, "--dataset=ring", "--num_steps=3", *every(3))


def numbers(model):
    return {name: weight.numpy() for name, weight in weights.of_networks(model).items()}


def test_a_run_gives_its_model_back_and_is_trained_further(run_dir):
    model, served = trainers.from_run(run_dir), rundir.load(run_dir).model
    assert model.step == 3 and model.optimizers["discriminator"].iterations == 3
    for name, raw in numbers(model).items():
        assert np.array_equal(raw, numbers(served)[name]) == name.startswith("discriminator")
    with model.averaged():
        np.testing.assert_equal(numbers(model), numbers(served))
    model.fit(np.zeros([16, 2], np.float32), verbose=0)
    assert model.step == 4


def test_a_run_begins_with_the_weights_of_another(run_dir, tmp_path, capsys):
    """Its averages; with rates of 0 they are what it ends with, after the steps that are its own."""
    still = ["--generator.learning_rate=0", "--discriminator.learning_rate=0", f"--initial_weights={run_dir}"]
    again = train_here(tmp_path / "run", *SMALL_GAN, "--dataset=grid", "--num_steps=2", *every(2), *still)
    out = capsys.readouterr().out
    assert f"--initial_weights={run_dir}, gan on ring at step 3: took 8 of 8 arrays\n" in out and "new:" not in out
    found = rundir.load(again)
    assert found.step == 2
    np.testing.assert_equal(numbers(found.model), numbers(rundir.load(run_dir).model))


@pytest.mark.parametrize("model", ["vae", "hierarchical_vae", "helmholtz"])
def test_a_decoder_begins_at_the_mean_of_the_data(tmp_path, model):
    """Without its weights the decoder's pixels have the mean of the training rows, within the code's limits."""
    small = ["--hidden_units=8", "--latent_sizes=3,2"] if model == "hierarchical_vae" else ["--hidden_units=8"]
    still = [f"--{move}.learning_rate=0" for move in MODELS[model].default_optimizers]
    path = train_here(
        tmp_path / "run", f"--model={model}", "--dataset=digits", "--dynamic_binarization", *small, *still,
        "--initial_bias_of_data", "--num_steps=1", *every(1),
    )  # fmt: skip
    decoder = rundir.load(path).model.decoder
    decoder.weights[-2].assign(np.zeros(decoder.weights[-2].shape))
    means = 1.0 / (1.0 + np.exp(-decoder(np.ones([1, *decoder.input_shape[1:]]))[0].numpy()))
    np.testing.assert_allclose(means, load("digits").train.mean(axis=0) / 255.0, atol=0.0011)


@pytest.mark.parametrize("other, reason", {
    "--model=gan": "no decoder of binary pixels",
    "--model=vae --likelihood=gaussian": "choose likelihood=bernoulli",
    "--model=vae --network=convolutional": "network=mlp",
}.items())  # fmt: skip
def test_what_has_no_bias_for_each_pixel_does_not_begin_at_the_mean(tmp_path, other, reason):
    with mistake("--initial_bias_of_data", reason):
        train_here(tmp_path / "run", *other.split(), "--dataset=digits", "--initial_bias_of_data", "--num_steps=1")
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_is_told(run_dir, tmp_path, capsys):
    units = {"latent_size": 2, "generator_units": (8,), "discriminator_units": (9,)}
    model = GAN(data_shape=(2,), **units)
    before = numbers(model)
    keras.config.set_dtype_policy("mixed_bfloat16")
    initial_weights.give(GAN(data_shape=(2,), **units), run_dir)
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    keras.config.set_dtype_policy("float32")
    capsys.readouterr()
    initial_weights.give(model, run_dir)
    given, out = numbers(rundir.load(run_dir).model), capsys.readouterr().out
    for name, now in numbers(model).items():
        of = given if name.startswith("generator") or name == "discriminator/dense_1/bias" else before
        np.testing.assert_array_equal(now, of[name])
    three = ", ".join(f"discriminator/{part}" for part in ("dense/kernel", "dense/bias", "dense_1/kernel"))
    assert f"took 5 of 8 arrays\nnew: {three}\nnot taken: {three}\n" in out
    with mistake(run_dir, "nothing fits"):
        initial_weights.give(VAE(data_shape=(2,), likelihood="gaussian"), run_dir)
    with mistake(tmp_path, "holds no run"):
        train_here(tmp_path / "b", *SMALL_GAN, "--dataset=ring", f"--initial_weights={tmp_path}")
    assert not (tmp_path / "b").exists()
    assert "--initial_weights" in " ".join(flags.parse(["run", "--model=gan", "--initial_weights=x"]).lines)
