"""The client against servers that answer as TensorFlow Serving does: every task, and everything that can go wrong."""

import contextlib
import functools
import io
import json
import socket
import socketserver
import subprocess
import sys
import threading
import types
import urllib.error
import urllib.request

import numpy as np
import PIL.Image
import pytest

from export import client, sample, servers
from tests import models
from tests.export.exported import Exported, assert_same, gan_of_points
from tests.export.servers import GrpcServer, Models, RestServer, needs_grpc
from tests.mistakes import mistake

pytestmark = pytest.mark.usefixtures("loaded_once")
SERVERS = [pytest.param(RestServer, id="rest"), pytest.param(GrpcServer, id="grpc", marks=needs_grpc)]


def run(main, *flags):
    main(["command", *map(str, flags)])


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Pictures, as a user has them."""
    from trainers.data import load

    folder = tmp_path_factory.mktemp("digits")
    for i, image in enumerate(load("digits").train[:7]):
        PIL.Image.fromarray(image[..., 0]).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def on_the_disk(core, tmp_path_factory):
    """What `export.sample` prints and draws, asked once for all servers."""

    @functools.cache
    def ask(*flags):
        out = tmp_path_factory.mktemp("here") / "here.png"
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            run(sample.main, f"--model_dir={core.export_dir}", *flags, f"--out={out}")
        return printed.getvalue().replace(str(out), "PNG"), out.read_bytes() if out.exists() else b""

    return ask


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_a_served_model_does_what_it_does_on_the_disk(core, server, digits, on_the_disk, kind, tmp_path, capsys):
    served = types.SimpleNamespace(version=core.version, signature_def=core.signature_def, call=server.run)
    with kind(Models({"a model": [served]})) as there:
        there = [f"--server={there.address}", "--model=a model", "--timeout=300"]  # a first request takes long
        draws = "sample" in core.signature_def
        conditional = draws and "label" in core.specs("sample")
        is_drawn = "sample_mean" in core.signature_def
        asked = [["--num=70", "--seed=9000000000"], [], *[["--draws"]] * is_drawn] if draws else []
        asked += [["--label=3", "--num=5"]] if conditional else []
        for flags in asked:
            run(client.main, *there, *flags, f"--out={tmp_path / 'there.png'}")
            printed = capsys.readouterr().out.replace(str(tmp_path / "there.png"), "PNG")
            assert on_the_disk(*flags) == (printed, (tmp_path / "there.png").read_bytes())
            assert printed.splitlines()[0] == "PNG" and ("means, not draws" in printed) == (
                is_drawn and "--draws" not in flags
            )

        data, groups = f"--data={digits}", f"--data={digits},{digits / '1.png'},{digits / '2.png'}"
        for (signature, *others), task, *data_flag in [
            (["reconstruct"], "reconstruct", data),
            (["log_prob"], "score", data),
            (["discriminate"], "score", data),
            (["interpolate"], "interpolate"),
            (["interpolate", "encode"], "interpolate", data),
            (["decode", "encode"], "arithmetic", groups),
        ]:
            if not {signature, *others} <= set(core.signature_def):
                continue
            flags = [f"--task={task}", *data_flag, "--seed=5"]
            flags += ["--label=3"] if "label" in core.specs(signature) else []
            printed, picture = on_the_disk(*flags)
            (tmp_path / "there.png").unlink(missing_ok=True)
            run(client.main, *there, "--batch_size=3", *flags, f"--out={tmp_path / 'there.png'}")
            again = capsys.readouterr().out
            if task != "score":
                assert (printed, again) == ("PNG\n", f"{tmp_path / 'there.png'}\n")
                files = io.BytesIO(picture), tmp_path / "there.png"
                left, right = (np.asarray(PIL.Image.open(file), int) for file in files)
                assert np.abs(left - right).max() <= 1  # requests of 3 rows round otherwise than one of 7
            else:
                table, other = ([line.split("\t") for line in text.splitlines()] for text in (printed, again))
                assert [line[0] for line in table] == ["row", *(str(digits / f"{i}.png") for i in range(7)), "mean"]
                assert set(table[0][1:]) == set(core.signature_def[signature].outputs) - {"valid"}
                assert table[0] == other[0] and [line[0] for line in table] == [line[0] for line in other]
                numbers = [np.array([line[1:] for line in lines[1:]], float) for lines in (table, other)]
                np.testing.assert_allclose(*numbers, rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(numbers[0][:-1].mean(axis=0), numbers[0][-1], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def newer(vae, tmp_path_factory):
    """Another version of that model, with other weights."""
    model = models.make("vae")
    model.decoder.trainable_variables[0].assign(-model.decoder.trainable_variables[0])
    return Exported(model, vae.export_dir, signatures=["sample_png"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_versions(vae, newer, kind, tmp_path):
    assert sample.find_version(vae.export_dir) == newer.version
    with kind(Models({"vae": [vae, newer]}, labels={"stable": int(vae.version.name)})) as server:
        there = [f"--server={server.address}", "--model=vae", "--num=4", f"--out={tmp_path / 'there.png'}"]
        asked = {(): newer, ("--version_label=stable",): vae, (f"--version={newer.version.name}",): newer}
        for flags, answers in asked.items():
            run(client.main, *there, *flags)
            run(sample.main, f"--model_dir={answers.version}", "--num=4", f"--out={tmp_path / 'here.png'}")
            assert (tmp_path / "here.png").read_bytes() == (tmp_path / "there.png").read_bytes()
        with mistake("the model vae at ", " refuses the request: Servable not found"):
            run(client.main, *there, "--version=7")


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_the_version_stays_while_a_newer_one_appears(vae, newer, kind):
    models = Models({"vae": [vae]})
    with kind(models) as server:
        model = make(server, batch=2)
        models.models["vae"][int(newer.version.name)] = newer
        seeds = {"seed": np.arange(5)}
        np.testing.assert_allclose(model.ask("sample", seeds)["images"], vae.call("sample", seeds)["images"], atol=1e-6)


def make(server, **options):
    runtime = servers.Rest if isinstance(server, RestServer) else servers.Grpc
    return runtime(server.address, "vae", **options)


@pytest.mark.slow
@pytest.mark.parametrize("kind, trouble, reason", [
    pytest.param(RestServer, "503", "the batching queue is full", id="rest"),
    pytest.param(RestServer, "hang up", "", id="hang_up"),
    pytest.param(RestServer, "html", "HTTP 502", id="proxy"),
    pytest.param(GrpcServer, "unavailable", "the batching queue is full", id="grpc", marks=needs_grpc),
])  # fmt: skip
def test_patience(vae, kind, trouble, reason, monkeypatch):
    waits = []
    monkeypatch.setattr(servers.time, "sleep", waits.append)
    with kind(Models({"vae": [vae]}), [None, trouble, trouble]) as server:
        answer = make(server).ask("sample", {"seed": np.arange(3)})
        np.testing.assert_allclose(answer["images"], vae.call("sample", {"seed": np.arange(3)})["images"], atol=1e-6)
        assert waits == [0.5, 1.0]
    with kind(Models({"vae": [vae]}), [trouble] * 3) as server:
        with mistake("is not available (3 attempts): ", reason):
            make(server, retries=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_timeouts(vae, kind):
    with kind(Models({"vae": [vae]}), [None, "slow"]) as server:
        model = make(server, timeout=30.0)
        model.timeout = 0.2
        with mistake("the model vae at ", " did not answer within 0.2 s: raise --timeout"):
            model.ask("sample", {"seed": np.arange(3)})
        model.timeout = 30.0
        assert model.ask("sample", {"seed": np.arange(3)})["images"].shape == (3, 8, 8, 1)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("scheme", [pytest.param("http://", id="rest"), pytest.param("", id="grpc", marks=needs_grpc)])
def test_nobody_listens(scheme):
    with mistake("is not available (1 attempts): ", "refused"):
        run(client.main, f"--server={scheme}127.0.0.1:{free_port()}", "--model=vae", "--retries=0")


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("flags, message", [
    (["--model=gan"], "refuses the request: Servable not found for request: Latest"),
    (["--model=vae", "--label=3"], "--label=3 is given, but the signature sample_mean_png takes no label"),
    (["--model=vae", "--version=1", "--version_label=a"], "exclude each other"),
    (["--model=vae", "--data=x.png"], "samples need none"),
    (["--model=vae", "--task=score", "--data=x.png", "--num=3"], "takes all of --data"),
    (["--model=vae", "--task=score", "--data={digits}", "--label=3"], "the signature log_prob takes no label"),
    (["--model=vae", "--task=score", "--data=nowhere.png"], "nowhere.png does not exist"),
    (["--model=vae", "--task=score", "--data={empty}"], "there are no pictures in {empty}"),
    (["--model=vae", "--task=score", "--data={text}"], "can not be read as numpy's .npy file"),
    ([], "--model is missing"),
])  # fmt: skip
def test_mistakes(vae, digits, kind, flags, message, tmp_path):
    """Those that a server makes possible; test_tasks.py has the others."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npy").write_text("no array")
    places = {"digits": digits, "empty": tmp_path / "empty", "text": tmp_path / "text.npy"}
    with kind(Models({"vae": [vae]})) as server, mistake(message.format(**places)):
        run(client.main, f"--server={server.address}", *(flag.format(**places) for flag in flags))


