#!/usr/bin/python3
"""Makes data/testdata/randaugment.json: a picture after each of torchvision's RandAugment operations, at the usual, a
middling and the largest magnitude, both ways where there are two.

    apt-get install python3-torchvision
    tools/golden_randaugment.py            # from the root of the tree

A picture is base64 of its bytes, (channels, height, width).
"""

import base64
import json
import os
import random

import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import RandAugment, _apply_op

WIDTH, HEIGHT = 19, 15


def planes(image):
    return base64.b64encode(b"".join(band.tobytes() for band in image.split())).decode()


def main():
    rng = random.Random(1)
    image = Image.new("RGB", (WIDTH, HEIGHT))
    image.putdata([tuple(rng.randrange(256) if (x + y) % 2 else 30 + 6 * x + 5 * y for _ in range(3)) for y in range(HEIGHT) for x in range(WIDTH)])
    results = []
    for magnitude in 9, 14, 30:
        space = RandAugment()._augmentation_space(31, (HEIGHT, WIDTH))
        for name, (magnitudes, signed) in space.items():
            by = float(magnitudes[magnitude]) if magnitudes.ndim > 0 else 0.0
            for sign in (1, -1) if signed else (1,):
                done = _apply_op(image, name, sign * by, interpolation=InterpolationMode.NEAREST, fill=None)
                results.append({"operation": name, "magnitude": magnitude, "sign": sign, "pixels": planes(done)})
    os.makedirs("data/testdata", exist_ok=True)
    with open("data/testdata/randaugment.json", "w") as out:
        json.dump({"torchvision": torchvision.__version__, "height": HEIGHT, "width": WIDTH, "pixels": planes(image), "operated": results},
                  out, indent=0)
        out.write("\n")


if __name__ == "__main__":
    main()
