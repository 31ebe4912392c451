"""The models that the tests share: those of the digits flagfiles, as small as a check allows."""

import contextlib
import functools
import typing
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from trainers import flags
from trainers.data import held_out_batches, load
from zoo import MODELS

ROOT = Path(__file__).parents[1]
DIGITS = load("digits")  # 8x8, whatever side a flagfile enlarges them to: checks are to be fast
SEEDS = tf.constant([3, 1, 4, 1, 5, 9, 2, 6], tf.int64)
LARGEST = 4  # of units, filters, draws and steps: what is checked is the code, which is the same for any number


def of_each_model(names):
    """Parameters for the tests of models; all tests of one run in the same process and share what is made for it."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name.split()[0])) for name in names]


def settings_of(name, *more):
    """Those of a model's digits flagfile; a variant's name is that of the model and the flags that make it."""
    model, *variant = name.split()
    flagfile = f"--flagfile=configs/{model}_digits.cfg"
    with contextlib.chdir(ROOT):  # flagfiles name each other from there
        return flags.parse(["trainers.run", flagfile, "--image_side=8", *variant, *more])


def smallest(cls, settings):
    """Arguments of a model in which no integer is larger than `LARGEST`."""
    small = {}
    for name, value in settings.items():
        annotation = cls.arguments()[name].annotation
        if annotation is int and name != "seed":
            value = min(value, LARGEST)
        elif typing.get_origin(annotation) is tuple and typing.get_args(annotation)[0] is int:
            value = tuple(min(number, LARGEST) for number in value)
        small[name] = value
    return small


def small_flags(name):
    """The same as flags, for a command."""
    settings = settings_of(name)
    small = smallest(settings.model_class, settings.model_settings)
    changed = {key: value for key, value in small.items() if value != settings.model_settings[key]}
    return [f"--{key}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for key, v in changed.items()]


def make(model_name, *, optimizers=None, compiled=True, **overrides):
    """The smallest model of a digits flagfile, with weights from seed 0."""
    settings = settings_of(model_name)
    keras.utils.set_random_seed(0)
    cls = settings.model_class
    of_data = {"data_shape": DIGITS.shape, "num_classes": DIGITS.num_classes, "num_train": len(DIGITS.train)}
    arguments = {name: value for name, value in of_data.items() if name in cls.arguments()}
    model = cls(**{**arguments, **smallest(cls, settings.model_settings), **overrides})
    if compiled:
        model.compile(optimizers and {move: optimizers() for move in model.moves}, jit_compile=False)
    return model


@functools.cache
def _a_hundred_rows(with_labels):
    return next(iter(held_out_batches(DIGITS, 100, with_labels=with_labels)))


def batch_of(model, size=8, first=0):
    """One batch of digits as `train_step` takes it."""
    rows = slice(first, first + size * model.batches_per_step)
    return tf.nest.map_structure(lambda x: x[rows], _a_hundred_rows(model.labelled))


def names(number=None):
    """The models that do not exempt themselves from a check."""
    return [name for name, cls in sorted(MODELS.items()) if number not in cls.exceptions]
