"""Drawing samples as others do it: `benchmarks/others/samplers.py NAME eager|compiled BATCH SECONDS`, printed as JSON.

In PyTorch, as it is or by `torch.compile`, with the networks of the flagfiles that `benchmarks/training.py` names, in
the mode of evaluation. An object is printed: `per_second`, samples in minibatches of BATCH.
"""

from steps import find, median_ms, tell, wrapper


def main(name, how, batch, seconds):
    import torch

    with torch.inference_mode():
        sample = find(name, "sample_")(wrapper(name, how), int(batch))
        sample()  # compiles
        return {"per_second": 1e3 * int(batch) / median_ms(sample, float(seconds))}


if __name__ == "__main__":
    tell(main)
