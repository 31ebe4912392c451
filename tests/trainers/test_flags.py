"""The command line against the signatures it is made from: of the models, and of Keras's optimizers and schedules."""

import math
import typing
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.mistakes import mistake
from trainers import flags
from zoo import MODELS
from zoo.optimizers import OPTIMIZERS, make_optimizer

models = pytest.mark.parametrize("name", sorted(MODELS))


def parse(*arguments):
    return flags.parse(["trainers.run", *arguments])


def other_value(annotation, default):
    """A value of an argument's type that is not its default."""
    if typing.get_origin(annotation) is typing.Literal:
        return next(choice for choice in typing.get_args(annotation) if choice != default)
    if typing.get_origin(annotation) is tuple:
        return (*default, 7, 5)
    return {bool: not default, int: default + 1, float: default + 0.1}[annotation]


def text_of(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


@models
def test_every_argument_of_a_constructor_is_a_flag(name, capsys):
    arguments = flags.model_arguments(MODELS[name])
    plain = parse(f"--model={name}")
    assert plain.model_settings == {"seed": 0} | {a: p.default for a, p in arguments.items()}
    values = {a: other_value(p.annotation, p.default) for a, p in arguments.items()} | {"seed": 3}
    given = parse(f"--model={name}", *(f"--{a}={text_of(value)}" for a, value in values.items())).model_settings
    assert given == values and {a: type(v) for a, v in given.items()} == {a: type(v) for a, v in values.items()}
    with pytest.raises(SystemExit) as stop:
        parse(f"--model={name}", "--help")
    assert not stop.value.code
    lines, helps = capsys.readouterr().out.splitlines(), MODELS[name].argument_help()
    for argument, parameter in arguments.items():
        (line,) = [line for line in lines if line.startswith(f"  --{argument}: ")]
        assert line.endswith(f"{helps[argument]} (default {text_of(parameter.default)})")
    for player in MODELS[name].default_optimizers:
        assert any(line.startswith(f"  --{player}.learning_rate: ") for line in lines)


@models
def test_the_resolved_flagfile_reads_back_as_the_same_settings(name, tmp_path):
    player = next(iter(MODELS[name].default_optimizers))
    arguments = flags.model_arguments(MODELS[name])
    settings = parse(
        f"--model={name}",
        *(f"--{a}={text_of(other_value(p.annotation, p.default))}" for a, p in arguments.items()),
        "--noexport",
        '--data_dir=some dir/x=1 # no "comment"',
        f"--{player}.learning_rate=0.1234567890123",
        f"--{player}.use_ema",
        f"--{player}.clipnorm=2",
        f"--{player}.schedule=PiecewiseConstantDecay",
        f"--{player}.schedule.boundaries=2,4",
        f"--{player}.schedule.values=1e-3,0.5,7",
    )
    config = tmp_path / "config.cfg"
    config.write_text("\n".join(settings.lines) + "\n")
    again = parse(f"--flagfile={config}")
    assert again == settings
    assert None in settings.values.values() and again.optimizers == settings.optimizers
    assert flags.differences(config.read_text().splitlines(), again) == {}


def test_flagfiles_nest_and_later_flags_win(tmp_path):
    (tmp_path / "base.cfg").write_text("# a comment\n\n--num_steps=5\n--seed=5\n")
    (tmp_path / "top.cfg").write_text("--flagfile=base.cfg\n--model=vae\n--seed=6\n")
    settings = parse(f"--flagfile={tmp_path / 'top.cfg'}", "--latent_size", "7")
    assert (settings.num_steps, settings.seed, settings.latent_size) == (5, 6, 7)
    assert settings.run_dir == "runs/vae_digits"
    assert parse("--latent_size", "7", "--model", "vae").latent_size == 7  # in any order


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_optimizers_are_kerass_with_their_defaults(optimizer):
    built = make_optimizer(**parse("--model=vae", f"--autoencoder.optimizer={optimizer}").optimizers["autoencoder"])
    assert type(built) is getattr(keras.optimizers, type(built).__name__) and type(built).__name__.lower() == optimizer
    assert built.get_config() == type(built)(name=built.name).get_config()


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_learning_rates_are_finite_and_not_negative(rate):
    with pytest.raises(ValueError, match=f"learning_rate must .* {rate}."):
        make_optimizer(learning_rate=rate)


def test_a_game_has_its_own_defaults_and_settings_for_each_player():
    optimizers = parse("--model=gan", "--generator.beta_1=0.25", "--generator.gradient_accumulation_steps=2").optimizers
    generator, discriminator = (make_optimizer(**optimizers[p]).get_config() for p in ("generator", "discriminator"))
    assert discriminator["beta_1"] == 0.5 and discriminator["learning_rate"] == pytest.approx(2e-4)
    assert generator["beta_1"] == 0.25 and generator["gradient_accumulation_steps"] == 2
    sgd = parse("--model=gan", "--generator.optimizer=sgd", "--generator.nesterov", "--generator.momentum=0.9")
    config = make_optimizer(**sgd.optimizers["generator"]).get_config()
    assert config["nesterov"] is True and config["momentum"] == 0.9 and config["learning_rate"] == pytest.approx(0.01)


SCHEDULES = {  # the name and settings of a schedule that starts from 0.2 -> the learning rate at a step
    "PiecewiseConstantDecay boundaries=3,6 values=1,0.5,1e-2": lambda t: 1 if t <= 3 else 0.5 if t <= 6 else 0.01,
    "CosineDecay decay_steps=8 alpha=0.5": lambda t: 0.2 * (0.75 + 0.25 * math.cos(math.pi * min(t, 8) / 8)),
    "CosineDecay decay_steps=8 warmup_target=0.4 warmup_steps=2": lambda t: (
        0.2 + 0.1 * t if t < 2 else 0.2 * (1 + math.cos(math.pi * min(t - 2, 8) / 8))
    ),
    "ExponentialDecay decay_steps=4 decay_rate=0.5": lambda t: 0.2 * 0.5 ** (t / 4),
    "ExponentialDecay decay_steps=4 decay_rate=0.5 staircase=true": lambda t: 0.2 * 0.5 ** (t // 4),
    "PolynomialDecay decay_steps=5 end_learning_rate=0": lambda t: 0.2 * (1 - min(t, 5) / 5),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(schedule):
    name, *settings = schedule.split()
    arguments = [f"--autoencoder.schedule={name}", *(f"--autoencoder.schedule.{setting}" for setting in settings)]
    chosen = parse("--model=vae", "--autoencoder.learning_rate=0.2", *arguments).optimizers["autoencoder"]
    optimizer = make_optimizer(**chosen)
    for step in range(11):
        optimizer.iterations.assign(step)
        np.testing.assert_allclose(float(optimizer.learning_rate), SCHEDULES[schedule](step), rtol=1e-5, err_msg=step)


def test_names_have_no_case_lists_have_commas_and_paths_a_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    line = "--model=VAE --dataset=MNIST --autoencoder.optimizer=Adam --autoencoder.schedule=cosinedecay"
    more = "--autoencoder.schedule.decay_steps=3 --metrics=a,b --metrics=c --run_dir=~/r --data_dir=d"
    values = parse(*line.split(), *more.split()).values
    for flag, value in (
        ("model", "vae"), ("dataset", "mnist"), ("autoencoder.optimizer", "adam"),
        ("autoencoder.schedule", "CosineDecay"), ("metrics", ["a", "b", "c"]), ("run_dir", "/home/me/r"),
        ("data_dir", str(Path("d").absolute())),
    ):  # fmt: skip
        assert values[flag] == value


def test_operational_flags_may_change_and_others_not():
    old = parse("--model=vae", "--num_steps=5", "--data_dir=here").lines
    assert flags.differences(old, parse("--model=vae", "--log_every=7", "--noexport", "--run_dir=r")) == {}
    new = parse("--model=vae", "--latent_size=7", "--autoencoder.clipnorm=2")
    assert flags.differences(["# a user's comment", "", *old], new) == {
        "autoencoder.clipnorm": "autoencoder.clipnorm is unset there and 2.0 here",
        "latent_size": "latent_size is 20 there and 7 here",
    }
    older = [line for line in old if not line.startswith(("--beta=", "--latent_size="))]
    assert flags.differences(older, new).keys() == {"autoencoder.clipnorm", "latent_size"}  # beta has its default
    assert set(flags.OPERATIONAL) <= set(parse("--model=vae").values)


MISTAKES = {  # the command line -> what the sentence must say
    "--num_steps=5": f"--model is missing: give one of {', '.join(sorted(MODELS))}",
    "--model=vea": f"--model=vea is not one of {', '.join(sorted(MODELS))}.",
    "--model=vae --laten_size=3": "--laten_size is not a flag of the model vae; did you mean --latent_size",
    "--model=vae --generator.learning_rate=3": "--generator.learning_rate is not a flag of the model vae",
    "--model=gan --beta=1": "--beta is not a flag of the model gan",
    "--model=vae --autoencoder.nesterov": "--autoencoder.nesterov is not a flag of the model vae",  # it is SGD's
    "--model=vae --latent_size=two": "--latent_size=two is not an integer.",
    "--model=vae --beta=big": "--beta=big is not a finite number.",
    "--model=vae --hidden_units=3,x": "--hidden_units=3,x is not a comma-separated list of integers.",
    "--model=vae --export=perhaps": "--export=perhaps is not true or false.",
    "--model=vae --estimator=elbow": "--estimator=elbow is not one of elbo, iwae, jvi.",
    "--model=vae --num_steps=0": "--num_steps=0 is not a positive integer.",
    "--model=vae --seed=-1": "--seed=-1 is not an integer in the range [0, 4294967295].",
    "--model=vae --latent_size": "--latent_size",
    "--model=vae 7": "'7' is not a flag: flags are written --name=value.",
    "--flagfile=no/such.cfg": "the flagfile no/such.cfg can not be read: No such file or directory.",
    "--flagfile": "--flagfile with no argument",
    "--model=vae --run_dir=gs://bucket/run": "--run_dir=gs://bucket/run is not a path on this machine",
    "--model=vae --run_dir=a\udcff": "the path a\udcff is no UTF-8 text",
    "--model=vae --data_dir=s3://bucket": "--data_dir=s3://bucket is not a path on this machine",
    "--model=vae --beta=inf": "--beta=inf is not a finite number.",
    "--model=vae --autoencoder.learning_rate=nan": "--autoencoder.learning_rate=nan is not a finite number.",
    "--model=gmmn --bandwidths=1,nan": "--bandwidths=1,nan is not a comma-separated list of finite numbers.",
    "--model=vae --dataset=digit": "--dataset=digit is not one of digits, mnist",
    "--model=vae --autoencoder.optimizer=adan": "--autoencoder.optimizer=adan is not one of adadelta, ",
    "--model=vae --autoencoder.schedule=Cosine": "--autoencoder.schedule=Cosine is not one of CosineDecay, ",
    "--model=vae --autoencoder.schedule=CosineDecay": "give --autoencoder.schedule.decay_steps too.",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_sentence(line):
    with mistake(MISTAKES[line]):
        parse(*line.split())


@pytest.mark.slow
def test_a_flagfile_of_configs_runs_in_a_directory_of_its_name(monkeypatch):
    """Where its header and the page of results look for it."""
    monkeypatch.chdir(Path(__file__).parents[2])
    for file in sorted(Path("configs").rglob("*.cfg")):
        if file.stem not in ("base", "flow", "one_dimension", "posterior", "ring"):  # which others read
            assert parse(f"--flagfile={file}").run_dir == f"runs/{file.stem}"
