"""Warm-up records: what TensorFlow Serving reads in them, and that replaying them answers as Python does."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet

from export import warmup
from tests.export.exported import ROUNDED, assert_same


def fields(message):
    """The fields of a protocol buffer that has only bytes in it: list of (number, bytes)."""
    return [(one.field_number, one.data) for one in UnknownFieldSet(Empty.FromString(message))]


def read(path):
    """What the records of a file ask: list of (model, signature, inputs)."""
    requests = []
    for record in tf.data.TFRecordDataset(str(path)):
        ((_, log),) = fields(record.numpy())
        ((_, request),) = fields(log)
        (_, spec), *inputs = fields(request)
        spec, inputs = dict(fields(spec)), [dict(fields(entry)) for _, entry in inputs]
        tensors = {entry[1].decode(): tf.make_ndarray(tf.make_tensor_proto(0).FromString(entry[2])) for entry in inputs}
        requests.append((spec[1].decode(), spec[3].decode(), tensors))
    return requests


@pytest.mark.slow
def test_replayed_they_answer_as_python_does(core, server):
    requests = read(core.version / warmup.FILE)
    assert len(requests) == len(core.signature_def) * len(warmup.BATCHES) <= 1000
    sizes = {name: set() for name in core.signature_def}
    for _, name, inputs in requests:
        answer = server.run(name, inputs)
        (batch,) = {len(value) for value in [*inputs.values(), *answer.values()]}
        sizes[name].add(batch)
        assert answer.get("valid", np.True_).all()
        assert_same(answer, core.call(name, inputs, optimised=False), ROUNDED, 1)
    assert all(size == set(warmup.BATCHES) for size in sizes.values())


@pytest.mark.slow
def test_tensorflow_serving_reads_the_same_requests(core):
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason="extra `serving`")
    records = list(tf.data.TFRecordDataset(str(core.version / warmup.FILE)).as_numpy_iterator())
    for record, (model, name, inputs) in zip(records, read(core.version / warmup.FILE), strict=True):
        log = apis.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert (request.model_spec.name, request.model_spec.signature_name) == (model, name)
        assert {key for key, _ in log.ListFields()} == {log.DESCRIPTOR.fields_by_name["predict_log"]}
        assert not log.predict_log.HasField("response")
        assert set(request.inputs) == set(inputs) == set(core.signature_def[name].inputs)
        for key, tensor in request.inputs.items():
            np.testing.assert_array_equal(tf.make_ndarray(tensor), inputs[key])


def test_a_long_field():
    for size in (0, 1, 127, 128, 300, 20_000, 3_000_000):
        assert fields(warmup.field(2, b"x" * size)) == [(2, b"x" * size)]


def test_labels_stay_in_range(tmp_path):
    specs = {name: tf.TensorSpec([None], tf.int64) for name in ("seed", "label")}
    warmup.write(tmp_path / "requests", "model", {"sample": specs}, num_classes=3)
    labels = [inputs["label"].tolist() for _, _, inputs in read(tmp_path / "requests")]
    assert labels == [[i % 3 for i in range(batch)] for batch in warmup.BATCHES]
