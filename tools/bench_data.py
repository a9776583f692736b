#!/usr/bin/python3
"""Compare how fast lte and torchvision read and augment a folder of JPEG files, on one core.

Run:    make build && tools/bench_data.py            (--folder, --images, --rounds, --core, --json …)
Needs:  ./lte, and Debian 12's python3-torchvision.

Without --folder it makes one of its own, 400 pictures of about the sizes of ImageNet's, 500×375 and the like. Every round runs,
one after the other and on the same core, tools/torch_feed.py (ImageFolder, random resized crop to 224×224, flip,
normalisation) and `lte bench data`, which does the same. As a slow spell of the machine hits both of a round, the
number to trust is the median over rounds of the round's own ratio.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path

from bench_torch import measure

BAR = 2.0  # the least ratio lte / torchvision


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--lte", default="./lte", help="the program (./lte)")
    p.add_argument("--python", default="/usr/bin/python3", help="the Python that has torchvision (/usr/bin/python3)")
    p.add_argument("--folder", help="folder of class folders; made, if none is named")
    p.add_argument("--images", type=int, default=1000, help="timed images of a run (1000)")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--core", type=int, default=0, help="the core that both run on (0)")
    p.add_argument("--json", action="store_true", help="one object instead of lines")
    a = p.parse_args()
    if a.rounds < 1 or a.images < 1:
        p.error("--rounds and --images must be at least 1")
    if a.core not in os.sched_getaffinity(0):
        p.error(f"--core {a.core} is not among this process's cores, {sorted(os.sched_getaffinity(0))}")
    return a


def make(folder):
    """400 JPEG files in 10 classes: clouds of noise at several scales, so that they compress about as photographs do."""
    from PIL import Image, ImageChops

    rng = random.Random(1)
    for i in range(400):
        width, height = rng.choice([(500, 375), (375, 500), (500, 333), (400, 300), (640, 480)])
        picture = Image.new("RGB", (width, height), (128, 128, 128))
        for scale, strength in (64, 120), (16, 60), (4, 40), (1, 20):
            noise = Image.merge("RGB", [Image.effect_noise((width // scale + 2, height // scale + 2), strength) for _ in range(3)])
            picture = ImageChops.add(picture, noise.resize((width, height), Image.Resampling.BICUBIC), 1, -128)
        to = Path(folder) / f"class{i % 10}"
        to.mkdir(exist_ok=True)
        picture.save(to / f"{i}.jpg", quality=90)


def main():
    a = arguments()
    with tempfile.TemporaryDirectory(prefix="bench-data-") as made:
        if not a.folder:
            make(made)
        folder = a.folder or made
        rounds = []
        for i in range(a.rounds):
            lte = measure([a.lte, "bench", "data", folder, "--steps", "0", "--images", str(a.images), "--json"], a.core,
                          "make build, or point --lte at the program", kind="data")
            torch = measure([a.python, str(Path(__file__).with_name("torch_feed.py")), folder, "--images", str(a.images)], a.core,
                            "apt-get install python3-torchvision, or point --python at a Python", kind="data")
            rounds.append((lte, torch))
            print(f"round {i + 1} of {a.rounds}: images/s lte {lte:.0f}, torchvision {torch:.0f}", file=sys.stderr)
    ratios = [lte / torch for lte, torch in rounds]
    lte, torch, ratio = (statistics.median(x) for x in (*zip(*rounds), ratios))
    if a.json:
        print(json.dumps({"kind": "torchvision", "rounds": a.rounds, "images": a.images, "lte_images_per_second": round(lte, 1),
                          "torchvision_images_per_second": round(torch, 1), "ratio": round(ratio, 3), "ratio_min": round(min(ratios), 3),
                          "ratio_max": round(max(ratios), 3), "bar": BAR}))
    else:
        print(f"JPEG files fed at 224×224 on core {a.core}, images/s: lte {lte:.0f}, torchvision {torch:.0f}; ratio {ratio:.2f} "
              f"({min(ratios):.2f} to {max(ratios):.2f}), bar {BAR}" + ("" if ratio >= BAR else ": below"))


if __name__ == "__main__":
    main()
