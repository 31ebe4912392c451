"""Constructors as configurations: what a family shares in arguments is said once, and each class can say otherwise."""

import inspect
import pydoc
from typing import Literal

import pytest

from zoo import MODELS
from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.adversarial.dcgan import DCGAN
from zoo.adversarial.gan import GAN
from zoo.configuration import LINE_LENGTH, Argument, Configured, entries
from zoo.game import Game
from zoo.variational.autoencoder import Autoencoder
from zoo.variational.avb import AVB
from zoo.variational.vae import VAE


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
    (AdversarialGame, [MODELS["cgan"], DCGAN, GAN, MODELS["ali"]], "penalty_weight"),
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
    ali, shared = MODELS["ali"], AdversarialGame.shared_arguments
    assert ali.arguments()["latent_size"].default == 64 != shared["latent_size"].default
    assert ali.argument_help()["latent_size"] == shared["latent_size"].help
    assert ali.arguments()["prior"].default == "normal" != shared["prior"].default
    assert "tanh" in ali.argument_help()["prior"] and "tanh" not in shared["prior"].help
