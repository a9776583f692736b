#!/usr/bin/python3
"""Make the golden test vectors of the Go tests: values computed by PyTorch.

Run:    /usr/bin/python3 tools/vectors.py
Needs:  Debian 12's python3-torch (1.13) and python3-torchvision (0.14), which bring python3-numpy.

Writes, from the repository's root whatever the working directory:

    model/testdata/vit.safetensors          micro torchvision VisionTransformer: loss and gradients
    model/testdata/vit_plain.safetensors    the same without LayerNorm affine parameters
    model/testdata/vit_lora.safetensors     vit_plain's model, every linear layer an LTE layer: gradients of A and B
    model/testdata/mixer.safetensors        micro MLP-Mixer with timm's structure and names: loss and gradients
    model/testdata/mixer_plain.safetensors  the same without LayerNorm affine parameters
    model/testdata/mixer_lora.safetensors   mixer_plain's model, every linear layer an LTE layer
    train/testdata/optim.json               AdamW, SGD, learning-rate schedules, gradient clipping
    train/testdata/muon.json                Muon on matrices of several shapes

tools/golden.py has whole LTE runs.

The safetensors files hold images (batch, channels, height, width), labels (batch), logits (batch, classes), loss (1),
and param/NAME for every parameter under the model's own name and in its own shape. Beside these, the files of weights
have grad/NAME for every parameter; those of factors have, for every linear layer (NAME without .weight or _weight),
lora/LAYER/A (r, n), B (m, r), A_merged and B_merged, and the gradients grad/LAYER/A and B. The metadata are the
model's configuration, layer_norm_eps, layer_norm_affine and label_smoothing; where there are factors, rank (of a
layer: min(rank, m, n)) and scale, the s of all layers. In mixer and mixer_plain the gradients of
blocks.*.mlp_tokens.fc2.bias are exactly 0: float32 code finds some 1e-8 there, so compare absolutely.

Every input is a multiple of 2^-12, or is rounded to float32 at once, so that float32 code begins with exactly
these numbers. All is computed in float64 on one thread. Tensors in the safetensors files are float64 results
rounded to float32, except labels (I64) and loss (F64). JSON numbers are float64 and read back exactly. Inputs
come from Python's random.Random, one stream per file, with fixed seeds; vit_lora has vit_plain's seed, and so its
parameters and images, and mixer_lora has mixer_plain's.

The script checks itself against second derivations, by assertion, and prints how far the same computation in
float32 strays, which is a guide to the tests' tolerances.
"""

import json
import math
import random
import struct
import warnings
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.utils.stateless import functional_call
from torchvision.models import VisionTransformer

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "model" / "testdata"
TRAIN = ROOT / "train" / "testdata"

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
torch.use_deterministic_algorithms(True)


# Inputs and files


def normal(rng, shape, std=1.0, mean=0.0):
    """Normal draws, rounded to multiples of 2^-12: exact in float32, short in JSON."""
    n = math.prod(shape)
    return torch.tensor([round((mean + std * rng.gauss(0, 1)) * 4096) / 4096 for _ in range(n)]).reshape(shape)


def float32(t):
    """Values rounded to float32, as float64."""
    return t.float().double()


DTYPES = {torch.float64: ("F64", "d"), torch.int64: ("I64", "q"), torch.float32: ("F32", "f")}


def write_safetensors(path, tensors, metadata):
    """Write the safetensors format by hand: 8-byte little-endian header length, JSON header, data without gaps.

    Wider dtypes come first and the header is padded with spaces to a multiple of 8 bytes, so that all is aligned.
    """
    header = {"__metadata__": metadata}
    data = bytearray()
    for name, t in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        dtype, code = DTYPES[t.dtype]
        flat = t.detach().reshape(-1).tolist()
        begin = len(data)
        data += struct.pack(f"<{len(flat)}{code}", *flat)
        header[name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))


def write_json(path, value):
    """Write JSON with one line per innermost list."""

    def dump(v, indent):
        pad = "\n" + " " * (indent + 1)
        end = "\n" + " " * indent
        if isinstance(v, dict) and v:
            return "{" + ",".join(f"{pad}{json.dumps(k)}: {dump(x, indent + 1)}" for k, x in v.items()) + end + "}"
        if isinstance(v, list) and any(isinstance(x, (list, dict)) for x in v):
            return "[" + ",".join(pad + dump(x, indent + 1) for x in v) + end + "]"
        return json.dumps(v, allow_nan=False)

    path.write_text(dump(value, 0) + "\n")


