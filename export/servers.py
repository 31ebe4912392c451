"""An exported model behind TensorFlow Serving's REST or gRPC.

REST needs nothing but Python's own library. gRPC needs the package `tensorflow-serving-api`.

Reference: https://www.tensorflow.org/tfx/serving/api_rest
"""

import abc
import base64
import http.client
import itertools
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request

import numpy as np

from common import cli
from export.runtimes import Runtime, Signature

DTYPES = {"DT_FLOAT": np.float32, "DT_INT64": np.int64, "DT_BOOL": np.bool_, "DT_STRING": np.object_}


def url_of(server, model, what=":predict"):
    """Where TensorFlow Serving's REST at `server`, like http://HOST:8501, answers for a model."""
    return f"{server}/v1/models/{urllib.parse.quote(model, safe='')}{what}"


def predict_body(name, inputs):
    """What is posted there to ask a signature about inputs, dict of arrays: a dict, as JSON takes it."""
    return {"signature_name": name, "inputs": {key: value.tolist() for key, value in inputs.items()}}


class Unavailable(Exception):
    """The server can not answer now, but may soon."""


class Server(Runtime):
    """A model behind a server.

    Args:
        server: str, its address.
        model: str, the server's name of the model.
        version: int, or None for the newest that the server has.
        version_label: str or None, the label of a version in the server's configuration.
        timeout: float, seconds that one request may take.
        retries: int, how often a request is sent again while the server is not available, after 0.5, 1, 2, ... seconds.
        batch: int, rows of one request.

    Raises:
        UserError: if the server can not be reached, or does not have the model.
    """

    suffix = "_png"  # a tenth of what JSON's floats take, or less

    def __init__(self, server, model, version=None, version_label=None, *, timeout=10.0, retries=3, batch=64):
        self.server, self.model, self.version, self.version_label = server, model, version, version_label
        self.timeout, self.retries, self.batch = timeout, retries, batch
        self._connect()
        # From here on it is this version that answers, whatever the server loads meanwhile.
        self.version, self.signatures = self._describe()

    def __str__(self):
        return f"the model {self.model} at {self.server}"

    @abc.abstractmethod
    def _connect(self):
        """Prepares to send requests."""

    @abc.abstractmethod
    def _describe(self):
        """The version that answers, and its signatures."""

    def _patiently(self, attempt):
        for retry in itertools.count():
            try:
                return attempt()
            except Unavailable as error:
                if retry == self.retries:
                    raise self._error(f"is not available ({retry + 1} attempts)", error) from error
            except TimeoutError as error:
                raise cli.UserError(f"{self} did not answer within {self.timeout:g} s: raise --timeout.") from error
            time.sleep(0.5 * 2**retry)

    def _error(self, what, message):
        message = " ".join(str(message).split()).rstrip(".")
        return cli.UserError(f"{self} {what}: {message or 'it does not say why'}.")


class Rest(Server):
    """A model behind TensorFlow Serving's REST, `server` being like http://HOST:8501."""

    def _connect(self):
        self.server = self.server.rstrip("/")

    def _describe(self):
        def shape(info):
            return tuple(int(size["size"]) for size in info["tensor_shape"]["dim"][1:])

        found = self._request("/metadata")
        try:
            defined = found["metadata"]["signature_def"]["signature_def"]
            return int(found["model_spec"]["version"]), {
                name: Signature(
                    {key: shape(info) for key, info in signature["inputs"].items()},
                    {
                        key: np.empty([0, *shape(info)], DTYPES[info["dtype"]])
                        for key, info in signature["outputs"].items()
                    },
                )
                for name, signature in defined.items()
                if not name.startswith("__")
            }
        except (KeyError, TypeError, ValueError) as error:
            raise cli.UserError(f"{self} does not describe itself as a model of TensorFlow Serving does.") from error

    def _ask(self, inputs, name):
        answer, outputs = (
            self._request(":predict", predict_body(name, inputs))["outputs"],
            self.signatures[name].outputs,
        )
        if len(outputs) == 1:  # then it comes without its name
            answer = {next(iter(outputs)): answer}
        return {key: self._array(answer[key], none.dtype) for key, none in outputs.items()}

    @staticmethod
    def _array(values, dtype):
        return np.array([base64.b64decode(v["b64"]) for v in values] if dtype == np.object_ else values, dtype)

    def _request(self, what, body=None):
        of = f"/versions/{self.version}" if self.version is not None else ""
        of = f"/labels/{urllib.parse.quote(self.version_label, safe='')}" if self.version_label and not of else of
        url = url_of(self.server, self.model, of + what)
        data = None if body is None else json.dumps(body).encode()
        return self._patiently(lambda: self._send(url, data))

    def _send(self, url, data):
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            try:
                text = json.loads(text)["error"]
            except (ValueError, KeyError, TypeError):
                text = (
                    f"HTTP {error.code} {error.reason}, which is of a proxy or another server, not TensorFlow Serving"
                )
            if error.code in (429, 502, 503):
                raise Unavailable(text) from error
            raise self._error("refuses the request", text) from error
        except ValueError as error:
            raise cli.UserError(f"{self} does not answer in JSON: is that TensorFlow Serving's REST port?") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise TimeoutError from error
            if isinstance(reason, ssl.SSLError):
                hint = "does the server speak http:// rather than https://, or is its certificate not trusted?"
                raise cli.UserError(
                    f"{self} can not be reached by TLS ({reason.reason or 'no reason given'}): {hint}"
                ) from error
            if isinstance(reason, http.client.BadStatusLine) and not isinstance(reason, ConnectionError):
                hint = "is that gRPC's port? Give REST's, http://HOST:8501, or HOST:8500 for gRPC."
                raise cli.UserError(f"{self} does not answer by HTTP: {hint}") from error
            raise Unavailable(getattr(reason, "strerror", None) or reason) from error


class Grpc(Server):
    """A model behind TensorFlow Serving's gRPC, `server` being like HOST:8500."""

    def _connect(self):
        try:
            with cli.quiet():
                import grpc
                from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError as error:
            raise cli.UserError(
                f"--server={self.server} is gRPC, which needs the package tensorflow-serving-api: "
                "install it, or give the address of the REST port, http://HOST:8501."
            ) from error
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(self.server, unlimited))

    def _describe(self):
        from tensorflow_serving.apis import get_model_metadata_pb2 as apis

        def shape(info):
            return tuple(size.size for size in info.tensor_shape.dim[1:])

        request = apis.GetModelMetadataRequest(metadata_field=["signature_def"])
        found = self._call(self.stub.GetModelMetadata, request)
        defined = apis.SignatureDefMap.FromString(found.metadata["signature_def"].value).signature_def
        import tensorflow as tf

        return found.model_spec.version.value, {
            name: Signature(
                {key: shape(info) for key, info in signature.inputs.items()},
                {
                    key: np.empty([0, *shape(info)], tf.as_dtype(info.dtype).as_numpy_dtype)
                    for key, info in signature.outputs.items()
                },
            )
            for name, signature in defined.items()
            if not name.startswith("__")
        }

    def _ask(self, inputs, name):
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = name
        for key, value in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        return {key: tf.make_ndarray(value) for key, value in self._call(self.stub.Predict, request).outputs.items()}

    def _call(self, method, request):
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        elif self.version_label:
            request.model_spec.version_label = self.version_label
        return self._patiently(lambda: self._send(method, request))

    def _send(self, method, request):
        import grpc

        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise Unavailable(error.details()) from error
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError from error
            raise self._error("refuses the request", error.details()) from error
