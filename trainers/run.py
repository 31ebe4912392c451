"""Trains a model: `python -m trainers.run --flagfile=configs/NAME.cfg`. The only training entry.

The same command again resumes an unfinished run from its last checkpoint, and ends with the same bits as a run that
was never interrupted.
"""

import contextlib
import math
import os
import tempfile

from common import cli

# What Keras's optimizers do with the gradients of each replica by itself, or under no strategy at all.
NOT_DISTRIBUTED = (
    "clipnorm", "clipvalue", "global_clipnorm", "gradient_accumulation_steps", "ema_overwrite_frequency"
)  # fmt: skip
JIT_COMPILE = {"auto": "auto", "true": True, "false": False}
REFUSED = -1  # said by a chief worker that can not begin, in place of its first step


def strategy_of(settings):
    """The distribution strategy that `--strategy` names.

    Raises:
        UserError: if it asks for more devices than there are, TF_CONFIG is missing, or an optimizer can not follow it.
    """
    import tensorflow as tf

    if settings.num_replicas and settings.strategy != "mirrored":
        raise cli.UserError(
            f"--num_replicas={settings.num_replicas} is for --strategy=mirrored, not {settings.strategy}."
        )
    if settings.strategy == "none":
        return tf.distribute.get_strategy()
    for kind, optimizer in settings.optimizers.items():
        for name in NOT_DISTRIBUTED:
            if name in optimizer:
                raise cli.UserError(f"--{kind}.{name} does not work on several replicas: give --strategy=none.")
    if settings.strategy == "multi_worker":
        if "TF_CONFIG" not in os.environ:
            raise cli.UserError("--strategy=multi_worker needs the environment variable TF_CONFIG on every worker.")
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus, cpus = tf.config.list_physical_devices("GPU"), tf.config.list_physical_devices("CPU")
    num_replicas = settings.num_replicas or max(len(gpus), 1)
    if not gpus:
        parts = [tf.config.LogicalDeviceConfiguration()] * num_replicas
        if tf.config.get_logical_device_configuration(cpus[0]) != parts:
            tf.config.set_logical_device_configuration(cpus[0], parts)
    kind = "GPU" if gpus else "CPU"
    if gpus and num_replicas > len(gpus):
        raise cli.UserError(f"--num_replicas={num_replicas} is more than the {len(gpus)} GPUs of this machine.")
    # Replicas that share one memory gain nothing from collective operations, whose keys collide where a process makes a
    # second strategy.
    reduction = None if gpus else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(num_replicas)], cross_device_ops=reduction)


def data_of(settings):
    """The dataset of a run."""
    from trainers.data import load

    options = {name: getattr(settings, name) for name in ("data_dir", "image_side", "image_channels", "splits")}
    return load(settings.dataset, **options)


def training_data(settings, data, model, strategy, first_step):
    """The batches of the steps `first_step` .. `num_steps`, spread over the replicas of the strategy.

    Raises:
        UserError: if the data can not give what is asked for, or the model not take it.
    """

    def of_worker(context):
        local = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * local
        replica_ids = list(range(first, first + local))
        return data_of_replicas(settings, data, model, context.num_replicas_in_sync, replica_ids, first_step)

    if settings.strategy == "none":
        batches = data_of_replicas(settings, data, model, 1, [0], first_step)
    else:
        batches = strategy.distribute_datasets_from_function(of_worker)
    try:
        model.check_rows(data.train, data.train_labels if model.labelled else None)
    except ValueError as error:
        raise cli.UserError(f"--model={settings.model} --dataset={settings.dataset}: {error}") from error
    return batches


def data_of_replicas(settings, data, model, num_replicas, replica_ids, first_step):
    """The same, those of some replicas."""
    from trainers.data import batches

    return batches(
        data,
        batch_size=settings.batch_size,
        batches_per_step=model.batches_per_step,
        seed=settings.seed,
        start_step=first_step,
        with_labels=model.labelled,
        binarize=settings.dynamic_binarization,
        num_replicas=num_replicas,
        replica_ids=replica_ids,
    ).take((settings.num_steps - first_step) * len(replica_ids))


@contextlib.contextmanager
def begun(settings, facts, strategy):
    """The run's directory, of which the chief worker keeps other commands out, and where all workers go on.

    Yields:
        (path, first step, checkpoint or None).

    Raises:
        UserError: in all workers, if the directory holds something else, another process trains it, or the workers do
            not find the same step in it.
    """
    from trainers import rundir

    path, refusal = rundir.check(settings, facts), None
    with contextlib.ExitStack() as ours:
        if strategy.extended.should_checkpoint:
            try:
                ours.enter_context(rundir.claimed(path))
                rundir.check(settings, facts)  # again, now that nobody else writes there
            except cli.UserError as error:
                refusal = error
        first_step, checkpoint = rundir.newest(path)
        if settings.strategy == "multi_worker":
            check_workers_agree(strategy, REFUSED if refusal else first_step, path)
        if refusal:
            raise refusal
        if first_step > settings.num_steps:
            raise cli.UserError(
                f"{path} has already done {first_step} steps, more than --num_steps={settings.num_steps}."
            )
        yield path, first_step, checkpoint