def deviation(got, want):
    """The largest difference, relative to the largest value."""
    got, want = got.detach().double(), want.detach().double()
    return float((got - want).abs().max() / want.abs().max().clamp_min(1e-300))


# Models

VIT = dict(image_size=6, patch_size=2, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=5)
MIXER = dict(image_height=8, image_width=12, patch_size=4, num_layers=2, hidden_dim=12, token_mlp_dim=10,
             channel_mlp_dim=20, num_classes=5)
LN_EPS = 1e-6
SMOOTHING = 0.1


def make_vit(affine, dtype=torch.float64, config=VIT):
    """A VisionTransformer in train mode (dropout is 0), so that attention does not take the fused fast path."""
    norm = partial(torch.nn.LayerNorm, eps=LN_EPS, elementwise_affine=affine)
    model = VisionTransformer(**config, norm_layer=norm).to(dtype).train()
    model.config, model.image = config, (3, config["image_size"], config["image_size"])
    return model


class Mlp(torch.nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = torch.nn.Linear(width, hidden)
        self.fc2 = torch.nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class MixerBlock(torch.nn.Module):
    def __init__(self, norm, tokens, width, token_mlp, channel_mlp):
        super().__init__()
        self.norm1 = norm(width)
        self.mlp_tokens = Mlp(tokens, token_mlp)
        self.norm2 = norm(width)
        self.mlp_channels = Mlp(width, channel_mlp)

    def forward(self, x):
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_channels(self.norm2(x))


class Mixer(torch.nn.Module):
    """MLP-Mixer (Tolstikhin et al., arXiv 2105.01601) with the structure and the names of timm's MlpMixer."""

    def __init__(self, norm, config):
        super().__init__()
        patch, width = config["patch_size"], config["hidden_dim"]
        tokens = config["image_height"] // patch * (config["image_width"] // patch)
        self.stem = torch.nn.Module()
        self.stem.proj = torch.nn.Conv2d(3, width, patch, stride=patch)
        self.blocks = torch.nn.Sequential(*[
            MixerBlock(norm, tokens, width, config["token_mlp_dim"], config["channel_mlp_dim"])
            for _ in range(config["num_layers"])])
        self.norm = norm(width)
        self.head = torch.nn.Linear(width, config["num_classes"])

    def forward(self, images):
        x = self.stem.proj(images).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(1))


def make_mixer(affine, dtype=torch.float64, config=MIXER):
    norm = partial(torch.nn.LayerNorm, eps=LN_EPS, elementwise_affine=affine)
    model = Mixer(norm, config).to(dtype).train()
    model.config, model.image = config, (3, config["image_height"], config["image_width"])
    return model


def mixer_forward(model, images, logits):
    """The forward pass again, from the paper's equations (1) with tokens × channels matrices, image by image."""
    p = {name: t.detach() for name, t in model.named_parameters()}

    def norm(x, name):
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + LN_EPS).sqrt()
        return x * p[name + ".weight"] + p[name + ".bias"] if name + ".weight" in p else x

    def mlp(rows, name):
        h = rows @ p[name + ".fc1.weight"].T + p[name + ".fc1.bias"]
        h = h * (1 + torch.erf(h / math.sqrt(2))) / 2
        return h @ p[name + ".fc2.weight"].T + p[name + ".fc2.bias"]

    size = model.config["patch_size"]
    for image, want in zip(images, logits):
        x = torch.stack([image[:, i:i + size, j:j + size].flatten()
                         for i in range(0, image.shape[1], size) for j in range(0, image.shape[2], size)])
        x = x @ p["stem.proj.weight"].flatten(1).T + p["stem.proj.bias"]
        for i in range(model.config["num_layers"]):
            x = x + mlp(norm(x, f"blocks.{i}.norm1").T, f"blocks.{i}.mlp_tokens").T
            x = x + mlp(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp_channels")
        x = norm(x, "norm")
        assert deviation(p["head.weight"] @ (sum(x) / len(x)) + p["head.bias"], want) < 1e-13


def random_params(model, rng, gain=1.5):
    """Every parameter random, none at its initial value, of sizes that give gradients of order 1.

    A weight has standard deviation gain/sqrt(fan-in).
    """
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".ln" in name or "norm" in name:
                p.copy_(normal(rng, p.shape, 0.3, 1.0 if name.endswith("weight") else 0.0))
            elif p.dim() == 1:
                p.copy_(normal(rng, p.shape, 0.3))
            elif name in ("class_token", "encoder.pos_embedding"):
                p.copy_(normal(rng, p.shape, 0.8))
            else:
                p.copy_(normal(rng, p.shape, gain / math.sqrt(p[0].numel())))


def smoothed_loss(logits, labels):
    return F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)


