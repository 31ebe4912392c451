"""Requests that TensorFlow Serving replays while it loads a model, so that the first real one does not wait.

The file is a TFRecord of `PredictionLog`. That message belongs to TensorFlow Serving, whose protocol buffers TensorFlow
does not have. It takes four nested messages of strings, which are written here as protocol buffers lay them out; the
tensors in it are TensorFlow's own `TensorProto`.

Reference: https://www.tensorflow.org/tfx/serving/saved_model_warmup, and tensorflow_serving/apis/ for the numbers of
the fields: prediction_log.proto, predict.proto, model.proto.
"""

import tensorflow as tf

FILE = "assets.extra/tf_serving_warmup_requests"
BATCHES = (1, 4, 16)


def write(path, model_name, signatures, num_classes=None, batches=BATCHES):
    """Writes one request for every signature and every batch size.

    Args:
        path: where the TFRecord file goes.
        model_name: str, what the requests call the model. Servers do not compare it with their own name of it.
        signatures: dict, name -> dict of input name -> `tf.TensorSpec`.
        num_classes: int, needed where there is a `label`.
        batches: ints >= 1, rows of the requests; a server that batches must take as many in one.
    """
    with tf.io.TFRecordWriter(str(path)) as file:
        for name, specs in signatures.items():
            for batch in batches:
                file.write(prediction_log(model_name, name, rows(specs, batch, num_classes)))


def rows(specs, batch, num_classes=None):
    """Valid rows of inputs: seeds and labels that count up, and one half for every float. Dict, name -> `TensorProto`.

    The floats take four bytes in the file whatever their shape: a tensor repeats the last value that it is given.
    """
    inputs = {}
    for name, spec in specs.items():
        if name in ("seed", "label"):
            counts = [i % num_classes if name == "label" else i for i in range(batch)]
            inputs[name] = tf.make_tensor_proto(counts, tf.int64)
        else:
            inputs[name] = tf.make_tensor_proto(0.5, spec.dtype)
            inputs[name].tensor_shape.CopyFrom(tf.TensorShape([batch, *spec.shape[1:]]).as_proto())
    return inputs


def prediction_log(model_name, signature, inputs):
    """A `PredictionLog` of one `PredictRequest`, serialized.

    Args:
        model_name, signature: str.
        inputs: dict, name -> `TensorProto`.
    """
    model_spec = field(1, model_name.encode()) + field(3, signature.encode())  # name, signature_name
    request = field(1, model_spec) + b"".join(
        field(2, field(1, name.encode()) + field(2, tensor.SerializeToString())) for name, tensor in inputs.items()
    )
    return field(6, field(1, request))  # predict_log, request


def field(number, payload):
    """A field of bytes as protocol buffers encode it: its number and kind, the length, and the bytes."""
    length, size = len(payload), []
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *size, length]) + payload
