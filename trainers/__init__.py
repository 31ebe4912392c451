"""From flagfiles to trained and measured models. `from_run` gives the model of a run back."""


def from_run(run_dir):
    """`trainers.initial_weights.from_run`: the trained Keras model of a run, to be trained further."""
    from trainers import initial_weights  # brings TensorFlow, which commands start when they have read their flags

    return initial_weights.from_run(run_dir)