def make_inputs(model, rng):
    return normal(rng, (3, *model.image)), torch.tensor([4, 0, 2])


def metadata(config, affine, **more):
    return {
        **{k: str(v) for k, v in config.items()},
        "layer_norm_eps": str(LN_EPS),
        "layer_norm_affine": str(affine).lower(),
        "label_smoothing": str(SMOOTHING),
        **{k: str(v) for k, v in more.items()},
    }


def outputs(images, labels, logits, loss):
    return {
        "images": images.float(),
        "labels": labels,
        "logits": logits.float(),
        "loss": loss.reshape(1),
    }


def weights(path, make, affine, seed):
    """Logits, loss and the gradient of every parameter. Returns the model, its images and logits."""
    rng = random.Random(seed)
    model = make(affine)
    random_params(model, rng)
    images, labels = make_inputs(model, rng)
    logits = model(images)
    loss = smoothed_loss(logits, labels)
    loss.backward()

    tensors = outputs(images, labels, logits, loss)
    for name, p in model.named_parameters():
        assert torch.equal(float32(p), p), name
        # The last bias of a token MLP shifts all channels of a token alike, which every LayerNorm takes out.
        if name.endswith("mlp_tokens.fc2.bias"):
            assert p.grad.abs().max() < 1e-14, name
            p.grad.zero_()
        else:
            assert p.grad.abs().max() > 1e-2, name
        tensors["param/" + name] = p.float()
        tensors["grad/" + name] = p.grad.float()
    write_safetensors(path, tensors, metadata(model.config, affine))

    # The loss from its definition: smoothing mixes the label's distribution with the uniform one.
    logp = logits - logits.logsumexp(1, keepdim=True)
    target = (1 - SMOOTHING) * F.one_hot(labels, logits.shape[1]) + SMOOTHING / logits.shape[1]
    assert torch.allclose(loss, -(target * logp).sum(1).mean(), rtol=1e-13)

    single = make(affine, torch.float32)
    single.load_state_dict(model.state_dict())
    smoothed_loss(single(images.float()), labels).backward()
    worst = max(deviation(q.grad, p.grad) for p, q in zip(model.parameters(), single.parameters())
                if p.grad.any())
    sizes = [float(p.grad.abs().max()) for p in model.parameters() if p.grad.any()]
    print(f"{path.name}: loss {loss.item():.6f}, max |gradient| per parameter {min(sizes):.3g} to {max(sizes):.3g}, "
          f"float32 gradients stray {worst:.1e}")
    return model, images, logits


def lora_layers(model):
    """Layer name (the weight's name without .weight or _weight) to the weight's own name."""
    layers = {}
    for name, p in model.named_parameters():
        if p.dim() > 1 and name not in ("class_token", "encoder.pos_embedding"):
            layers[name[: -len("_weight")]] = name
    assert len(layers) == 2 + 4 * model.config["num_layers"]
    return layers


def factor_gradients(model, lora, images, labels, scale):
    """Logits, loss and, in the factors' .grad, the gradients of A and B in W_k = W - s B'A' + s B A."""
    params, effective = dict(model.named_parameters()), {}
    for layer, name in lora_layers(model).items():
        f, w = lora[layer], params[name].detach()
        # The convolution's weight as a matrix: columns by channel, row, column of the patch.
        w_k = w.flatten(1) - scale * f["B_merged"] @ f["A_merged"] + scale * f["B"] @ f["A"]
        effective[name] = w_k.reshape(w.shape)
    logits = functional_call(model, effective, (images,))
    loss = smoothed_loss(logits, labels)
    loss.backward()
    return logits, loss, effective


