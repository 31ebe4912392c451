"""Data as users hand them to `fit` and its like: served data, told apart and checked before a step sees them."""

import keras
import numpy as np
import tensorflow as tf

# Callbacks that set the learning rate of `model.optimizer`, of which a game has one for each move.
OF_ONE_OPTIMIZER = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)
ROWS_AT_ONCE = 2**14  # that are looked at: a set may be larger than memory
ROUNDING = 1e-3  # how far outside [0, 1] a pixel may be


def classes(label, allowed=None):
    """Labels as a tensor; ValueError unless they are integers [n], and in the range `allowed` where they are known."""
    label = tf.convert_to_tensor(label)
    if not label.dtype.is_integer or label.shape.rank not in (1, None):
        raise ValueError(f"labels must be integers [n], not {label.dtype.name} of rank {label.shape.rank}.")
    known = None if allowed is None else tf.get_static_value(label)  # None within a graph
    others = [] if known is None else np.setdiff1d(known, allowed)
    if len(others):
        raise ValueError(f"labels must be {allowed[0]} to {allowed[-1]}, the classes, but {others[0]} is among them.")
    return label


class Inputs:
    """Of a Keras model with `data_shape`, `data_range`, `from_served`, `labelled` and `batches_per_step`.

    It takes what it serves: pixels in [0, 1], or integers in [0, 255], and points as they are; and where it is
    `labelled`, an integer for each row. Keras's methods take arrays, which are looked at as a whole before the first
    step, or a `tf.data.Dataset`, of which one batch is.
    """

    def fit(self, x=None, y=None, batch_size=None, *args, **kwargs):
        """As Keras's, after `check_rows` and `check_batches`. Callbacks that monitor a loss take less for better."""
        self._check_options(**kwargs)
        for callback in keras.tree.flatten(kwargs.get("callbacks")):  # one, or a list
            if isinstance(callback, OF_ONE_OPTIMIZER):
                raise ValueError(
                    f"{type(callback).__name__} sets the rate of one optimizer, and {type(self).__name__} has one for "
                    "each move: give these a schedule out of keras.optimizers.schedules."
                )
            if getattr(callback, "mode", None) == "auto" and getattr(callback, "monitor", "").endswith("_loss"):
                callback.mode = "min"
        held_out = kwargs.get("validation_data")
        for rows, divided in ((self._rows_of(x, y), True), (self._rows_of(held_out), False)):
            if rows is not None:
                self.check_rows(*rows)
                if divided:
                    size = len(rows[0])
                    self.check_batches(size, size if isinstance(x, tf.data.Dataset) else batch_size or 32)
        return super().fit(x, y, batch_size, *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """As Keras's, after `check_rows`."""
        self._check_options(**kwargs)
        if (rows := self._rows_of(x, y)) is not None:
            self.check_rows(*rows)
        return super().evaluate(x, y, *args, **kwargs)

    def train_on_batch(self, x, y=None, return_dict=False):
        """As Keras's, after `check_rows`."""
        self.make_train_function()
        return self._on_batch(self.train_function, x, y, return_dict)

    def test_on_batch(self, x, y=None, return_dict=False):
        """As Keras's, after `check_rows`."""
        self.make_test_function()
        return self._on_batch(self.test_function, x, y, return_dict)

    def _on_batch(self, function, x, y, return_dict):
        self.check_rows(x, y)
        self.reset_metrics()
        batch = tf.convert_to_tensor(x) if y is None else (tf.convert_to_tensor(x), tf.convert_to_tensor(y))
        logs = {name: float(value) for name, value in function(iter([batch])).items()}
        return logs if return_dict else list(logs.values())

    @staticmethod
    def _rows_of(x, y=None):
        """(x, labels) of what a Keras method takes, of a dataset its first batch; None where that is not known."""
        if isinstance(x, tf.data.Dataset):
            x = next(iter(x), None)
        if isinstance(x, list | tuple):
            if not all(hasattr(part, "__array__") for part in x):
                raise ValueError("rows come as arrays, not as lists: call numpy.asarray on them.")
            if y is None:
                return x
        return None if x is None or not hasattr(x, "__array__") else (x, y)

    def received(self, data, divided):
        """What a step makes of a batch: x, float32 in the networks' range, or (x, label).

        `divided` is whether the step takes it as `batches_per_step` minibatches, as that of training does.

        Raises:
            ValueError: for labels that are missing or not taken, another shape, or rows that can not be divided.
        """
        x, label = self._told_apart(*data) if isinstance(data, list | tuple) else self._told_apart(data)
        x = tf.convert_to_tensor(x)
        self._check_shape(x.shape)
        if divided and x.shape[0] is not None:
            self._check_division(x.shape[0])
        if self.data_name == "images" and x.dtype.is_integer:
            x = tf.cast(x, tf.float32) / 255.0
        x = self.from_served(tf.cast(x, tf.float32))
        return (x, label) if self.labelled else x

    def of_data(self, data):
        """[x, *y] of what a step takes, y being what networks are told of the label where they are told of any."""
        return [data[0], *self.conditions(label=data[1])] if self.labelled else [data]

    def check_rows(self, x, label=None):
        """Raises ValueError for rows that a step can not take or should not: as `received`, and by their values.

        `x` and `label` are arrays, or what becomes an array.
        """
        x, label = self._told_apart(x, label)
        x = np.asarray(x)
        self._check_shape(x.shape)
        if not x.size:
            raise ValueError("there are no rows to learn from or to measure: give one at least.")
        if x.dtype == np.uint8 and self.data_name == "images":  # which can be nothing else
            return
        chunks = [x[start : start + ROWS_AT_ONCE] for start in range(0, len(x), ROWS_AT_ONCE)]
        low, high = np.min([chunk.min() for chunk in chunks]), np.max([chunk.max() for chunk in chunks])
        if not np.isfinite([low, high]).all():  # the least and the largest are not, where any is not
            raise ValueError("the data hold numbers that are not finite: leave out their rows.")
        if self.data_range is None:
            return
        largest = 255 if self.data_name == "images" and x.dtype.kind in "iu" else 1.0 + ROUNDING
        if low < -ROUNDING or high > largest:
            kind, mend = {
                "images": ("pixels, integers in [0, 255] or floats", "scale them"),
                "points": ("points", "scale them, or choose a likelihood or a model of any real numbers"),
            }[self.data_name]
            raise ValueError(f"the model takes {kind} in [0, 1], and these run from {low:.3g} to {high:.3g}: {mend}.")

    def check_batches(self, num_rows, batch_size):
        """Raises ValueError if a batch, the last one included, can not be divided into `batches_per_step`."""
        for size in {min(batch_size, num_rows), num_rows % batch_size} - {0}:
            self._check_division(size)

    def _check_options(self, sample_weight=None, class_weight=None, **_):
        if sample_weight is not None or class_weight is not None:
            raise ValueError(f"{type(self).__name__} takes no weights of samples.")

    def _told_apart(self, x, label=None, weight=None):
        name = type(self).__name__
        self._check_options(weight)
        if self.labelled and label is None:
            raise ValueError(f"{name} needs the label of each row: call fit(x, label), or give batches (x, label).")
        if not self.labelled and label is not None:
            raise ValueError(f"{name} learns from x alone: call fit(x), or give batches of x.")
        return x, label

    def _check_shape(self, shape):
        shape = tuple(shape)
        if shape[1:] != self.data_shape:
            ending = ": give it a last axis, x[..., None]" if shape[1:] + (1,) == self.data_shape else ""
            expected = ", ".join(map(str, self.data_shape))
            raise ValueError(f"{type(self).__name__} takes rows of shape [n, {expected}], not {list(shape)}{ending}.")

    def _check_division(self, size):
        if size % self.batches_per_step:
            parts = f"{self.batches_per_step} minibatches of one size"
            raise ValueError(f"a step takes {parts}, which {size} rows do not give: make batches a multiple of them.")
