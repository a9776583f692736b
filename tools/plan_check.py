#!/usr/bin/env python3
"""Compares `lte plan` with runs: prints, for each case, the predicted and the measured time of an interval.

    tools/plan_check.py ranks                    2, 4 and 8 ranks on this machine
    tools/plan_check.py hosts RATE...            4 ranks on two hosts of this machine (tools/hosts.sh; needs root), joined by links
                                                 of that rate, such as 1gbit, 100mbit and 20mbit

What LTE_MPIRUN names is the launcher ("mpirun" if unset); ./lte is built for it. Runs are of the built-in job, without evaluation;
of two halves the second counts. A case is planned and run three times in turn, as speed that is shared with others comes and goes;
what is printed are medians, of the ratio too.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile

MPIRUN = shlex.split(os.environ.get("LTE_MPIRUN", "mpirun"))
METHODS = {"lte": [], "lte, int8": ["exchange.wire=\"int8\""], "full": ["method=\"full\""], "localsgd": ["method=\"localsgd\""]}
SECONDS = 4  # that half a run is to take
ROUNDS = 3


def output(launcher, ranks, *arguments):
    line = [*launcher, "-np", str(ranks), "./lte", *arguments]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode != 0:
        sys.exit(f"{shlex.join(line)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def settings(keys):
    return [word for key in keys for word in ("--set", key)]


def measured(launcher, ranks, keys, intervals, k):
    """Seconds of an interval, in the second half of a run of that many intervals."""
    with tempfile.TemporaryDirectory() as folder:
        directory = os.path.join(folder, "run")
        steps = 2 * intervals * k
        output(launcher, ranks, "train", "--quiet", "--run-dir", directory, *settings(keys), "--set", f"train.steps={steps}", "--set",
               f"run.log_every={intervals * k}", "--set", "run.eval_every=0", "--set", "schedule.warmup=0")
        with open(os.path.join(directory, "metrics.jsonl")) as lines:
            first, last = [json.loads(line) for line in lines][-2:]
    images = last["images"] - first["images"]
    return images / last["images_per_second"] * k / (last["step"] - first["step"])


def compare(what, launcher, ranks, flags):
    for name, keys in METHODS.items():
        rounds = []
        for _ in range(ROUNDS):
            text = output(launcher, ranks, "plan", "--json", "--ranks", str(ranks), *flags, *settings(keys))
            plan = next(p for p in map(json.loads, text.splitlines()) if p["method"] == name.split(",")[0])
            intervals = max(1, min(400, round(SECONDS / plan["seconds"])))
            took = measured(launcher, ranks, keys, intervals, plan["steps"])
            rounds.append((took, plan["seconds"], took / plan["seconds"], plan["communicating"]))
        took, planned, ratio, waiting = map(statistics.median, zip(*rounds))
        print(f"| {what} | {name} | {1e3 * took:.0f} ms | {1e3 * planned:.0f} ms | {ratio:.2f} | {100 * waiting:.0f} % |", flush=True)


def main():
    print("| where | method | an interval took | planned | ratio | planned for waiting |\n| --- | --- | --- | --- | --- | --- |")
    match sys.argv[1:]:
        case ["ranks"]:
            for ranks in 2, 4, 8:
                compare(f"{ranks} ranks", MPIRUN, ranks, ["--ranks-per-node", str(ranks)])
        case ["hosts", *rates] if rates:
            hosts = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hosts.sh")
            os.environ["MPIRUN"] = shlex.join(MPIRUN)
            for rate in rates:
                subprocess.run([hosts, "up", "2", rate], check=True)
                try:
                    # One of this machine's two cores is a host's.
                    compare(f"2 hosts, {rate}", [hosts, "mpirun"], 4, ["--ranks-per-node", "2", "--cores", "1", "--latency", "50us",
                                                                       "--bandwidth", rate.replace("mbit", "Mbit").replace("gbit", "Gbit")])
                finally:
                    subprocess.run([hosts, "down"], check=True)
        case _:
            sys.exit(__doc__)


main()
