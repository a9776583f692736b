#!/usr/bin/python3
"""Times torchvision's ImageFolder with the transforms that lte bench data has: random resized crop, flip, normalisation.

tools/bench_data.py runs it beside lte. It prints one JSON object.
"""

import argparse
import json
import time

import torch
from torchvision import datasets, transforms


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder")
    p.add_argument("--images", type=int, default=1000)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--size", type=int, default=224)
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    images = datasets.ImageFolder(a.folder, transforms.Compose([
        transforms.RandomResizedCrop(a.size, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]))

    def batches():
        while True:  # in this process: other ones would have the same core
            yield from torch.utils.data.DataLoader(images, batch_size=a.batch, shuffle=True, drop_last=True)

    feed = batches()
    for _ in range(3):
        next(feed)
    count = (a.images + a.batch - 1) // a.batch
    began = time.perf_counter()
    for _ in range(count):
        next(feed)
    print(json.dumps({"kind": "data", "images": count * a.batch, "images_per_second": count * a.batch / (time.perf_counter() - began)}))


if __name__ == "__main__":
    main()
