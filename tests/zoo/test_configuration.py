"""Constructors as configurations: what a family shares in arguments is said once, and each class can say otherwise."""

import inspect
import pydoc
from typing import Literal

import pytest

from zoo import ALI, AVB, CGAN, DCGAN, GAN, GMMN, MODELS, VAE, DensityRatio, Pushforward
from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.configuration import LINE_LENGTH, Argument, Configured, entries
from zoo.game import Game
from zoo.variational.autoencoder import Autoencoder


class Family(Configured):
    shared_arguments = {
        "size": Argument(inspect.Parameter.empty, inspect.Parameter.empty, "int, the size, which has no default."),
        "color": Argument(Literal["red", "green"], "red", '"red" or "green".'),
        "rate": Argument(float, 0.5, f"float, {'word ' * 40}in many words."),
    }

    def __init__(self, arguments):
        self.set_arguments(arguments)


class Own(Family):
    """Has arguments of its own between those of its family.

    Args:
        last: str, the last one: with a colon, and
            two lines.
        rate: float, the rate in its own words.

    Raises:
        ValueError: never.
    """

    def __init__(self, *, color, size, width: int = 3, rate: float = 0.25, last: str = ""):
        super().__init__(locals())


class Plain(Family):
    """Has the family's arguments only.

    Args:
        none of its own.
    """

    def __init__(self, *, rate, size):
        super().__init__(locals())


def test_what_a_class_does_not_say_is_its_familys():
    arguments = Own.arguments()
    assert list(arguments) == ["color", "size", "width", "rate", "last"]
    assert arguments["color"].annotation == Literal["red", "green"] and arguments["color"].default == "red"
    assert arguments["size"].default is inspect.Parameter.empty is arguments["size"].annotation
    assert arguments["rate"].default == 0.25 and arguments["width"].default == 3
    assert Plain.arguments()["rate"].default == 0.5 and Plain.arguments()["rate"].annotation is float
    model = Own(size=2, last="end")
    assert model.get_config() == {"color": "red", "size": 2, "width": 3, "rate": 0.25, "last": "end"}
    assert Own.from_config(model.get_config()).get_config() == model.get_config()
    with pytest.raises(TypeError, match="size"):
        Own()
    with pytest.raises(ValueError, match="color must be one of red, green, not 'blue'"):
        Own(size=2, color="blue")


def test_docstrings_are_completed_in_the_order_of_the_signature():
    assert entries(Own.__doc__) == [
        ("color", '"red" or "green".'),
        ("size", "int, the size, which has no default."),
        ("rate", "float, the rate in its own words."),
        ("last", "str, the last one: with a colon, and two lines."),
    ]
    assert Own.argument_help() == dict(entries(Own.__doc__))
    assert Own.__doc__.startswith("Has arguments of its own") and Own.__doc__.endswith("ValueError: never.")
    assert Plain.argument_help()["rate"] == " ".join(Family.shared_arguments["rate"].help.split())
    assert all(len(line) <= LINE_LENGTH for line in Plain.__doc__.splitlines())


def test_a_class_inherits_a_constructor_with_its_documentation():
    class Heir(Own):
        """Has nothing of its own."""

    assert Heir.arguments() == Own.arguments() and Heir(size=1).size == 1
    assert Heir.__doc__ == "Has nothing of its own."


@pytest.mark.parametrize("name", MODELS)
def test_every_argument_of_every_model_is_documented(name):
    cls = MODELS[name]
    assert [argument for argument, text in entries(cls.__doc__) if text] == list(cls.arguments())
    for argument, parameter in cls.arguments().items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        if argument not in ("data_shape", "num_classes"):
            assert parameter.annotation is not inspect.Parameter.empty
            assert parameter.default is not inspect.Parameter.empty
    assert all(len(line) <= LINE_LENGTH for line in cls.__doc__.splitlines())
    page = pydoc.plain(pydoc.render_doc(cls))
    for argument, text in entries(cls.__doc__):
        assert f"{argument}: {text.split()[0]}" in page


@pytest.mark.parametrize("family, classes, argument", [
    (Game, list(MODELS.values()), "seed"),
    (Game, [GAN, VAE], "data_shape"),
    (AdversarialGame, [CGAN, DCGAN, GAN, ALI], "penalty_weight"),
    (Autoencoder, [VAE, AVB], "likelihood"),
])  # fmt: skip
def test_families_say_it_once(family, classes, argument):
    shared = family.shared_arguments[argument]
    for cls in classes:
        parameter = cls.arguments()[argument]
        assert (parameter.annotation, parameter.default) == (shared.annotation, shared.default)
        assert cls.argument_help()[argument] == shared.help


def test_ali_says_otherwise():
    """Of its prior and its sizes: another default, and of the prior another text."""
    shared = AdversarialGame.shared_arguments
    assert ALI.arguments()["latent_size"].default == 64 != shared["latent_size"].default
    assert ALI.argument_help()["latent_size"] == shared["latent_size"].help
    assert ALI.arguments()["prior"].default == "normal" != shared["prior"].default
    assert "tanh" in ALI.argument_help()["prior"] and "tanh" not in shared["prior"].help


# --- Arguments out of their ranges ------------------------------------------------------------------------------------


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
    (DensityRatio, {"data_shape": (2,), "network": "convolutional"}, "square images"),
    (ALI, {"network": "convolutional", "data_shape": (7,)}, "square"),
    (ALI, {"prior": "uniform"}, "support"),
    (ALI, {"posterior": "implicit", "network": "convolutional"}, "network mlp"),
    (ALI, {"posterior": "laplace"}, "one of"),
    (ALI, {"dropout": 1.0}, "below 1, not 1.0"),
    (CGAN, {"num_classes": 3, "dropout": 1.0}, "dropout must be less than 1"),
    (CGAN, {"num_classes": 3, "generator_units": (5,)}, "generator_units must be two widths or more, not .5,."),
    (CGAN, {"num_classes": 3, "discriminator_units": (5,)}, "discriminator_units must be two widths or more, not .5,."),
    (GMMN, {"bandwidths": ()}, "bandwidths must be"),
    (GMMN, {"bandwidths": (0.0, 1.0)}, "bandwidths must be"),
    (Pushforward, {"function": "exp"}, "pixels lie in"),
    (Pushforward, {"function": "square"}, "pixels lie in"),
])  # fmt: skip
def test_arguments_out_of_range(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**{"data_shape": (8, 8, 1), **arguments})


def test_arguments_in_range():
    model = VAE(data_shape=[4, 4, 1], hidden_units=[], beta=0, seed=-5, latent_size=2)
    assert model.hidden_units == () and model.beta == 0.0 and model.seed == -5 and model.data_shape == (4, 4, 1)
    assert model.get_config()["beta"] == 0.0 and not hasattr(model, "values")
    CGAN(data_shape=(2,), num_classes=3, generator_units=(5, 4), discriminator_units=(5, 4))  # no joint layers