def factors(path, make, rank, scale, seed):
    """Gradients of A and B in W_k = W - s B'A' + s B A, for every linear layer.

    Huh et al., arXiv 2402.16828, in the form of algorithm.md, A local step of head k.
    """
    rng = random.Random(seed)
    model = make(affine=False)
    random_params(model, rng)
    images, labels = make_inputs(model, rng)

    params = dict(model.named_parameters())
    layers = lora_layers(model)
    lora = {}
    for layer, name in layers.items():
        m, n = params[name].flatten(1).shape
        r = min(rank, m, n)
        a_std, b_std = 1 / math.sqrt(n), 0.5
        lora[layer] = {
            "A": normal(rng, (r, n), a_std).requires_grad_(),
            "B": normal(rng, (m, r), b_std).requires_grad_(),
            "A_merged": normal(rng, (r, n), a_std),
            "B_merged": normal(rng, (m, r), b_std),
        }
    logits, loss, effective = factor_gradients(model, lora, images, labels, scale)

    tensors = outputs(images, labels, logits, loss)
    for name, p in params.items():
        tensors["param/" + name] = p.float()
    for layer, f in lora.items():
        for key, t in f.items():
            assert torch.equal(float32(t), t), layer
            tensors[f"lora/{layer}/{key}"] = t.float()
        for key in ("A", "B"):
            tensors[f"grad/{layer}/{key}"] = f[key].grad.float()
    write_safetensors(path, tensors, metadata(model.config, False, rank=rank, scale=scale))

    # The same by another way: the effective weights as plain parameters, then dB = s G A^T, dA = s B^T G.
    plain = make(affine=False)
    plain.load_state_dict({**model.state_dict(), **{k: v.detach() for k, v in effective.items()}})
    other = smoothed_loss(plain(images), labels)
    other.backward()
    assert torch.allclose(other, loss, rtol=1e-13)
    for layer, name in layers.items():
        f = lora[layer]
        g = dict(plain.named_parameters())[name].grad.flatten(1)
        assert deviation(f["B"].grad, scale * g @ f["A"].T) < 1e-12, layer
        assert deviation(f["A"].grad, scale * f["B"].T @ g) < 1e-12, layer
    # And the convolution is the matrix product on unfolded patches.
    patches = F.unfold(images, model.config["patch_size"], stride=model.config["patch_size"]).transpose(1, 2)
    conv = plain.get_submodule(next(iter(layers)))
    assert deviation(patches @ conv.weight.flatten(1).T + conv.bias, conv(images).flatten(2).transpose(1, 2)) < 1e-13

    single = make(False, torch.float32)
    single.load_state_dict(model.state_dict())
    lora32 = {layer: {k: t.detach().float().requires_grad_(k in ("A", "B")) for k, t in f.items()}
              for layer, f in lora.items()}
    factor_gradients(single, lora32, images.float(), labels, scale)
    worst = max(deviation(lora32[layer][k].grad, f[k].grad) for layer, f in lora.items() for k in ("A", "B"))
    sizes = [float(f[k].grad.abs().max()) for f in lora.values() for k in ("A", "B")]
    print(f"{path.name}: loss {loss.item():.6f}, max |gradient| per factor {min(sizes):.3g} to {max(sizes):.3g}, "
          f"float32 gradients stray {worst:.1e}")


# Optimizers, schedules, clipping


def closed_form(steps, warmup, lr, min_lr):
    def at(t):
        if t < warmup:
            return lr * (t + 1) / warmup
        return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * (t - warmup) / (steps - warmup))) / 2

    return [at(t) for t in range(steps)]


def schedule(steps, warmup, lr, min_lr):
    """The rate that torch's schedulers give each step."""
    sched = torch.optim.lr_scheduler
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    if warmup:
        s = sched.SequentialLR(
            opt,
            [
                sched.LinearLR(opt, start_factor=1 / warmup, end_factor=1, total_iters=warmup - 1),
                sched.CosineAnnealingLR(opt, T_max=steps - warmup, eta_min=min_lr),
            ],
            milestones=[warmup],
        )
    else:
        s = sched.CosineAnnealingLR(opt, T_max=steps, eta_min=min_lr)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR itself calls what torch calls deprecated
        for _ in range(steps):
            rates.append(opt.param_groups[0]["lr"])
            opt.step()
            s.step()
    closed = closed_form(steps, warmup, lr, min_lr)
    differences = [abs(a - b) / b for a, b in zip(rates, closed)]
    print(f"schedule steps={steps} warmup={warmup}: torch differs from the closed form by {max(differences):.1e} "
          f"(relative), {sum(a == b for a, b in zip(rates, closed))} of {steps} bit for bit")
    assert max(differences) < 1e-12
    return {"steps": steps, "warmup": warmup, "lr": lr, "min_lr": min_lr, "lrs": rates}


def optimizer(cls, init, grads, lrs, dtype=torch.float64, **options):
    p = init.clone().to(dtype).requires_grad_()
    opt = cls([p], lr=lrs[0], **options)
    after = []
    for lr, g in zip(lrs, grads):
        opt.param_groups[0]["lr"] = lr
        p.grad = g.to(dtype)
        opt.step()
        after.append(p.tolist())
    return after


