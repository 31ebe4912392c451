"""Servers that answer as TensorFlow Serving does, from exported models in this process: its REST and its gRPC.

They follow tensorflow_serving/model_servers/http_rest_api_handler.cc and tensorflow_serving/util/json_tensor.cc, and
tensorflow_serving/servables/tensorflow/predict_util.cc.
"""

import base64
import collections
import concurrent.futures
import contextlib
import http.server
import importlib.util
import json
import re
import threading
import time
import urllib.parse

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format

needs_grpc = pytest.mark.skipif(not importlib.util.find_spec("tensorflow_serving"), reason="needs the extra `serving`")
POST = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:predict")
GET = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?(/metadata)?")


class Error(Exception):
    """What the server refuses: HTTP status, and message."""


class Models:
    """What both servers serve: dict, name -> list of exported models, oldest first; and labels of versions."""

    def __init__(self, models, labels=None):
        self.models = {name: {int(one.version.name): one for one in versions} for name, versions in models.items()}
        self.labels = labels or {}

    def find(self, name, version, label):
        versions = self.models.get(name, {})
        if label:
            if label not in self.labels:
                raise Error(400, f"Unrecognized servable version label: {label}")
            version = self.labels[label]
        version = int(version) if version else max(versions, default=-1)
        if version not in versions:
            asked = f"Specific({name}, {version})" if version >= 0 and versions else f"Latest({name})"
            raise Error(404, f"Servable not found for request: {asked}")
        return version, versions[version]

    def signature_defs(self, one):
        options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
        return {name: json_format.MessageToDict(found, **options) for name, found in one.signature_def.items()}

    def predict(self, one, name, inputs):
        """The answers to inputs, dict of arrays."""
        expected = one.signature_def[name].inputs
        if set(inputs) != set(expected):
            missing, extra = set(expected) - set(inputs), set(inputs) - set(expected)
            raise Error(400, f"input size does not match signature: extra: {extra}. Missing but required: {missing}.")
        try:
            return one.call(name, inputs)
        except (ValueError, tf.errors.OpError) as error:
            raise Error(400, str(error)) from error


class RestServer(http.server.ThreadingHTTPServer):
    """REST on a free port of this machine. Each of `troubles` is what befalls one request, in their order:
    "503", "slow", "hang up", "html", "nonsense"."""

    def __init__(self, models, troubles=()):
        super().__init__(("127.0.0.1", 0), Handler)
        self.served, self.troubles = models, collections.deque(troubles)
        self.address = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(GET, self.describe)

    def do_POST(self):
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(POST, self.predict)

    def answer(self, pattern, respond):
        trouble = self.server.troubles.popleft() if self.server.troubles else None
        if trouble == "hang up":
            self.connection.close()
            return
        if trouble == "slow":
            time.sleep(1.0)
        try:
            if trouble == "503":
                raise Error(503, "the batching queue is full")
            if trouble == "html":
                return self.send(502, b"<html>Bad gateway</html>")
            if trouble == "nonsense":
                return self.send(200, b"{}")
            match = pattern.fullmatch(self.path)
            if not match:
                raise Error(400, f"Malformed request: {self.command} {self.path}")
            name, version, label, *rest = (urllib.parse.unquote(part) if part else part for part in match.groups())
            version, one = self.server.served.find(name, version, label)
            self.send(200, json.dumps(respond(one, name, version, *rest)).encode())
        except Error as error:
            status, message = error.args
            self.send(status, json.dumps({"error": message}).encode())

    def send(self, status, text):
        with contextlib.suppress(ConnectionError):  # the client has given up
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text)

    def describe(self, one, name, version, metadata):
        if not metadata:
            fine = {"error_code": "OK", "error_message": ""}
            return {"model_version_status": [{"version": str(version), "state": "AVAILABLE", "status": fine}]}
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(version)},
            "metadata": {"signature_def": {"signature_def": self.server.served.signature_defs(one)}},
        }

    def predict(self, one, _, version):
        request = json.loads(self.body)
        name = request.get("signature_name", "serving_default")
        if name not in one.signature_def:
            raise Error(400, f'Serving signature name: "{name}" not found in signature def')
        expected = one.signature_def[name].inputs
        by_row = "instances" in request
        if by_row:
            rows = [named(row, expected) for row in request["instances"]]
            if not rows:
                raise Error(400, "No values in 'instances' array.")
            if any(set(row) != set(expected) for row in rows):
                raise Error(400, f"keys must be equal to: {','.join(expected)}")
            inputs = {key: [row[key] for row in rows] for key in expected}
        else:
            inputs = named(request["inputs"], expected)
            for key in expected:
                if key not in inputs:
                    raise Error(400, f"Missing named input: {key} in 'inputs' object.")
        dtypes = {key: tf.as_dtype(info.dtype).as_numpy_dtype for key, info in expected.items()}
        for key in {"seed", "label"} & set(inputs):
            if wrong := [value for value in np.ravel(np.array(inputs[key], object)) if type(value) is not int]:
                raise Error(
                    400, f"JSON Value: {json.dumps(wrong[0])} Type: {type(wrong[0])} is not of expected type: int64"
                )
        arrays = {key: np.array(value, dtypes[key]) for key, value in inputs.items() if key in expected}
        answer = {key: encode(value) for key, value in self.server.served.predict(one, name, arrays).items()}
        if not by_row:
            return {"outputs": answer if len(answer) > 1 else next(iter(answer.values()))}
        if len(answer) == 1:
            return {"predictions": next(iter(answer.values()))}
        return {"predictions": [dict(zip(answer, row, strict=True)) for row in zip(*answer.values(), strict=True)]}

    def log_message(self, *arguments):
        pass


