"""What games of rows of a class have in common: their networks are told y, the one-hot vector of a row's label."""

import numpy as np
import tensorflow as tf

from zoo.inputs import classes


class Conditional:
    """Of a `Game` with an argument `num_classes`, named before it among the parents of a class.

    A game that can do without labels has an argument `conditional`, too; where that is false, it is as any other.

    Labels that are no classes are refused where their numbers are known: by `fit` (of arrays, before the first step),
    and by steps and what is served outside of graphs. To condition on other vectors than those of classes, override
    `condition_size` and `condition`.
    """

    conditional = True

    @property
    def condition_size(self):
        """The length of y."""
        return self.num_classes

    def condition(self, label):
        """y, float32 [batch, condition_size], of labels [batch]; ValueError where they are known to be no classes."""
        return tf.one_hot(classes(label, range(self.num_classes)), self.num_classes)

    def conditions(self, label=None):
        if not self.conditional:
            return super().conditions()
        if label is None:
            raise ValueError(f"{type(self).__name__} is of rows of a class: give the label of each row.")
        return [self.condition(label)]

    def check_rows(self, x, label=None):
        super().check_rows(x, label)
        if self.conditional:
            self.condition(np.unique(label, axis=0))  # refuses what it can not take