@pytest.mark.parametrize("kind", SERVERS)
def test_what_the_server_refuses_is_told(vae, kind):
    with kind(Models({"vae": [vae]})) as server:
        model = make(server)
        with mistake("refuses the request: ", "hape"):
            model.ask("decode", {"z": np.zeros([3, 5], np.float32)})
        with mistake("has no signature named discriminate; it has decode, encode"):
            model.ask("discriminate", {})


@pytest.mark.slow
@pytest.mark.parametrize("loss, answers", [("non_saturating", "logits\tprobability"), ("wasserstein", "score")])
def test_points(loss, answers, tmp_path, capsys):
    exported = Exported(gan_of_points(loss=loss), tmp_path / "export", signatures=["discriminate"])
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(4, 2)))
    with RestServer(Models({"ring": [exported]})) as server:
        there = [f"--server={server.address}", "--model=ring"]
        run(client.main, *there, "--num=50", f"--out={tmp_path / 'there.png'}")
        run(client.main, *there, "--task=score", f"--data={tmp_path / 'points.npy'}")
        with mistake("has no signature named reconstruct"):
            run(client.main, *there, "--task=reconstruct", f"--data={tmp_path / 'points.npy'}")
    run(sample.main, f"--model_dir={exported.export_dir}", "--num=50", f"--out={tmp_path / 'here.png'}")
    assert (tmp_path / "here.png").read_bytes() == (tmp_path / "there.png").read_bytes()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"row\t{answers}" and [line.split("\t")[0] for line in lines[2:7]] == [*"0123", "mean"]


