"""An exported model wherever it runs: in this process here, behind a server in export/servers.py.

All have the same interface:

    signatures   dict, name -> `Signature`
    ask          method: a signature's name and its inputs, dict of numpy arrays -> its outputs, dict of numpy arrays
    batch        rows that one request may have; `ask` splits what is larger
    suffix       what the names of the signatures end in that are asked for samples, where the model has them
    num_classes  int, or None where it is unknown or the model has none
"""

import abc
import functools
import itertools
from dataclasses import dataclass

import numpy as np

from common import cli


@dataclass(frozen=True)
class Signature:
    """inputs: dict, name -> shape of one row; outputs: dict, name -> its array of no rows."""

    inputs: dict
    outputs: dict


class Runtime(abc.ABC):
    """What all runtimes share."""

    suffix = ""

    def ask(self, name, inputs):
        """The answers to all rows: dict, name -> array, in the order of the names.

        Args:
            name: str, a signature.
            inputs: dict, name -> array whose dimension 0 is the batch.

        Raises:
            UserError: if the model has no such signature or refuses the inputs, or the server does not answer.
        """
        self.require(name)
        num = len(next(iter(inputs.values())))
        if not num:  # a server that batches would not answer until another asks
            return dict(sorted(self.signatures[name].outputs.items()))
        parts = []
        for first in range(0, num, self.batch):
            parts.append(self._ask({key: value[first : first + self.batch] for key, value in inputs.items()}, name))
        return {key: np.concatenate([part[key] for part in parts]) for key in sorted(parts[0])}  # gRPC's have no order

    @abc.abstractmethod
    def _ask(self, inputs, name):
        """The same for at most `batch` rows."""

    def require(self, name):
        """The signature of a name. Raises `UserError` where the model has none."""
        if name not in self.signatures:
            found = ", ".join(sorted(self.signatures))
            raise cli.UserError(f"{self} has no signature named {name}; it has {found}.")
        return self.signatures[name]

    @functools.cached_property
    def num_classes(self):
        """Of a conditional model: which labels there are, its answers say by `valid`."""
        if "label" not in self.require("sample").inputs:
            return None
        for first in itertools.count(0, self.batch):
            labels = np.arange(first, first + self.batch)
            valid = self.ask("sample", {"seed": labels, "label": labels})["valid"]
            if not valid.all():
                return first + int(np.argmin(valid))


class Local(Runtime):
    """A SavedModel in this process.

    Args:
        version: path of the SavedModel.
        num_classes: int, or None where it is unknown.

    Raises:
        UserError: if it can not be read.
    """

    batch = 256

    def __init__(self, version, num_classes=None):
        with cli.quiet():
            import tensorflow as tf
        self.version, self.num_classes = version, num_classes
        try:
            self.model = tf.saved_model.load(str(version))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise cli.UserError(f"the SavedModel in {version} can not be read: export the model again.") from error
        self.signatures = {
            name: Signature(
                {key: tuple(spec.shape[1:]) for key, spec in function.structured_input_signature[1].items()},
                {
                    key: np.empty([0, *spec.shape[1:]], spec.dtype.as_numpy_dtype)
                    for key, spec in function.structured_outputs.items()
                },
            )
            for name, function in self.model.signatures.items()
        }

    def __str__(self):
        return f"the SavedModel in {self.version}"

    def _ask(self, inputs, name):
        import tensorflow as tf

        answer = self.model.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
        return {key: value.numpy() for key, value in answer.items()}
