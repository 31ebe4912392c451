"""What a dataset is, once it is in memory."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset in memory.

    Attributes:
      train, test: uint8 [N, height, width, channels], 0 to 255 (binary images: 0 and 255), or float32 [N, D] points.
      train_labels, test_labels: int64 [N], 0 ... num_classes - 1; None, as is num_classes, in a set without labels.
      checksum: sha256 (hex) over the sha256 of the source files in a fixed order, or over arrays that have no files.
      licence: one line for a model card.
      citation: what whoever uses the data is asked to cite, as text of any lines, such as BibTeX; None where not known.
      modes, mode_std: float32 [M, D] centres of a Gaussian mixture, label i being mode i, and its standard deviation.
      class_names: list of `num_classes` str, the name of label i; None where classes have no names.
      channel: `Data` out of whose images the channels of one here are drawn, each on its own; the digits of a label, to
        the base of its `num_classes`, are their labels. None where images are no such stacks.
      factors: dict, name -> int64 [N], the values of what else the training rows vary in, beside their labels; None
        where that is not known.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None
    test_labels: np.ndarray | None
    num_classes: int | None
    checksum: str
    licence: str
    modes: np.ndarray | None = None
    mode_std: float | None = None
    class_names: list | None = None
    channel: "Data | None" = None
    factors: dict | None = None
    citation: str | None = None

    @property
    def shape(self):
        """Shape of one example: (height, width, channels) or (D,)."""
        return self.train.shape[1:]