def named(value, expected):
    """Values by their inputs' names; the only input's may come without its own."""
    if isinstance(value, dict):
        return value
    (only,) = expected
    return {only: value}


def encode(value):
    if value.dtype == object:
        return [{"b64": base64.b64encode(text).decode()} for text in value]
    return value.tolist()


class GrpcServer:
    """gRPC on a free port of this machine; `troubles` as above: "unavailable", "slow"."""

    def __init__(self, models, troubles=()):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc as service

        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        service.add_PredictionServiceServicer_to_server(make_servicer(models, collections.deque(troubles)), self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *error):
        self.server.stop(None)


def make_servicer(models, troubles):
    import grpc
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2
    from tensorflow_serving.apis import prediction_service_pb2_grpc as service

    codes = {400: grpc.StatusCode.INVALID_ARGUMENT, 404: grpc.StatusCode.NOT_FOUND}
    codes[412] = grpc.StatusCode.FAILED_PRECONDITION

    class Servicer(service.PredictionServiceServicer):
        def answered(self, context, spec, respond):
            trouble = troubles.popleft() if troubles else None
            if trouble == "unavailable":
                context.abort(grpc.StatusCode.UNAVAILABLE, "the batching queue is full")
            if trouble == "slow":
                time.sleep(1.0)
            try:
                version = spec.version.value if spec.HasField("version") else None
                return respond(*models.find(spec.name, version, spec.version_label))
            except Error as error:
                status, message = error.args
                context.abort(codes[status], message)

        def GetModelMetadata(self, request, context):
            def respond(version, one):
                response = get_model_metadata_pb2.GetModelMetadataResponse()
                response.model_spec.name = request.model_spec.name
                response.model_spec.version.value = version
                signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=one.signature_def)
                response.metadata["signature_def"].Pack(signatures)
                return response

            return self.answered(context, request.model_spec, respond)

        def Predict(self, request, context):
            def respond(version, one):
                name = request.model_spec.signature_name or "serving_default"
                if name not in one.signature_def:
                    raise Error(412, f'Serving signature key "{name}" not found.')
                inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
                answer = models.predict(one, name, inputs)
                response = predict_pb2.PredictResponse()
                response.model_spec.version.value = version
                for key, value in answer.items():
                    response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
                return response

            return self.answered(context, request.model_spec, respond)

    return Servicer()
