#!/usr/bin/python3
"""Time a training step of a vision transformer in PyTorch: what `lte bench step` is compared with.

Run:    /usr/bin/python3 tools/torch_step.py --model vit-s/32 --method lte     (pin it: taskset -c 0 …)
        tools/bench_torch.py                                                    runs it beside ./lte
Needs:  Debian 12's python3-torch (1.13) and libopenblas0-pthread. python3-torch alone multiplies with the reference
        BLAS, fifty times slower, which would be no comparison: this script then refuses to run.

The model is torchvision's VisionTransformer as lte trains it: pre-norm blocks, LayerNorm without affine parameters,
fixed 2-D sinusoidal positions, the classifier on the class token. Method lte: every linear layer is frozen and has a
LoRA head, which alone trains. Method full: all weights and biases train, and the class token. One step is forward,
cross entropy with label smoothing, backward, clipping, AdamW, on one batch made beforehand: no data loading.

Where PyTorch offers several ways, the one that measured fastest on one core is taken, so that what is beaten is what
a careful user would have. Written s·(xAᵀ)Bᵀ and added to y, the head costs 1 to 2 % more; q, k, v made contiguous in
one copy 8 % more, AdamW with foreach up to 1 % more. Attention by matmul, einsum or baddbmm, batch first or sequence
first, differs by less than the noise.

Prints one line of JSON. images_per_second is batch / median step time.
"""

import argparse
import json
import resource
import statistics
import sys
import time

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError as e:
    sys.exit(f"torch_step.py: {e}: apt-get install python3-torch libopenblas0-pthread, and use /usr/bin/python3")

PRESETS = {  # patch, depth, width, mlp, heads
    "vit-t/32": (32, 12, 192, 768, 3),
    "vit-s/32": (32, 12, 384, 1536, 6),
    "vit-b/32": (32, 12, 768, 3072, 12),
}


class LoRALinear(nn.Module):
    """y = xWᵀ + b + s·(xAᵀ)Bᵀ, with W and b frozen."""

    def __init__(self, inputs, outputs, rank, s=1.0):
        super().__init__()
        rank = min(rank, inputs, outputs)
        frozen = nn.Linear(inputs, outputs)
        self.weight = nn.Parameter(frozen.weight.detach(), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(outputs), requires_grad=False)
        self.A = nn.Parameter(torch.randn(rank, inputs) * rank**-0.5)
        self.B = nn.Parameter(torch.zeros(outputs, rank))
        self.s = s

    def forward(self, x):
        y = F.linear(x, self.weight, self.bias)
        # One product that adds to y: no other tensor of y's size is made and read again.
        z = torch.addmm(y.flatten(0, -2), F.linear(x, self.A).flatten(0, -2), self.B.t(), alpha=self.s)
        return z.view(y.shape)


class Block(nn.Module):
    def __init__(self, linear, width, mlp, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = linear(width, 3 * width), linear(width, width)
        self.fc1, self.fc2 = linear(width, mlp), linear(mlp, width)

    def attention(self, x):
        n, t, w = x.shape
        qkv = self.qkv(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = (y.flatten(0, 1) for y in qkv)  # (n·heads, t, dim) each; all in one copy takes longer
        unread = q.new_empty(1, 1, 1)  # beta = 0: baddbmm only wants its shape, and scales within the product
        p = torch.baddbmm(unread, q, k.transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5).softmax(-1)
        return self.proj((p @ v).view(n, self.heads, t, -1).transpose(1, 2).reshape(n, t, w))

    def forward(self, x):
        x = x + self.attention(norm(x))
        return x + self.fc2(F.gelu(self.fc1(norm(x))))


class ViT(nn.Module):
    def __init__(self, linear, image, patch, depth, width, mlp, heads, classes, train_token):
        super().__init__()
        self.patch = patch
        self.embed = linear(3 * patch * patch, width)
        self.token = nn.Parameter(torch.zeros(1, 1, width), requires_grad=train_token)
        self.positions = sincos(image // patch, width)
        self.blocks = nn.ModuleList(Block(linear, width, mlp, heads) for _ in range(depth))
        self.head = linear(width, classes)

    def forward(self, images):
        n, c, h, w = images.shape
        p = self.patch
        x = images.view(n, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5).reshape(n, -1, c * p * p)
        x = torch.cat([self.token.expand(n, -1, -1), self.embed(x)], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(norm(x[:, 0]))  # nothing reads the other tokens


def norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def sincos(side, width):
    """2-D sinusoids (1, 1 + side², width); the class token's row is 0."""
    omega = 10000 ** -(torch.arange(width // 4) / max(1, width // 4 - 1))
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    x, y = x.reshape(-1, 1) * omega, y.reshape(-1, 1) * omega
    rows = torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], 1)
    return torch.cat([torch.zeros(1, width), rows])[None]


def blas():
    """The BLAS library of this process."""
    if torch.backends.mkl.is_available():
        return "mkl"
    loaded = open("/proc/self/maps").read().lower()
    return next((name for name in ("openblas", "blis", "atlas", "armpl") if name in loaded), "reference")


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--model", choices=PRESETS, default="vit-s/32")
    for name in ("patch", "depth", "width", "mlp", "heads"):
        p.add_argument("--" + name, type=int, help="instead of the model's")
    p.add_argument("--image", type=int, default=224, help="side of the images (224)")
    p.add_argument("--classes", type=int, default=1000, help="as lte bench (1000)")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--rank", type=int, default=64)
    p.add_argument("--method", choices=["lte", "full"], default="lte")
    p.add_argument("--steps", type=int, default=10, help="timed steps")
    p.add_argument("--warmup", type=int, default=3, help="steps before them")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--dtype", choices=["f32"], default="f32")
    a = p.parse_args()
    for name, value in zip(("patch", "depth", "width", "mlp", "heads"), PRESETS[a.model]):
        if getattr(a, name) is None:
            setattr(a, name, value)
    if a.image % a.patch or a.width % a.heads or a.width % 4:
        p.error("the patch must divide the image, the heads the width, and 4 the width")
    if a.steps < 1 or a.warmup < 0:
        p.error("--steps must be at least 1, --warmup at least 0")
    return a


def main():
    a = arguments()
    if blas() == "reference":
        sys.exit("torch_step.py: PyTorch multiplies with the reference BLAS: apt-get install libopenblas0-pthread")
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)

    def linear(inputs, outputs):
        return LoRALinear(inputs, outputs, a.rank) if a.method == "lte" else nn.Linear(inputs, outputs)

    model = ViT(linear, a.image, a.patch, a.depth, a.width, a.mlp, a.heads, a.classes, a.method == "full")
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trained if p.dim() == 2]},
              {"params": [p for p in trained if p.dim() != 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-4, weight_decay=0.05, foreach=False)
    images = torch.randn(a.batch, 3, a.image, a.image)
    labels = torch.randint(a.classes, (a.batch,))

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(images), labels, label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        return loss.item()

    losses = [step() for _ in range(a.warmup)]
    faults, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
    for _ in range(a.steps):
        start = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - start)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    median = statistics.median(seconds)
    print(json.dumps({
        "images_per_second": round(a.batch / median, 3), "ms_per_step": round(1e3 * median, 3), "steps": a.steps,
        "torch": torch.__version__, "blas": blas(), "threads": torch.get_num_threads(), "method": a.method,
        "page_faults_per_step": faults // a.steps,  # what a tuned allocator saves
        "first_loss": losses[0], "loss": losses[-1],
    }))


if __name__ == "__main__":
    main()