@contextlib.contextmanager
def all_workers(settings):
    """Within, the end of a worker, for which the others wait in vain, is told in one sentence: a `UserError`."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        if settings.strategy != "multi_worker":
            raise
        raise cli.UserError(
            "another worker has gone: the same command again, on all of them, goes on from the last checkpoint in "
            f"{settings.run_dir}."
        ) from error


def check_workers_agree(strategy, first_step, path):
    """Raises a `UserError` unless all workers start from the same step; the chief may say `REFUSED`."""
    import tensorflow as tf

    steps = strategy.gather(strategy.run(lambda: tf.constant([first_step])), axis=0).numpy()
    if REFUSED in steps and first_step != REFUSED:
        raise cli.UserError(f"the chief worker can not train in {path}, and says why.")
    if len(set(steps)) > 1 and first_step != REFUSED:
        raise cli.UserError(
            f"the workers found checkpoints of different steps, {', '.join(map(str, steps))}, in {path}: "
            "give a --run_dir that all of them share."
        )


def pictures(path, every, first_step, num_steps, model, data, board):
    """The callbacks that draw what this model can show."""
    from trainers import callbacks

    kinds = {"sample": callbacks.Samples, "translate": callbacks.Translations}
    drawn = [kind for signature, kind in kinds.items() if signature in model.signatures()]
    return [kind(path, every, first_step, num_steps, data=data, board=board) for kind in drawn]


def steps_per_execution(settings, first_step):
    """Steps in one call of the compiled function: at most 20, a divisor of every step at which something happens."""
    if settings.strategy != "none":
        return 1
    common = math.gcd(first_step, settings.log_every, settings.checkpoint_every, settings.sample_every)
    return max(divisor for divisor in range(1, 21) if common % divisor == 0)


def train(settings):
    """Trains, or goes on training, the run that the settings describe.

    Returns:
        The settings, with `--jit_compile=auto` settled for a long run.

    Raises:
        UserError: for every mistake in the settings, the data or the run's directory.
        Stopped: after Ctrl-C or SIGTERM.
    """
    import tensorflow as tf

    from trainers import callbacks, compilers, evaluate, initial_weights, rundir

    with cli.writing("a temporary file"):
        tempfile.gettempdir()  # where Keras makes folders for checkpoints
    metrics = evaluate.check_metrics(settings.metrics)
    rundir.configure_keras(settings.precision)
    strategy = strategy_of(settings)  # first: it divides the CPU and connects workers, which TensorFlow refuses later
    tf.config.experimental.enable_op_determinism()
    data = data_of(settings)
    facts = rundir.facts_of(settings, data)
    with all_workers(settings), begun(settings, facts, strategy) as (path, first_step, checkpoint):
        settings = compilers.settled(settings)

        def new_model(jit_compile):
            num_steps = steps_per_execution(settings, first_step)
            return rundir.make_model(settings, facts, jit_compile=jit_compile, steps_per_execution=num_steps)

        with strategy.scope():
            model = new_model(JIT_COMPILE[settings.jit_compile])
            if checkpoint:
                model.load_weights(checkpoint)
        if 0 < first_step < settings.num_steps:
            rundir.check_resumable(path, model)
        batches = training_data(settings, data, model, strategy, first_step)
        if settings.jit_compile == "auto" and first_step == 0:  # else it is what it was so far
            of_trial = (settings, data, model, strategy.num_replicas_in_sync, [0], 0)
            choice = compilers.choose(new_model, lambda: data_of_replicas(*of_trial), settings.num_steps, strategy)
            settings = settings.having(jit_compile=choice)
            if settings.jit_compile != "auto":
                with strategy.scope():
                    model = new_model(JIT_COMPILE[settings.jit_compile])
        if first_step == 0:
            initial_weights.begin(model, settings, data.train)

        # Up to here all workers find the same mistakes, and nothing is written.
        is_chief = strategy.extended.should_checkpoint
        other_bits = rundir.other_bits(settings)
        if is_chief:
            rundir.prepare(settings, facts)
        if first_step and is_chief:
            print(f"resuming {path} at step {first_step} of {settings.num_steps}")
            if other_bits and first_step < settings.num_steps:
                print(
                    f"{other_bits}: the run goes on with batches of the same size, but not with the same bits, because "
                    "sums have another order, and each replica its own noise and statistics of its share"
                )
        if first_step < settings.num_steps:
            common = (first_step, settings.num_steps)
            # Each worker gets its signals at another step, and one that stops would leave the others waiting.
            stop = callbacks.Stop(() if settings.strategy == "multi_worker" else callbacks.Stop.SIGNALS)
            board = callbacks.Board(path / "tensorboard", first_step) if is_chief else None
            log = callbacks.Log(path, settings.log_every, *common, board=board)
            beside = [stop, log]
            if is_chief:
                beside.append(
                    callbacks.Checkpoints(path, settings.checkpoint_every, *common, keep=settings.keep_checkpoints)
                )
                beside += pictures(path, settings.sample_every, *common, model, data, board)
            with stop, contextlib.closing(log):
                model.fit(
                    batches,
                    steps_per_epoch=settings.num_steps - first_step,
                    callbacks=beside,
                    shuffle=False,  # the batches come shuffled
                    verbose=0,
                )
            if stop.number:
                done = f"stopped after step {int(model.step.numpy())} of {settings.num_steps}, which has its checkpoint"
                raise cli.Stopped(stop.number, f"{done}: the same command again goes on from there")
        if is_chief and metrics:
            evaluate.evaluate_by(metrics, path)
        if is_chief and settings.export:
            from export.run import export_run

            print(f"exported to {export_run(rundir.load(path))}")
        if is_chief:
            parts = dict.fromkeys(["metrics.jsonl", "samples/", "checkpoints/", "evaluation.json", "export/"], "")
            parts["samples/"] = " (means, not draws)" if callbacks.shows_means(model) else ""
            found = [part + note for part, note in parts.items() if (path / part).exists()]
            print(f"the run is in {path}: {', '.join(found)}")
    return settings


def main(argv):
    with cli.starting_tensorflow():
        from trainers import flags, seeds

    settings = flags.parse(argv)
    if settings.seeds:
        seeds.train_each(settings, train)
    else:
        train(settings)


if __name__ == "__main__":
    cli.run(main)
