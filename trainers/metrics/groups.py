"""What style and content of a model of groups tell of the labels, and whether its decoder heeds them."""

import numpy as np
import tensorflow as tf

from common import pictures
from common.cli import progress
from common.graph import graph
from trainers import classifier
from trainers.metrics.representation import linear_classifier
from trainers.metrics.rows import real_rows, require, share


def group_probe(run, data, options):
    """Share of test rows that linear classifiers, as in `linear_probe`, are right on: of style, content, and groups'.

    `style` and `content` are those of each row by itself. `content_of_group` is that of all rows of its label among
    `batch_size` rows, for training and for test rows: it has been told which rows of the test set have one label, as
    in Bouchacourt et al. 2018, and is not what a row alone could be classified by. Its rows are right or
    wrong by groups, as its error takes into account. Chance is the share of the most frequent label.
    """
    require(hasattr(run.model, "encode_group"), "the model knows no groups")
    (learner, rows), report = linear_classifier(data), {}
    train, test = (_codes(run, data, options, split) for split in ("train", "test"))
    for space in ("style", "content", "content_of_group"):
        right = learner.fit(train[space][rows], data.train_labels[rows]).predict(test[space]) == data.test_labels
        report |= share(space, right)
    groups = np.arange(len(right)) // options.batch_size * data.num_classes + data.test_labels
    of_groups = np.bincount(groups, right - right.mean())
    report["content_of_group_standard_error"] = float(np.sqrt(np.sum(np.square(of_groups))) / len(right))
    chance = float(np.mean(data.test_labels == np.bincount(data.train_labels).argmax()))
    return report | {"chance": chance, "num_train": len(rows), "num_test": len(data.test)}


def _codes(run, data, options, split):
    """Dict, space -> [n, size] of all rows of a split."""
    model, images, labels = run.model, real_rows(run, data, split), getattr(data, f"{split}_labels")
    group, parts = run.memory.setdefault(("graph", "encode_group"), graph(model.encode_group)), []
    for i in range(0, len(images), options.batch_size):
        x, label = (tf.constant(rows[i : i + options.batch_size]) for rows in (images, labels))
        alone, together = (group(x, of) for of in (tf.range(len(x), dtype=label.dtype), label))
        parts.append({**alone, "content_of_group": together["content"]})
    return {space: np.concatenate([part[space] for part in parts]) for space in parts[0]}


def style_content_swaps(run, data, options):
    """The classes of images decoded from the style of one test row and the content of another, which the judge tells.

    `class_of_content` is the share that has the class of the row that gave the content, `class_of_style` of the other;
    rows are shuffled to pairs of all classes. RUN_DIR/swaps.png has test rows of each class in its first line, which
    give content, and in its first column, which give style.
    """
    require(hasattr(run.model, "swap"), "the model has no style and content to swap")
    require(classifier.has_judge(data), "nothing tells the class of an image")
    swap, n = graph(run.model.swap), len(data.test)
    num = min(options.num_model_samples or n, n)
    rng = np.random.default_rng(options.seed)
    pairs = [rng.permutation(n)[:num] for _ in ("style", "content")]
    bar, parts = progress("swaps", num, "pair"), []
    for i in range(0, num, options.batch_size):
        of_pair = [tf.constant(real_rows(run, data, "test", of[i : i + options.batch_size])) for of in pairs]
        parts.append(swap(*of_pair).numpy())
        bar.add(len(parts[-1]))
    judge = classifier.judge_of(data)
    classes = judge.classes(np.concatenate(parts))
    of_style, of_content = (classes == data.test_labels[rows] for rows in pairs)
    _picture(run, data, swap)
    report = share("class_of_content", of_content) | share("class_of_style", of_style)
    return report | {"judge": judge.checksum, "judge_accuracy": judge.accuracy, "num_pairs": num}


def _picture(run, data, swap):
    first = [np.flatnonzero(data.test_labels == label)[:2] for label in np.unique(data.test_labels)]
    contents, styles = (real_rows(run, data, "test", [rows[i] for rows in first]) for i in (0, -1))
    num = len(contents)
    swapped = swap(tf.repeat(styles, num, axis=0), tf.tile(contents, [num, 1, 1, 1])).numpy()
    lines = [np.concatenate([np.ones_like(contents[:1]), contents])]
    lines += [np.concatenate([style[None], swapped[i * num : (i + 1) * num]]) for i, style in enumerate(styles)]
    pictures.grid(np.concatenate(lines), run.path / "swaps.png", columns=num + 1)
