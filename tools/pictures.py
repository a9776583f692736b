#!/usr/bin/python3
"""Writes data/picture/testdata: one small image in the formats that image sets hold and Go's encoders cannot write, each with
Pillow's RGB version (NAME.png). Needs python3-pil; run it in the repository's root."""

import pathlib

from PIL import Image

out = pathlib.Path("data/picture/testdata")
out.mkdir(parents=True, exist_ok=True)
width, height = 47, 33
scene = Image.new("RGB", (width, height))  # smooth, so that decoders differ by rounding alone
scene.putdata([(255 * x // width, 255 * y // height, 255 * (x + y) // (width + height)) for y in range(height) for x in range(width)])
clear = scene.convert("RGBA")
clear.putalpha(Image.linear_gradient("L").resize(scene.size))


def save(name, image, **options):
    image.save(out / name, **options)
    golden(name)


def golden(name):
    Image.open(out / name).convert("RGB").save(out / (name + ".png"), optimize=True)


jpeg = {"quality": 95, "subsampling": 0}
save("cmyk.jpg", scene.convert("CMYK"), **jpeg)
save("progressive.jpg", scene, progressive=True, **jpeg)
save("grey.jpg", scene.convert("L"), **jpeg)
save("lossy.webp", scene, quality=95)
save("alpha.webp", clear, quality=95)
save("lossless.webp", scene, lossless=True)
save("rgb.bmp", scene)
save("palette.bmp", scene.quantize(60))
save("palette.png", scene.quantize(60))
save("deep.gif", scene.quantize(60), save_all=True, append_images=[clear.quantize(60)])

# YCCK, which Pillow reads but does not write: channels of that colour space in a CMYK file whose Adobe marker says so.
y, cb, cr = scene.convert("YCbCr").split()
black = Image.new("L", scene.size, 40)
Image.merge("CMYK", [c.point(lambda v: 255 - v) for c in (y, cb, cr)] + [black]).save(out / "ycck.jpg", **jpeg)
encoded = bytearray((out / "ycck.jpg").read_bytes())
encoded[encoded.index(b"Adobe") + 11] = 2  # the transform
(out / "ycck.jpg").write_bytes(encoded)
golden("ycck.jpg")
