"""Asks a model behind TensorFlow Serving as export.sample asks one on the disk.

python -m export.client --server=http://HOST:8501 --model=NAME [--num=64] [--seed=0] [--label=3] [--draws]
python -m export.client --server=HOST:8500 --model=NAME --task=reconstruct --data=PICTURES [--out=grid.png]
python -m export.client --server=HOST:8500 --model=NAME --task=score --data=PICTURES
python -m export.client --server=HOST:8500 --model=NAME --task=interpolate [--data=PICTURES] [--num=8]
python -m export.client --server=HOST:8500 --model=NAME --task=arithmetic --data=A,B,C

The tasks are those of export.sample, which says more of them.

An address that starts with http is TensorFlow Serving's REST, any other its gRPC, which needs the package
tensorflow-serving-api. The newest version that the server has answers, unless --version or --version_label is given.
"""

from absl import flags as absl_flags

from common import cli
from common import flags as common_flags
from export import commands, servers


def define_server(flags):
    """The flags of every command that asks a server."""
    own = {"flag_values": flags}
    absl_flags.DEFINE_string("server", None, "http://HOST:8501 for REST, HOST:8500 for gRPC.", **own)
    absl_flags.DEFINE_string("model", None, "The server's name of the model.", **own)
    absl_flags.DEFINE_integer("version", None, "The version to ask; default the newest.", lower_bound=0, **own)
    absl_flags.DEFINE_string("version_label", None, "The version to ask, by its label.", **own)
    common_flags.define_float(flags, "timeout", 10.0, "Seconds that a request may take.", lower_bound=0.001)
    absl_flags.DEFINE_integer(
        "retries", 3, "How often a request is repeated while the server is not available.", lower_bound=0, **own
    )
    absl_flags.DEFINE_integer("batch_size", 64, "Rows of one request.", lower_bound=1, **own)


def connect(flags):
    """The model that the flags name.

    Raises:
        UserError: if it can not be reached.
    """
    if flags.model is None:
        raise cli.UserError("--model is missing: give the name that the server has for the model.")
    if flags.version is not None and flags.version_label is not None:
        raise cli.UserError("--version and --version_label exclude each other: give one of them.")
    scheme, separator, _ = flags.server.partition("://")
    if separator and scheme not in ("http", "https"):
        raise cli.UserError(f"--server={flags.server} must be http://HOST:PORT, or HOST:PORT for gRPC.")
    runtime = servers.Rest if separator else servers.Grpc
    options = {"timeout": flags.timeout, "retries": flags.retries, "batch": flags.batch_size}
    return runtime(flags.server, flags.model, flags.version, flags.version_label, **options)


def main(argv):
    flags = absl_flags.FlagValues()
    define_server(flags)
    commands.define_flags(flags)
    common_flags.parse(flags, argv, __doc__, required="server")
    commands.check_flags(flags)
    commands.perform(flags, connect(flags))


if __name__ == "__main__":
    cli.run(main)
