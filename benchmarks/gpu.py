"""Training steps on a GPU for which TensorFlow is not built, beside PyTorch on the same card, in two parts.

    python -m benchmarks.gpu prepare FOLDER           # with TensorFlow: programs of each model's step
    python benchmarks/gpu.py run FOLDER [--out=FILE]  # with JAX and PyTorch: compares and times them

For each model: the largest relative difference of a variable after one step from what TensorFlow gives on a CPU, both
in full float32; and milliseconds of a step of ours, a hundred in one call (`trainers.program`), and of PyTorch's, as it
is and by `torch.compile`, all of them in TF32 as they like. Everything compiles at the same time, each in a process of
its own, and then is timed in turns, when nothing else uses the card.
"""

import argparse
import contextlib
import fcntl
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODELS = "vae", "avb", "dcgan", "cgan", "ali", "dbm"
TURNS, SECONDS = 5, 0.5  # of each side, and at least of each turn
PATIENCE = 150.0  # seconds, for the slowest compiler
EXACT = {"NVIDIA_TF32_OVERRIDE": "0", "XLA_FLAGS": "--xla_gpu_enable_triton_gemm=false"}


def prepare(folder, models):
    """Writes FOLDER/NAME/one, a program of one step with what it gives here, and FOLDER/NAME/many, of 100 at a time."""
    from benchmarks.training import settings_of
    from common import cli

    with cli.starting_tensorflow():
        from trainers import program
    for name in models:
        for each, number in (("one", 1), ("many", 100)):
            settings = settings_of(name, folder / name / each, f"--num_steps={number}")
            print(f"wrote {program.write(settings, number, with_expected=number == 1)}", flush=True)


# --- One side, in a process of its own -------------------------------------------------------------------------------


@contextlib.contextmanager
def alone(folder):
    """Within, no other side is timed."""
    with open(folder / "turn", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def in_turns(folder, call, steps):
    """Milliseconds of a step in each turn. `call` takes `steps` steps and returns when they are done."""
    call()
    (folder / f"ready.{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.05)
    found = []
    for _ in range(TURNS):
        with alone(folder):
            call()
            count, start = 0, time.perf_counter()
            while time.perf_counter() - start < SECONDS:
                call()
                count += steps
            found.append(1e3 * (time.perf_counter() - start) / count)
        time.sleep(0.05)  # for the others
    return found


def side(folder, name, how):
    """What one process prints: dict of `difference`, or of `ms` for each turn."""
    sys.path += [str(ROOT / "trainers"), str(ROOT / "benchmarks" / "others")]
    if how in ("check", "ours"):
        import program_client

        program = program_client.Program(folder / name / {"check": "one", "ours": "many"}[how] / "program")
        if how == "check":
            return {"difference": program_client.check(program), "device": program.device.device_kind}

        def call():
            for value in program.call().values():
                value.block_until_ready()

        return {"ms": in_turns(folder, call, program.about["steps_per_call"])}

    import steps
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_default_device(device)
    torch.set_float32_matmul_precision("high")
    step = steps.find(name)(steps.wrapper(name, how))
    for _ in range(2):
        step()

    def call():
        for _ in range(20):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return {"ms": in_turns(folder, call, 20)}


# --- All of them -----------------------------------------------------------------------------------------------------


def run(folder, models, out):
    """Starts all sides, lets them be timed when each has compiled, and prints what they found."""
    sides = [(name, how) for how in ("compiled", "ours", "eager", "check") for name in models]
    processes, begun = {}, time.perf_counter()
    for old in [*folder.glob("ready.*"), *folder.glob("go")]:
        old.unlink()
    for name, how in sides:
        command = [sys.executable, __file__, "side", str(folder), name, how]
        environment = os.environ | (EXACT if how == "check" else {})
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes[name, how] = subprocess.Popen(command, env=environment, **pipes)
    while time.perf_counter() - begun < PATIENCE and any(
        process.poll() is None and not (folder / f"ready.{process.pid}").exists() for process in processes.values()
    ):
        time.sleep(0.1)
    (folder / "go").touch()
    found = {name: {} for name in models}
    for (name, how), process in processes.items():
        printed, errors = process.communicate()
        if process.returncode:
            lines = [line for line in errors.splitlines() if "Error" in line] or ["nothing was said"]
            found[name][how] = {"refused": lines[-1]}
        else:
            found[name][how] = json.loads(printed.splitlines()[-1])
        if out:
            out.write_text(json.dumps(found, indent=1) + "\n")
        print(name, how, line(found[name][how]), flush=True)


def line(found):
    if "ms" in found:
        return f"{statistics.median(found['ms']):.3f} ms ({min(found['ms']):.3f} to {max(found['ms']):.3f})"
    return ", ".join(f"{name} {value}" for name, value in found.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["prepare", "run", "side"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("side", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="where to keep what was found, as JSON")
    parser.add_argument("--models", default=",".join(MODELS), help="which, separated by commas")
    arguments = parser.parse_args()
    models = arguments.models.split(",")
    if arguments.verb == "prepare":
        prepare(arguments.folder, models)
    elif arguments.verb == "run":
        run(arguments.folder, models, arguments.out)
    else:
        print(json.dumps(side(arguments.folder, *arguments.side)))


if __name__ == "__main__":
    main()
