"""Exports the newest checkpoint of a run as a SavedModel for TensorFlow Serving, with a model card.

python -m export.run --run_dir=RUN_DIR [--signatures=sample,decode] [--keep_versions=3] [--onnx]
    [--warmup_batch_sizes=1,4,16]
"""

import sys
from pathlib import Path

from absl import flags as absl_flags

from common import cli
from common import flags as common_flags
from common.files import read_json


def export_run(run, export_dir=None, signatures=None, keep_versions=None, onnx=False, **options):
    """Publishes the model of a run as the next version.

    Args:
        run: `trainers.rundir.Run`.
        export_dir: directory of the versions; None for `export` in the run's directory.
        signatures: names of those to export besides the first, mostly `sample`; None for all.
        keep_versions: int >= 1, how many versions stay, the newest; None for all.
        onnx: bool, whether `decode` and `sample` come as ONNX files, too.
        options: as `export_model` has them.

    Returns:
        Path of the version.

    Raises:
        UserError: for an unknown signature, a model that can not be served, or a directory that can not be written.
    """
    from export.saved_model import export_model

    export_dir = Path(export_dir or run.path / "export")
    options |= {"signatures": signatures, "keep_versions": keep_versions, "onnx": onnx}
    lines = [line for line in run.settings.lines if not line.startswith("--data_dir=")]  # of this machine only
    metadata = {**run.facts, "step": run.step, "settings": lines}
    evaluation = Path(run.path) / "evaluation.json"
    if measured := read_json(evaluation, "step", "results"):
        if measured["step"] == run.step:
            metadata["evaluation"] = measured  # that of another step would be another model's
    elif evaluation.exists():
        print(f"{evaluation} is damaged; the card does without it.", file=sys.stderr)
    metadata["estimates"] = run.model.before_export(metadata.get("evaluation", {}).get("results", {}))
    return export_model(run.model, export_dir, metadata=metadata, **options)


def main(argv):
    flags = absl_flags.FlagValues()
    own = {"flag_values": flags}
    common_flags.define_path(flags, "run_dir", None, "The run to export.")
    common_flags.define_path(flags, "export_dir", None, "Where the versions go; default RUN_DIR/export.")
    common_flags.define_list(flags, "signatures", None, "Signatures to export besides sample; default all.")
    absl_flags.DEFINE_integer(
        "keep_versions", None, "How many versions stay, the newest; default all.", lower_bound=1, **own
    )
    absl_flags.DEFINE_boolean("onnx", False, "Whether decode and sample come as ONNX files, too.", **own)
    warm = "Rows of each request that a server replays while it loads; batching servers need max_batch_size as large."
    common_flags.define_tuple(flags, "warmup_batch_sizes", (1, 4, 16), warm, int)
    common_flags.parse(flags, argv, __doc__, required="run_dir")
    sizes = flags.warmup_batch_sizes
    if not sizes or min(sizes) < 1:
        given = ",".join(map(str, sizes))
        raise cli.UserError(f"--warmup_batch_sizes={given} must be integers of at least 1, such as 1,4,16.")
    with cli.starting_tensorflow():
        from trainers import rundir
    run = rundir.load(flags.run_dir)
    options = {"keep_versions": flags.keep_versions, "onnx": flags.onnx, "warmup_batches": [*map(int, sizes)]}
    print(export_run(run, flags.export_dir, flags.signatures, **options))


if __name__ == "__main__":
    cli.run(main)
