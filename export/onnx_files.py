"""Signatures as ONNX files, for runtimes other than TensorFlow. Needs the packages tf2onnx and onnxruntime."""

import numpy as np
import tensorflow as tf

from common import cli
from common.graph import graph

NAMES = ("decode", "sample", "sample_mean")  # PNG files and loops over draws have no place in ONNX
OPSET = 18
ROWS = 64
TOLERANCE = 1e-5
TIES = 1e-4  # the share of black and white pixels that may fall on the other side of a threshold by a rounding


def convert(functions, num_classes=None):
    """Converts signatures, and compares what ONNX Runtime answers with what TensorFlow does.

    Args:
        functions: dict, name -> concrete function of named tensors; those in `NAMES` are converted.
        num_classes: int, needed where there is a `label`.

    Returns:
        (dict, name -> bytes of the ONNX file; the report for the metadata, JSON-able).

    Raises:
        UserError: if a package is missing, a signature can not be converted, or an answer differs by more than
            `TOLERANCE`; of draws of black and white pixels, if more than the share `TIES` of them differ.
    """
    try:
        with cli.quiet():
            import onnxruntime
            import tf2onnx
    except ImportError as error:
        raise cli.UserError(f"--onnx needs the packages tf2onnx and onnxruntime: {error.name} is missing.") from error
    if not set(NAMES) & set(functions):
        raise cli.UserError(f"--onnx is for {', '.join(NAMES)}, and this model has none of them: leave it out.")
    files, compared = {}, {}
    for name in [name for name in NAMES if name in functions]:
        specs = functions[name].structured_input_signature[1]
        call = graph(lambda *values: functions[name](**dict(zip(specs, values, strict=True))))
        named = [tf.TensorSpec(spec.shape, spec.dtype, name=key) for key, spec in specs.items()]
        inputs = rows(specs, num_classes)
        try:
            model, _ = tf2onnx.convert.from_function(call, input_signature=named, opset=OPSET)
            files[name] = model.SerializeToString()
            session = onnxruntime.InferenceSession(files[name], providers=["CPUExecutionProvider"])
            answers = session.run(None, inputs)
        except Exception as error:  # whatever the converter finds no words for
            raise cli.UserError(f"{name} can not be converted to ONNX: {' '.join(str(error).split())}") from error
        expected = functions[name](**{key: tf.constant(value) for key, value in inputs.items()})
        found = dict(zip([output.name for output in session.get_outputs()], answers, strict=True))
        differences = np.concatenate(
            [np.ravel(np.abs(found[key].astype(float) - value.numpy())) for key, value in expected.items()]
        )
        difference, share = float(differences.max()), float(np.mean(~(differences <= TOLERANCE)))
        is_black_or_white = all(np.isin(value, [0.0, 1.0]).all() for value in expected.values())
        if share > (TIES if is_black_or_white else 0.0):
            raise cli.UserError(f"ONNX Runtime answers {name} otherwise than TensorFlow, by {difference:.1g}.")
        compared[name] = {"largest_difference": difference, "share_that_differs": share}
    versions = {"tf2onnx": tf2onnx.__version__, "onnxruntime": onnxruntime.__version__}
    return files, {"opset": OPSET, **versions, "rows": ROWS, "signatures": compared}


def rows(specs, num_classes):
    """Rows to compare with: dict, input name -> array."""
    generator, inputs = np.random.default_rng(0), {}
    for key, spec in specs.items():
        shape = [ROWS, *spec.shape[1:]]
        inputs[key] = generator.standard_normal(shape, np.float32) if spec.dtype == tf.float32 else np.arange(ROWS)
    if "label" in inputs:
        inputs["label"] %= num_classes
    return inputs
