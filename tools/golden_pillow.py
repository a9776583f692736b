#!/usr/bin/python3
"""Makes data/picture/testdata/pillow.json, pictures resized by Pillow, which data/picture must match within 1 level, and
data/transform/testdata/pillow.json, Pillow's operations, which data/transform must match likewise.

    apt-get install python3-pil
    tools/golden_pillow.py            # from the root of the tree

A picture is base64 of its bytes, (channels, height, width). The source is noise on a slope with black and white edges:
overshoot is cut at both ends, and no two pieces are alike. Operations work on a dim piece of it whose channels have ranges of
their own, on that in grey, and on pictures too small or too plain for some of them.
"""

import base64
import json
import random

from PIL import Image, ImageEnhance, ImageOps, __version__

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


NEAREST = Image.Resampling.NEAREST
FACTORS = [0, 0.1, 1.27, 1.9]
OPERATIONS = {  # name: (what Pillow does, arguments)
    "brightness": (lambda m, f: ImageEnhance.Brightness(m).enhance(f), FACTORS),
    "contrast": (lambda m, f: ImageEnhance.Contrast(m).enhance(f), FACTORS),
    "saturation": (lambda m, f: ImageEnhance.Color(m).enhance(f), FACTORS),
    "sharpness": (lambda m, f: ImageEnhance.Sharpness(m).enhance(f), FACTORS),
    "posterize": (ImageOps.posterize, [4, 7]),
    "solarize": (ImageOps.solarize, [0, 127.5, 255]),
    "autocontrast": (lambda m, _: ImageOps.autocontrast(m), [0]),
    "equalize": (lambda m, _: ImageOps.equalize(m), [0]),
    "shear x": (lambda m, s: m.transform(m.size, Image.Transform.AFFINE, (1, s, 0, 0, 1, 0), NEAREST), [-0.3, 0.09]),
    "shear y": (lambda m, s: m.transform(m.size, Image.Transform.AFFINE, (1, 0, 0, s, 1, 0), NEAREST), [-0.3, 0.09]),
    "translate x": (lambda m, d: m.transform(m.size, Image.Transform.AFFINE, (1, 0, -d, 0, 1, 0), NEAREST), [-31, 7]),
    "translate y": (lambda m, d: m.transform(m.size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, -d), NEAREST), [-31, 7]),
    "rotate": (lambda m, a: m.rotate(a, NEAREST), [-30, 9]),
}


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
    write("picture", {"height": HEIGHT, "width": WIDTH, "pixels": planes(image), "resized": results})
    write("transform", {"sources": operated(image)})


def operated(image):
    """Pictures with the results of Pillow's operations."""
    red, green, blue = image.crop((5, 4, 34, 27)).split()
    dim = Image.merge("RGB", [red.point(lambda v: 30 + v * 6 // 10), green.point(lambda v: v // 2), blue.point(lambda v: 90 + v // 4)])
    pictures = [dim, dim.convert("L"), dim.crop((7, 5, 9, 8)), dim.crop((20, 9, 21, 10)), Image.new("RGB", (16, 16), (9, 90, 200))]
    return [{"shape": [len(m.getbands()), m.height, m.width], "pixels": planes(m),
             "operated": [{"operation": name, "by": by, "pixels": planes(f(m, by))} for name, (f, all_by) in OPERATIONS.items() for by in all_by]}
            for m in pictures]


def write(package, goldens):
    with open(f"data/{package}/testdata/pillow.json", "w") as out:
        json.dump({"pillow": __version__, **goldens}, out, indent=0)
        out.write("\n")


if __name__ == "__main__":
    main()
