#!/usr/bin/env python3
"""Compare a training step of lte with the same step in PyTorch, on one core.

Run:    make build && tools/bench_torch.py            (--model vit-b/32, --batch, --rank, --rounds, --json …)
Needs:  ./lte, and Debian 12's python3-torch and libopenblas0-pthread.

Every round runs, one after the other and on the same core, tools/torch_step.py and `lte bench step`, for each case:

    lte/out-of-box         LoRA heads, PyTorch as it is installed
    lte/tuned allocator    the same, with glibc told to keep its memory instead of asking the kernel for it at each step
    full/out-of-box        all weights train, PyTorch as it is installed

The two cases of lte share a round's run of lte, which stands between their two of PyTorch. A slow spell of the machine
hits a round's neighbours alike, so the number to trust is the median over rounds of the round's own ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

# Both thresholds above every tensor, as setting either turns glibc's own adjustment off: with the trim threshold alone
# every tensor is mapped and unmapped (a third slower than untouched). 32 MiB is the manual's limit of the mmap
# threshold; Debian 12's glibc 2.36 takes more, which larger batches need. Padding grows the heap in few large pieces.
TUNED = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296",
         "MALLOC_TOP_PAD_": "268435456"}

CASES = [  # name, method, PyTorch's run, the least ratio lte / PyTorch
    ("lte/out-of-box", "lte", "torch", 1.40),
    ("lte/tuned allocator", "lte", "torch tuned", 1.35),
    ("full/out-of-box", "full", "torch", 1.25),
]


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--lte", default="./lte", help="the program (./lte)")
    p.add_argument("--python", default="/usr/bin/python3", help="the Python that has torch (/usr/bin/python3)")
    p.add_argument("--model", default="vit-s/32", help="vit-t/32, vit-s/32 or vit-b/32 (vit-s/32)")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--rank", type=int, default=64)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=6, help="timed steps of a run (6)")
    p.add_argument("--core", type=int, default=0, help="the core that both run on (0)")
    p.add_argument("--json", action="store_true", help="one object a line instead of the table")
    a = p.parse_args()
    if a.rounds < 1:
        p.error("--rounds must be at least 1")
    if a.core not in os.sched_getaffinity(0):
        p.error(f"--core {a.core} is not among this process's cores, {sorted(os.sched_getaffinity(0))}")
    return a


def environment(extra):
    """The environment without variables of BLAS and the allocator: OpenBLAS chooses its kernels, glibc its thresholds."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "MALLOC_", "GLIBC_TUNABLES"))}
    return {**env, "OMP_NUM_THREADS": "1", **extra}


def measure(command, core, missing, extra={}, kind="step"):
    """Images per second of a command that prints JSON lines, one of them of that kind."""
    me = Path(sys.argv[0]).name
    try:
        p = subprocess.run(command, env=environment(extra), capture_output=True, text=True,
                           preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    except OSError as e:
        sys.exit(f"{me}: {command[0]}: {e.strerror}: {missing}")
    if p.returncode:
        said = (p.stderr.strip() or p.stdout.strip() or f"exit code {p.returncode}, without a word").splitlines()[-1]
        sys.exit(f"{me}: {said} (that was {' '.join(command)})")
    for line in p.stdout.splitlines():
        if line.startswith("{"):
            found = json.loads(line)
            if found.get("kind", kind) == kind and "images_per_second" in found:
                return found["images_per_second"]
    sys.exit(f"{me}: no images_per_second in what {' '.join(command)} printed")


def one_round(a):
    """{(method, run): images per second} of one round."""
    step = Path(__file__).with_name("torch_step.py")
    of_both = ["--model", a.model, "--batch", str(a.batch), "--rank", str(a.rank), "--threads", "1",
               "--steps", str(a.steps)]

    def torch(method, extra={}):
        return measure([a.python, str(step), *of_both, "--method", method], a.core,
                       "apt-get install python3-torch libopenblas0-pthread, or point --python at a Python", extra)

    def lte(method):
        return measure([a.lte, "bench", "step", "--recipe", "paper", *of_both, "--method", method, "--json"], a.core,
                       "make build, or point --lte at the program")

    # lte first: it is what a fresh checkout lacks, and a missing program should show at once. Then each of PyTorch's
    # runs is a neighbour of its lte run.
    return {("full", "lte"): lte("full"), ("full", "torch"): torch("full"),
            ("lte", "torch"): torch("lte"), ("lte", "lte"): lte("lte"), ("lte", "torch tuned"): torch("lte", TUNED)}


def main():
    a = arguments()
    rounds = []
    for i in range(a.rounds):
        rounds.append(one_round(a))
        print(f"round {i + 1} of {a.rounds}: images/s "
              + ", ".join(f"{method}: {run} {x:.1f}" for (method, run), x in rounds[-1].items()), file=sys.stderr)
    if not a.json:
        print(f"{a.model}, batch {a.batch}, rank {a.rank}, {a.rounds} rounds of {a.steps} steps on core {a.core}")
        print(f"{'':20}  {'images/s':^15}  {'ratio, per round':^22}")
        print(f"{'case':20}  {'lte':>7} {'PyTorch':>7}  {'median':>7} {'min':>7} {'max':>6}  {'bar':>5}")
    for case, method, run, bar in CASES:
        ours, theirs = [r[method, "lte"] for r in rounds], [r[method, run] for r in rounds]
        ratios = [x / y for x, y in zip(ours, theirs)]
        lte, torch, ratio = statistics.median(ours), statistics.median(theirs), statistics.median(ratios)
        if a.json:
            print(json.dumps({"kind": "torch", "case": case, "model": a.model, "batch": a.batch, "rank": a.rank,
                              "rounds": a.rounds, "steps": a.steps, "lte_images_per_second": round(lte, 3),
                              "torch_images_per_second": round(torch, 3), "ratio": round(ratio, 4),
                              "ratio_min": round(min(ratios), 4), "ratio_max": round(max(ratios), 4), "bar": bar}))
        else:
            print(f"{case:20}  {lte:7.1f} {torch:7.1f}  {ratio:7.2f} {min(ratios):7.2f} {max(ratios):6.2f}  {bar:5.2f}"
                  + ("" if ratio >= bar else "  below"))


if __name__ == "__main__":
    main()
