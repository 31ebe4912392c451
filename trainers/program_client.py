"""Runs programs of `trainers.program` to their end, in JAX: `python trainers/program_client.py RUN_DIR/program ...`.

It needs JAX and NumPy and nothing of the zoo. Started again, it goes on from result.npz. What it writes beside a
program: result.npz, the newest values of the variables; metrics.jsonl, a line for each call; machine.json.

Several programs share the device, as small networks do not fill one: on an H200 four of them at a time took 1.5 to 1.9
times as long as each alone. All are compiled before the first one runs, since the compiler tries kernels on the device;
the convolutions of 28 DCGANs at once took it six minutes there, so give a few at a time.
"""

import argparse
import json
import math
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SAVE_EVERY = 30.0  # seconds
LOOPS_ON_THE_GPU = "--xla_gpu_enable_command_buffer=+WHILE,+CONDITIONAL"  # saves a tenth to a third of small steps


def new_client():
    """A client of the device's runtime: on a CPU or with CUDA a new one, as programs of one client take turns."""
    from jax._src import xla_bridge  # what JAX has for programs of others has no public name
    from jaxlib import xla_client

    backend = xla_bridge.get_backend()
    if backend.platform == "cpu":
        return xla_client.make_cpu_client()
    if "cuda" in backend.platform_version:
        return xla_client.make_c_api_client("cuda", xla_client.generate_pjrt_gpu_plugin_options(), None)
    return backend


class Program:
    """A program on a device: its variables' values, and `call`, which takes them `steps_per_call` steps further."""

    def __init__(self, folder):
        os.environ["JAX_ENABLE_X64"] = "1"  # steps are int64
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several programs may share a card
        os.environ.setdefault("XLA_FLAGS", LOOPS_ON_THE_GPU)
        import jax
        import numpy as np
        from jax._src.lib import _jax
        from jaxlib import xla_client

        self.folder, self.about = folder, json.loads((folder / "program.json").read_text())
        result = folder / "result.npz"
        client = new_client()
        self.device = client.local_devices()[0]
        code = _jax.mlir.hlo_to_stablehlo((folder / "steps.hlo").read_bytes())
        place = _jax.DeviceList((self.device,))
        self.executable = client.compile_and_load(code, place, xla_client.CompileOptions())
        self.put = lambda array: jax.device_put(array, self.device)
        self.to_host = np.asarray
        with np.load(folder / "data.npz") as data:
            self.data = [self.put(data[name]) for name in self.about["inputs"]]
        with np.load(result if result.exists() else folder / "state.npz") as state:
            self.values = [self.put(state[str(number)]) for number in self.about["variables"]]

    def call(self):
        """Dict of the logs of one call, whose arrays are still being computed."""
        outputs = self.executable.execute([*self.data, *self.values])
        for output, parameter in self.about["aliases"]:
            self.values[parameter - len(self.data)] = outputs[output]
        return dict(zip(self.about["logs"], outputs, strict=False))

    def arrays(self):
        """Dict, number of a variable as text -> its value, a NumPy array."""
        numbers = map(str, self.about["variables"])
        return {number: self.to_host(value) for number, value in zip(numbers, self.values, strict=True)}

    def save(self):
        import numpy as np

        np.savez(self.folder / "result.tmp.npz", **self.arrays())
        os.replace(self.folder / "result.tmp.npz", self.folder / "result.npz")


def machine(device):
    """This machine, as a run's facts.json has it."""
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpus = [] if device.platform == "cpu" else [device.device_kind]
    cpu = " ".join(names[0].split()) if names else os.uname().machine
    return {"cpu": cpu, "num_cores": len(os.sched_getaffinity(0)), "memory_gib": round(memory, 1), "gpus": gpus}


def train(program, seconds, stopping):
    """Calls the program to its end, for so many seconds, or until the event `stopping`; returns the step it reached."""
    folder, about = program.folder, program.about
    (folder / "machine.json").write_text(json.dumps(machine(program.device)) + "\n")
    log = folder / "metrics.jsonl"
    kept = log.read_text().splitlines(keepends=True) if log.exists() and (folder / "result.npz").exists() else []
    step = json.loads(kept[-1])["step"] if kept else about["first_step"]
    log.write_text("".join(kept))
    began = saved = time.perf_counter()
    while step < about["num_steps"] and not stopping.is_set() and time.perf_counter() - began < seconds:
        start, cpu = time.perf_counter(), time.process_time()
        logs = {name: float(value) for name, value in program.call().items()}
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
        number = about["steps_per_call"]
        step += number
        pace = {"steps_per_second": number / took, "cpu_seconds_per_step": cpu / number}
        if not all(map(math.isfinite, logs.values())):
            raise FloatingPointError(f"a loss is not finite at step {step}")
        kept.append(json.dumps({"step": step, **logs, **pace}) + "\n")
        if time.perf_counter() - saved > SAVE_EVERY:
            program.save()
            log.write_text("".join(kept))
            saved = time.perf_counter()
    program.save()
    log.write_text("".join(kept))
    return step


def sketches(arrays):
    """Of each array of a dict 16 sums with random signs: the length of their difference estimates that of arrays."""
    import numpy as np

    found = {}
    for name, array in arrays.items():
        signs = np.random.default_rng(0)  # the same here and there
        flat = np.ravel(array).astype(float)
        found[name] = np.array([flat @ np.where(signs.random(flat.size) < 0.5, -1.0, 1.0) for _ in range(16)])
    return found


def check(program):
    """The largest difference of a variable after one call from what TensorFlow gave, by that variable's length."""
    import numpy as np

    program.call()
    with np.load(program.folder / "expected.npz") as expected:
        found = sketches(program.arrays())
        lengths = {number: np.linalg.norm(expected[number]) for number in found}
        return max(float(np.linalg.norm(found[n] - expected[n]) / max(lengths[n], 1e-12)) for n in found)


def say(line, file=sys.stdout):
    """Prints a line in one piece, beside other threads."""
    file.write(line + "\n")
    file.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="folder", help="RUN_DIR/program, of one run or more")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many, to go on later")
    parser.add_argument("--check", action="store_true", help="compare one call with TensorFlow's (expected.npz)")
    arguments = parser.parse_args()
    stopping, failed, compiled = threading.Event(), threading.Event(), threading.Barrier(len(arguments.folders))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    def run(folder):
        start = time.perf_counter()
        try:
            program = Program(folder)
            say(f"{folder}: compiled for {program.device} in {time.perf_counter() - start:.1f} s")
        finally:
            compiled.wait()
        if arguments.check:
            say(f"{folder}: the largest relative difference from TensorFlow is {check(program):.2g}")
            return
        start = time.perf_counter()
        step = train(program, arguments.seconds, stopping)
        took = time.perf_counter() - start
        say(f"{folder}: at step {step} of {program.about['num_steps']} after {took:.1f} s")

    def told(folder):
        try:
            run(folder)
        except Exception as error:  # the others go on
            failed.set()
            say(f"error: {folder}: {error}.", sys.stderr)

    with ThreadPoolExecutor(len(arguments.folders)) as pool:
        list(pool.map(told, arguments.folders))
    sys.exit(int(failed.is_set()))


if __name__ == "__main__":
    main()
