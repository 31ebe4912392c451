"""The configuration of a server of several models, parsed back by TensorFlow Serving's own protocol buffers."""

import pytest

from export import models_config
from tests.mistakes import mistake


@pytest.fixture
def exports(tmp_path):
    for name, numbers in {"digits": (3, 12, 20), 'a "quoted" \\ näme': (1,), "empty": ()}.items():
        (tmp_path / name).mkdir()
        for number in numbers:
            (tmp_path / name / str(number)).mkdir()
    return tmp_path


def command(exports, *flags):
    models_config.main(["models_config", *(flag.format(exports=exports) for flag in flags)])


def parse(path):
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2", reason="extra `serving`")
    from google.protobuf import text_format

    return list(text_format.Parse(path.read_text(), config.ModelServerConfig()).model_config_list.config)


def test_parsed_back(exports, capsys):
    out = exports / "models.config"
    command(
        exports,
        "--model=digits={exports}/digits",
        '--model=odd={exports}/a "quoted" \\ näme',
        "--version_label=digits:stable=12",
        "--version_label=digits:canary=20",
        "--version_label=digits:previous=12",
        f"--out={out}",
    )
    assert capsys.readouterr().out == f"{out}\n"
    digits, odd = parse(out)
    assert (digits.name, digits.base_path, digits.model_platform) == ("digits", str(exports / "digits"), "tensorflow")
    assert list(digits.model_version_policy.specific.versions) == [12, 20]
    assert dict(digits.version_labels) == {"stable": 12, "canary": 20, "previous": 12}
    assert (odd.name, odd.base_path) == ("odd", str(exports / 'a "quoted" \\ näme'))
    assert not odd.HasField("model_version_policy") and not odd.version_labels


def test_as_the_server_sees_them(exports):
    out = exports / "models.config"
    command(exports, "--model=digits={exports}/digits", "--base_path=/models/", f"--out={out}")
    assert [config.base_path for config in parse(out)] == ["/models/digits"]


@pytest.mark.parametrize("flags, message", [
    ([], "--model is missing"),
    (["--model=digits"], "must be NAME=DIRECTORY"),
    (["--model=a:b={exports}/digits"], "must be NAME=DIRECTORY"),
    (["--model=digits={exports}/nowhere"], "holds no version"),
    (["--model=digits={exports}/empty"], "holds no version"),
    (["--model=digits={exports}/digits"] * 2, "another model of the name digits"),
    (["--model=d={exports}/digits", "--version_label=e:stable=3"], "with the NAME of a --model"),
    (["--model=d={exports}/digits", "--version_label=d:stable=new"], "must be NAME:LABEL=VERSION"),
    (["--model=d={exports}/digits", "--version_label=d:stable=4"], "has the versions 3, 12, 20"),
    (["--model=d={exports}/digits", "--out={exports}/digits"], "can not be written"),
])  # fmt: skip
def test_mistakes(flags, message, exports):
    with mistake(message):
        command(exports, *flags)