@pytest.mark.parametrize("scheme, answer, message", [
    ("http", b"HTTP/1.0 200 OK\r\n\r\n<html>Please log in</html>", "does not answer in JSON"),
    ("http", b"HTTP/1.0 200 OK\r\n\r\n\xff\xfe", "does not answer in JSON"),
    ("http", b"HTTP/1.0 407 Proxy Authentication Required\r\n\r\n<html>", "HTTP 407 Proxy Auth"),
    ("http", b"HTTP/1.0 502 Bad Gateway\r\n\r\n<html>", "is not available (1 attempts): HTTP 502 Bad Gateway, which"),
    ("http", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\r\n", "is that gRPC's port?"),  # HTTP/2's
    ("http", b"SSH-2.0-OpenSSH\r\n", "does not answer by HTTP"),
    ("https", b"HTTP/1.0 400 Bad Request\r\n\r\n", "can not be reached by TLS"),
    ("http", b"", "is not available (1 attempts)"),
    pytest.param("", b"HTTP/1.0 400 Bad Request\r\n\r\n", "is not available (1 attempts)", marks=needs_grpc),
])  # fmt: skip
def test_what_is_no_tensorflow_serving_is_told(scheme, answer, message):
    """Whatever is asked, these bytes come back."""

    class Other(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(4096)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        with mistake("the model vae at ", message):
            run(client.main, f"--server={f'{scheme}://' * bool(scheme)}{address}", "--model=vae", "--retries=0")
        server.shutdown()


UNEQUAL = {"z_from": [[0] * 4], "z_to": [[0] * 4], "alpha": [1, 0]}  # in their numbers of rows


@pytest.mark.slow
@pytest.mark.parametrize("where, body, status, message", [
    ("", {"inputs": {"seed": [7], "colour": [1]}}, 200, "outputs"),
    ("", {"instances": [{"seed": 7, "colour": 1}]}, 400, "keys must be equal to"),
    ("", {"instances": [7.0]}, 400, "not of expected type: int64"),
    ("", {"instances": ["7"]}, 400, "not of expected type: int64"),
    ("", {"inputs": [1e3]}, 400, "not of expected type: int64"),
    ("", {"instances": []}, 400, "No values in 'instances' array"),
    ("", {"inputs": {"colour": [1]}}, 400, "Missing named input: seed in 'inputs' object."),
    ("", {"signature_name": "paint", "inputs": [1]}, 400, "not found in signature def"),
    ("/labels/stable", {"instances": [7]}, 400, "Unrecognized servable version label"),
    ("/versions/1", {"instances": [7]}, 404, "Specific(vae, 1)"),
    ("", {"signature_name": "interpolate", "inputs": UNEQUAL}, 400, ""),
])  # fmt: skip
def test_the_stand_in_answers_as_tensorflow_serving_does(vae, where, body, status, message):
    with RestServer(Models({"vae": [vae]})) as server:
        url = f"{server.address}/v1/models/vae{where}:predict"
        try:
            with urllib.request.urlopen(url, json.dumps(body).encode()) as response:
                found = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            found = error.code, json.load(error)["error"]
    assert found[0] == status and message in found[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_no_rows_are_not_asked(vae, kind):
    with kind(Models({"vae": [vae]})) as server:
        model, none = make(server), {"images": np.zeros([0, 8, 8, 1], np.float32), "seed": np.zeros(0, int)}
    for name, signature in model.signatures.items():  # the server is gone
        inputs = {key: none.get(key, np.zeros([0, *shape], np.float32)) for key, shape in signature.inputs.items()}
        assert_same(model.ask(name, inputs), vae.call(name, inputs))


def test_no_tensorflow_serving():
    with RestServer(Models({}), ["nonsense"]) as server:
        with mistake("does not describe itself as a model of TensorFlow Serving"):
            run(client.main, f"--server={server.address}", "--model=vae")
    with mistake("must be http://HOST:PORT"):
        run(client.main, "--server=ftp://localhost", "--model=vae")


def test_grpc_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with mistake("needs the package tensorflow-serving-api"):
        run(client.main, "--server=localhost:8500", "--model=vae")


WITHOUT_TENSORFLOW = """
import sys
sys.modules.update(dict.fromkeys(["zoo", "keras", "tensorflow"]))  # importing them fails
from export import client
client.main(["client", *sys.argv[1:]])
"""


@pytest.mark.slow
def test_rest_needs_no_tensorflow(vae, tmp_path):
    with RestServer(Models({"vae": [vae]})) as server:
        flags = [f"--server={server.address}", "--model=vae", f"--out={tmp_path / 'grid.png'}"]
        subprocess.run([sys.executable, "-c", WITHOUT_TENSORFLOW, *flags], check=True)
    assert (tmp_path / "grid.png").exists()