def optim(path):
    rng = random.Random(4)
    init = normal(rng, (12,))
    grads = normal(rng, (20, 12))
    lrs = [0.002, 0.004, 0.006, 0.008, 0.01, 0.01, 0.0098, 0.0095, 0.009, 0.0085,
           0.008, 0.007, 0.006, 0.005, 0.004, 0.003, 0.002, 0.001, 0.0005, 0.0001]
    adamw = dict(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    runs = [
        ("adamw", torch.optim.AdamW, adamw, dict(beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1), lrs),
        ("sgd_momentum", torch.optim.SGD, dict(momentum=0.9, weight_decay=0.01), dict(momentum=0.9, weight_decay=0.01),
         [10 * lr for lr in lrs]),
        ("sgd", torch.optim.SGD, {}, dict(momentum=0.0, weight_decay=0.0), [10 * lr for lr in lrs]),
    ]
    optimizers = []
    for name, cls, options, record, rates in runs:
        after = optimizer(cls, init, grads, rates, **options)
        single = optimizer(cls, init, grads, rates, dtype=torch.float32, **options)
        print(f"{path.name}: {name}, float32 strays {deviation(torch.tensor(single), torch.tensor(after)):.1e}")
        optimizers.append({"name": name, **record, "lrs": rates, "after": after})

    clipping = []
    before = normal(rng, (12,), 3.0)
    for max_norm in (1.0, 100.0):
        p = torch.zeros(12, requires_grad=True)
        p.grad = before.clone()
        norm = torch.nn.utils.clip_grad_norm_([p], max_norm)
        assert torch.allclose(p.grad, before * min(1.0, max_norm / (norm.item() + 1e-6)), rtol=1e-14, atol=0)
        clipping.append({
            "before": before.tolist(), "max_norm": max_norm, "norm": norm.item(), "after": p.grad.tolist(),
        })

    write_json(path, {
        "initial": init.tolist(),
        "grads": grads.tolist(),
        "optimizers": optimizers,
        "schedules": [schedule(50, 5, 0.1, 0.001), schedule(20, 0, 0.1, 0.001)],
        "clipping": clipping,
    })


class Muon(torch.optim.Optimizer):
    """Muon as its author writes it (Jordan 2024): Newton-Schulz steps on the matrix itself, the momentum as a moving average, with the
    scale of Liu et al., arXiv 2502.16982, and decoupled weight decay."""

    def __init__(self, params, lr, momentum, weight_decay):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(state["momentum"], group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def orthogonal(g):
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (x.norm() + 1e-30)
    for _ in range(5):
        s = x @ x.T
        x = 3.4445 * x + (-4.7750 * s + 2.0315 * s @ s) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def muon(path):
    rng = random.Random(8)
    lrs = [0.01, 0.02, 0.02, 0.01]
    runs = []
    for (m, n), rank in [((6, 4), 4), ((4, 6), 4), ((5, 5), 5), ((8, 1), 1), ((1, 7), 1), ((9, 6), 2), ((3, 40), 3)]:
        init, grads = normal(rng, (m, n)), [normal(rng, (m, rank)) @ normal(rng, (rank, n)) for _ in lrs]
        grads = [float32(g) for g in grads]
        if rank < min(m, n):  # all of one column space: updates have that rank too
            grads = [float32(grads[0] * scale) for scale in (1, -0.5, 0.25, 2)]
        options = dict(momentum=0.95, weight_decay=0.1)
        after = optimizer(Muon, init, grads, lrs, **options)
        single = optimizer(Muon, init, grads, lrs, dtype=torch.float32, **options)
        print(f"{path.name}: {m}x{n}, float32 strays {deviation(torch.tensor(single), torch.tensor(after)):.1e}")
        runs.append({"rows": m, "cols": n, "initial": init.flatten().tolist(), "grads": [g.flatten().tolist() for g in grads],
                     "after": [torch.tensor(a).flatten().tolist() for a in after]})
    write_json(path, {"momentum": 0.95, "weight_decay": 0.1, "lrs": lrs, "runs": runs})


def main():
    MODEL.mkdir(parents=True, exist_ok=True)
    TRAIN.mkdir(parents=True, exist_ok=True)
    weights(MODEL / "vit.safetensors", make_vit, affine=True, seed=1)
    weights(MODEL / "vit_plain.safetensors", make_vit, affine=False, seed=2)
    factors(MODEL / "vit_lora.safetensors", make_vit, rank=2, scale=1.5, seed=2)
    mixer_forward(*weights(MODEL / "mixer.safetensors", make_mixer, affine=True, seed=6))
    mixer_forward(*weights(MODEL / "mixer_plain.safetensors", make_mixer, affine=False, seed=7))
    factors(MODEL / "mixer_lora.safetensors", make_mixer, rank=3, scale=1.5, seed=7)
    optim(TRAIN / "optim.json")
    muon(TRAIN / "muon.json")


if __name__ == "__main__":
    main()
