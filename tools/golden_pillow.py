#!/usr/bin/python3
"""Makes data/picture/testdata/pillow.json: pictures resized by Pillow, which data/picture must match within 1 level.

    apt-get install python3-pil
    tools/golden_pillow.py            # from the root of the tree

A picture is base64 of its bytes, (channels, height, width). The source is noise on a slope with black and white edges:
overshoot is cut at both ends, and no two pieces are alike.
"""

import base64
import json
import random

from PIL import Image, __version__

WIDTH, HEIGHT = 53, 41
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
CASES = [  # (top, left, height, width) of the piece, (height, width) of the result
    ((0, 0, 41, 53), (16, 16)),
    ((0, 0, 41, 53), (41, 20)),
    ((0, 0, 41, 53), (7, 5)),
    ((0, 0, 41, 53), (1, 1)),
    ((3, 11, 20, 17), (24, 24)),
    ((40, 0, 1, 53), (3, 9)),
    ((5, 50, 30, 3), (12, 10)),
    ((10, 20, 2, 2), (9, 9)),
]


def source():
    rng = random.Random(1)
    image = Image.new("RGB", (WIDTH, HEIGHT))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if x // 9 % 3 == 0 and y // 7 % 2 == 0:
                pixel = (255 * (x % 2), 255 * (y % 2), 255 * ((x + y) % 2))
            else:
                pixel = tuple(min(255, max(0, 4 * x + 2 * y + rng.randrange(-60, 61))) for _ in range(3))
            image.putpixel((x, y), pixel)
    return image


def planes(image):
    return base64.b64encode(b"".join(band.tobytes() for band in image.split())).decode()


def main():
    image = source()
    results = []
    for (top, left, height, width), (to_height, to_width) in CASES:
        piece = image.crop((left, top, left + width, top + height))
        for name, f in FILTERS.items():
            results.append({"box": [top, left, height, width], "size": [to_height, to_width], "filter": name,
                            "pixels": planes(piece.resize((to_width, to_height), f))})
    with open("data/picture/testdata/pillow.json", "w") as out:
        json.dump({"pillow": __version__, "height": HEIGHT, "width": WIDTH, "pixels": planes(image), "resized": results},
                  out, indent=0)
        out.write("\n")


if __name__ == "__main__":
    main()
