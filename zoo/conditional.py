"""What games of rows of a class have in common: their networks are told y, the one-hot vector of a row's label."""

import numpy as np
import tensorflow as tf

from zoo.inputs import classes


class Conditional:
    """Of a `Game` with an argument `num_classes`, named before it among the parents of a class.

    With an argument `conditional` too, it is so on request: otherwise the game takes no labels, and there is no y.

    Labels that are no classes are refused where their numbers are known: by `fit` (of arrays, before the first step),
    and by steps and what is served outside of graphs. To condition on other vectors than those of classes, override
    `condition_size` and `condition`.
    """

    conditional = True

    def check_arguments(self):
        super().check_arguments()
        if not self.conditional:
            self.num_classes = None  # as of any model that takes no labels
        elif self.num_classes is None:
            raise ValueError("a conditional model needs num_classes, how many classes the labels are of.")

    @property
    def condition_size(self):
        """The length of y; 0 where there is none."""
        return self.num_classes if self.conditional else 0

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
