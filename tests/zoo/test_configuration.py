"""Constructors as configurations: what a family shares in arguments is said once, and each class can say otherwise."""

import pydoc
import warnings
from typing import Literal

import keras
import pytest
import tensorflow as tf

from zoo import (
    ALI,
    AVB,
    CGAN,
    DCGAN,
    GAN,
    GMMN,
    MODELS,
    VAE,
    AuxiliaryVAE,
    DensityRatio,
    HamiltonianVAE,
    HierarchicalVAE,
    Pushforward,
)  # fmt: skip
from zoo.adversarial.adversarial_game import AdversarialGame
from zoo.configuration import NONE, Argument, Configured
from zoo.game import Game
from zoo.variational.autoencoder import Autoencoder


class Family(Configured):
    shared_arguments = {
        "size": Argument(NONE, NONE, "int, the size, which has no default."),
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


class Heir(Own):
    """Has nothing of its own."""


def says(cls, argument):
    """The annotation, default and help that a class has for an argument."""
    parameter = cls.arguments()[argument]
    return parameter.annotation, parameter.default, cls.argument_help()[argument]


def test_what_a_class_does_not_say_is_its_familys():
    assert [(name, *says(Own, name)) for name in ("color", "size", "rate", "last")] == [
        ("color", *Family.shared_arguments["color"]),
        ("size", *Family.shared_arguments["size"]),
        ("rate", float, 0.25, "float, the rate in its own words."),
        ("last", str, "", "str, the last one: with a colon, and two lines."),
    ]
    assert list(Own.arguments()) == ["color", "size", "width", "rate", "last"] and Own.arguments()["width"].default == 3
    assert list(Own.argument_help()) == ["color", "size", "rate", "last"]
    assert Own.__doc__.startswith("Has arguments of its own") and Own.__doc__.endswith("ValueError: never.")
    annotation, default, text = Family.shared_arguments["rate"]
    assert says(Plain, "rate") == (annotation, default, " ".join(text.split()))
    assert_lines_are_short(Plain)
    assert Heir.arguments() == Own.arguments() and Heir.__doc__ == "Has nothing of its own."
    model = Heir(size=2, last="end")
    assert model.get_config() == {"color": "red", "size": 2, "width": 3, "rate": 0.25, "last": "end"}
    assert Own.from_config(model.get_config()).get_config() == model.get_config()
    with pytest.raises(TypeError, match="size"):
        Own()
    with pytest.raises(ValueError, match="color must be one of red, green, not 'blue'"):
        Own(size=2, color="blue")


def assert_lines_are_short(cls):
    assert all(len(line) <= 116 for line in cls.__doc__.splitlines())


@pytest.mark.parametrize("rest", ["", "\n\n    Example:\n\n        Shared(size=1)\n    "])
def test_a_class_without_a_text_of_its_own_has_that_of_its_family(rest):
    class Shared(Family):
        __doc__ = "All is shared." + rest

        def __init__(self, *, size, color):
            super().__init__(locals())

    assert list(Shared.argument_help()) == ["size", "color"]
    assert Shared.__doc__.startswith("All is shared.\n\nArgs:\n    size: int")
    assert Shared.__doc__.endswith("Example:\n\n    Shared(size=1)" if rest else '"green".')


@pytest.mark.parametrize("cls", MODELS.values(), ids=MODELS)
def test_every_argument_of_every_model_is_documented(cls):
    assert all(cls.argument_help().values())
    assert_lines_are_short(cls)
    page = pydoc.plain(pydoc.render_doc(cls))
    assert all(f"{argument}: {text.split()[0]}" in page for argument, text in cls.argument_help().items())


@pytest.mark.parametrize("family, classes, argument", [
    (Game, list(MODELS.values()), "seed"),
    (Game, [GAN, VAE], "data_shape"),
    (AdversarialGame, [CGAN, DCGAN, GAN, ALI], "penalty_weight"),
    (Autoencoder, [VAE, AVB], "likelihood"),
])  # fmt: skip
def test_families_say_it_once(family, classes, argument):
    assert all(says(cls, argument) == family.shared_arguments[argument] for cls in classes)


def test_ali_says_otherwise():
    """Of its prior and its sizes: another default, and of the prior another text."""
    size, prior = (AdversarialGame.shared_arguments[argument] for argument in ("latent_size", "prior"))
    assert says(ALI, "latent_size")[1:] == (64, size.help) and size.default != 64
    assert says(ALI, "prior")[1] == "normal" != prior.default
    assert "tanh" in says(ALI, "prior")[2] and "tanh" not in prior.help


# --- Arguments out of their ranges ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls, arguments, message", [
    (VAE, {"estimator": "elbow"}, "estimator must be one of elbo, iwae, jvi, not 'elbow'"),
    (VAE, {"network": None}, "network must be one of"),
    (GAN, {"loss": "wasserstain"}, "loss must be one of minimax, .*, not 'wasserstain'"),
    (GAN, {"prior": "Normal"}, "prior must be one of"),
    *((cls, {"prior": "ring", "latent_size": 1}, "latent_size must be at least 2") for cls in (GAN, GMMN)),
    (VAE, {"latent_size": 0}, "latent_size must be at least 1, not 0"),
    (VAE, {"hidden_units": (5, 0)}, "hidden_units must be at least 1"),
    (GAN, {"generator_units": [-3]}, "generator_units must be at least 1"),
    (GAN, {"num_discriminator_steps": -1}, "num_discriminator_steps must be at least 1"),
    (DCGAN, {"filters": 0}, "filters must be at least 1"),
    (VAE, {"beta": -0.5}, "beta must not be negative, but is -0.5"),
    (VAE, {"beta": -1}, "beta must not be negative"),
    (VAE, {"beta": float("nan")}, "beta must be finite, but is nan"),
    (GAN, {"loss": "alpha", "loss_parameter": float("nan")}, "loss_parameter must be finite"),
    (GAN, {"loss": "alpha", "loss_parameter": 0.0}, "loss_parameter must be neither 0 nor 1 .*, got 0.0"),
    (GAN, {"loss": "alpha_non_saturating", "loss_parameter": 1.0}, "loss_parameter must be neither 0 nor 1"),
    (GAN, {"loss": "weighted_jensen_shannon", "loss_parameter": 1.5}, "loss_parameter must be between 0 and 1"),
    (GAN, {"loss": "wasserstein", "penalty": "roth"}, "roth takes D's output for a logit, which the loss wasserstein"),
    (ALI, {"loss": "gan", "penalty": "roth"}, "roth takes D's output for a logit"),
    (GAN, {"weight_constraint": "clipping", "clip_value": 0.0}, "clip_value must be positive"),
    (DCGAN, {"penalty": "r1"}, "discriminator_batch_norm"),
    (ALI, {"penalty": "r1", "discriminator_batch_norm": True}, "discriminator_batch_norm"),
    (CGAN, {"num_classes": 3, "penalty": "r1", "network": "convolutional"}, "discriminator_batch_norm"),
    (VAE, {"beta": float("inf")}, "beta must be finite, but is inf"),
    (GMMN, {"bandwidths": (1.0, float("inf"))}, "bandwidths must be finite"),
    (VAE, {"data_shape": (8, 8)}, "data_shape must be"),
    (VAE, {"data_shape": (8, 8, 0)}, "data_shape must be"),
    (AVB, {"adversary_units": ()}, "adversary_units must not be empty"),
    *((cls, {"network": "convolutional", "hidden_units": (), **more}, "hidden_units must not be empty")
      for cls, more in [(AVB, {"adaptive_contrast": False}), (AVB, {"adversary_network": "residual"}),
                        (HamiltonianVAE, {}), (AuxiliaryVAE, {})]),
    (HamiltonianVAE, {"step_size": 0.0}, "step_size must be positive"),
    (HamiltonianVAE, {"num_transitions": -1}, "num_transitions must be at least 0"),
    (HierarchicalVAE, {"latent_sizes": ()}, "latent_sizes must not be empty"),
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


def test_convolutions_do_not_follow_keras_json():
    keras.config.set_image_data_format("channels_first")
    try:
        model = DCGAN(data_shape=(8, 8, 1), filters=1, latent_size=2)
        assert model.decode(tf.zeros([3, 2])).shape == (3, 8, 8, 1)
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.slow
def test_arguments_in_range():
    model = VAE(data_shape=[4, 4, 1], hidden_units=[], beta=0, seed=-5, latent_size=2)
    assert model.hidden_units == () and model.beta == 0.0 and model.seed == -5 and model.data_shape == (4, 4, 1)
    assert model.get_config()["beta"] == 0.0 and not hasattr(model, "values")
    assert VAE(data_shape=(2,), hidden_units=3).hidden_units == (3,)
    CGAN(data_shape=(2,), num_classes=3, generator_units=(5, 4), discriminator_units=(5, 4))  # no joint layers
    GAN(data_shape=(2,), loss="alpha", loss_parameter=-1.0)
    DCGAN(data_shape=(8, 8, 1), filters=1, penalty="r1", discriminator_batch_norm=False)


@pytest.mark.parametrize("arguments, num_warnings", [
    ({}, 1), ({"penalty": "wgan_gp"}, 0), ({"weight_constraint": "clipping"}, 0), ({"loss": "hinge"}, 0),
])  # fmt: skip
def test_a_critic_without_bounds_is_warned_of(arguments, num_warnings):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        GAN(**{"data_shape": (2,), "loss": "wasserstein", **arguments})
    assert len(caught) == num_warnings
    assert all("give it a penalty" in str(w.message) and w.filename == __file__ for w in caught)
