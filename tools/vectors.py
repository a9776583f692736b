#!/usr/bin/python3
"""Make the golden test vectors that the Go tests compare with: numbers that PyTorch computed.

Run:    /usr/bin/python3 tools/vectors.py
Needs:  Debian 12's python3-torch (1.13) and python3-torchvision (0.14), which bring python3-numpy.

Writes, from the repository's root whatever the working directory:

    model/testdata/vit.safetensors        micro torchvision VisionTransformer: loss and gradients
    model/testdata/vit_plain.safetensors  the same without LayerNorm affine parameters
    model/testdata/vit_lora.safetensors   vit_plain's model, every linear layer an LTE layer: gradients of A and B
    train/testdata/optim.json             AdamW, SGD, learning-rate schedules, gradient clipping
    train/testdata/lte.json               LTE on one linear layer: three heads, three merges

Every input is a multiple of 2^-12, or is rounded to float32 at once, so that float32 code begins with exactly
these numbers. All is computed in float64 on one thread. Tensors in the safetensors files are float64 results
rounded to float32, except labels (I64) and loss (F64). JSON numbers are float64 and read back exactly. Inputs
come from Python's random.Random, one stream per file, with fixed seeds; vit_lora has vit_plain's seed, and so its
parameters and images.

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
    """Write the safetensors format by hand: 8-byte little-endian header length, JSON header, data without holes.

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
    """Write JSON with one line per innermost list of numbers."""

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


# Vision transformer

VIT = dict(image_size=6, patch_size=2, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=5)
LN_EPS = 1e-6
SMOOTHING = 0.1
RANK, SCALE = 2, 1.5  # r and s of vit_lora


def make_vit(affine, dtype=torch.float64):
    """A VisionTransformer in train mode (dropout is 0), so that attention does not take the fused fast path."""
    norm = partial(torch.nn.LayerNorm, eps=LN_EPS, elementwise_affine=affine)
    return VisionTransformer(**VIT, norm_layer=norm).to(dtype).train()


def random_params(model, rng):
    """Every parameter random, none as it is initialised, of sizes that give gradients of order 1."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".ln" in name:
                p.copy_(normal(rng, p.shape, 0.3, 1.0 if name.endswith("weight") else 0.0))
            elif p.dim() == 1:
                p.copy_(normal(rng, p.shape, 0.3))
            elif name in ("class_token", "encoder.pos_embedding"):
                p.copy_(normal(rng, p.shape, 0.8))
            else:
                p.copy_(normal(rng, p.shape, 1.5 / math.sqrt(p[0].numel())))


def vit_loss(logits, labels):
    return F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)


def vit_inputs(rng):
    return normal(rng, (3, 3, 6, 6)), torch.tensor([4, 0, 2])


def vit_metadata(affine, **more):
    return {
        **{k: str(v) for k, v in VIT.items()},
        "layer_norm_eps": str(LN_EPS),
        "layer_norm_affine": str(affine).lower(),
        "label_smoothing": str(SMOOTHING),
        **more,
    }


def outputs(images, labels, logits, loss):
    return {
        "images": images.float(),
        "labels": labels,
        "logits": logits.float(),
        "loss": loss.reshape(1),
    }


def vit(path, affine, seed):
    """Logits, loss and the gradient of every parameter."""
    rng = random.Random(seed)
    model = make_vit(affine)
    random_params(model, rng)
    images, labels = vit_inputs(rng)
    logits = model(images)
    loss = vit_loss(logits, labels)
    loss.backward()

    tensors = outputs(images, labels, logits, loss)
    for name, p in model.named_parameters():
        assert torch.equal(float32(p), p), name
        tensors["param/" + name] = p.float()
        tensors["grad/" + name] = p.grad.float()
    write_safetensors(path, tensors, vit_metadata(affine))

    # The loss from its definition: smoothing mixes the label's distribution with the uniform one.
    logp = logits - logits.logsumexp(1, keepdim=True)
    target = (1 - SMOOTHING) * F.one_hot(labels, VIT["num_classes"]) + SMOOTHING / VIT["num_classes"]
    assert torch.allclose(loss, -(target * logp).sum(1).mean(), rtol=1e-13)

    single = make_vit(affine, torch.float32)
    single.load_state_dict(model.state_dict())
    vit_loss(single(images.float()), labels).backward()
    worst = max(deviation(q.grad, p.grad) for p, q in zip(model.parameters(), single.parameters())
                if p.grad.abs().max() > 1e-9)
    sizes = [float(p.grad.abs().max()) for p in model.parameters()]
    print(f"{path.name}: loss {loss.item():.6f}, max |gradient| per parameter {min(sizes):.3g} to {max(sizes):.3g}, "
          f"float32 gradients stray {worst:.1e}")
    return model


def lora_layers(model):
    """Layer name (the weight's name without .weight or _weight) to the weight's own name."""
    layers = {}
    for name, p in model.named_parameters():
        if p.dim() > 1 and name not in ("class_token", "encoder.pos_embedding"):
            layers[name[: -len("_weight")]] = name
    return layers


def vit_lora(path, seed):
    """Gradients of A and B in W_k = W - s B'A' + s B A, for every linear layer.

    Huh et al., arXiv 2402.16828, in the form of algorithm.md, A local step of head k.
    """
    rng = random.Random(seed)
    model = make_vit(affine=False)
    random_params(model, rng)
    images, labels = vit_inputs(rng)

    params = dict(model.named_parameters())
    layers = lora_layers(model)
    assert len(layers) == 2 + 4 * VIT["num_layers"]
    lora, weights = {}, {}
    for layer, name in layers.items():
        w = params[name].detach()
        m, n = w.shape[0], w[0].numel()
        a_std, b_std = 1 / math.sqrt(n), 0.5
        f = {
            "A": normal(rng, (RANK, n), a_std).requires_grad_(),
            "B": normal(rng, (m, RANK), b_std).requires_grad_(),
            "A_merged": normal(rng, (RANK, n), a_std),
            "B_merged": normal(rng, (m, RANK), b_std),
        }
        lora[layer] = f
        # The convolution's weight as a matrix: columns by channel, row, column of the patch.
        w_k = w.reshape(m, n) - SCALE * f["B_merged"] @ f["A_merged"] + SCALE * f["B"] @ f["A"]
        weights[name] = w_k.reshape(w.shape)
    logits = functional_call(model, weights, (images,))
    loss = vit_loss(logits, labels)
    loss.backward()

    tensors = outputs(images, labels, logits, loss)
    for name, p in params.items():
        tensors["param/" + name] = p.float()
    for layer, f in lora.items():
        for key, t in f.items():
            assert torch.equal(float32(t), t), layer
            tensors[f"lora/{layer}/{key}"] = t.float()
        for key in ("A", "B"):
            tensors[f"grad/{layer}/{key}"] = f[key].grad.float()
    write_safetensors(path, tensors, vit_metadata(False, rank=str(RANK), scale=str(SCALE)))

    # The same by another way: the effective weights as plain parameters, then dB = s G A^T, dA = s B^T G.
    plain = make_vit(affine=False)
    plain.load_state_dict({**model.state_dict(), **{k: v.detach() for k, v in weights.items()}})
    other = vit_loss(plain(images), labels)
    other.backward()
    assert torch.allclose(other, loss, rtol=1e-13)
    for layer, name in layers.items():
        f = lora[layer]
        g = dict(plain.named_parameters())[name].grad.flatten(1)
        assert deviation(f["B"].grad, SCALE * g @ f["A"].T) < 1e-12, layer
        assert deviation(f["A"].grad, SCALE * f["B"].T @ g) < 1e-12, layer
    # And the convolution is the matrix product on unfolded patches.
    patches = F.unfold(images, VIT["patch_size"], stride=VIT["patch_size"]).transpose(1, 2)
    w = plain.conv_proj.weight.flatten(1)
    assert deviation(patches @ w.T + plain.conv_proj.bias, plain._process_input(images)) < 1e-13

    sizes = [float(f[k].grad.abs().max()) for f in lora.values() for k in ("A", "B")]
    print(f"{path.name}: loss {loss.item():.6f}, max |gradient| per factor {min(sizes):.3g} to {max(sizes):.3g}")


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


# LTE on one linear layer


def lte_run(w0, bias, a0, inputs, labels, s, interval, adamw, dtype=torch.float64):
    """The equations of algorithm.md (Huh et al., arXiv 2402.16828), reset-less, with autograd for the gradients.

    Returns the losses [step][head] and the state after each merge.
    """
    w0, bias, inputs = w0.to(dtype), bias.to(dtype), inputs.to(dtype)
    heads, m, r = len(a0), w0.shape[0], a0[0].shape[0]
    a = [x.clone().to(dtype).requires_grad_() for x in a0]
    b = [torch.zeros(m, r, dtype=dtype, requires_grad=True) for _ in range(heads)]
    opts = [torch.optim.AdamW([a[k], b[k]], **adamw) for k in range(heads)]
    a_merged = [x.detach().clone() for x in a]
    b_merged = [x.detach().clone() for x in b]
    w = w0.clone()
    losses, merges = [], []
    for step in range(len(inputs)):
        losses.append([])
        for k in range(heads):
            x = inputs[step, k]
            opts[k].zero_grad()
            y = x @ (w - s * b_merged[k] @ a_merged[k] + s * b[k] @ a[k]).T + bias
            y.retain_grad()
            loss = F.cross_entropy(y, labels[step, k])  # mean over the head's own mini-batch
            loss.backward()
            g = y.grad.T @ x
            if dtype == torch.float64:
                assert torch.allclose(b[k].grad, s * g @ a[k].T, rtol=1e-10, atol=1e-14)
                assert torch.allclose(a[k].grad, s * b[k].T @ g, rtol=1e-10, atol=1e-14)
            opts[k].step()
            losses[-1].append(loss.item())
        if (step + 1) % interval == 0:
            with torch.no_grad():
                w = w + s / heads * sum(b[k] @ a[k] - b_merged[k] @ a_merged[k] for k in range(heads))
                a_merged = [x.detach().clone() for x in a]
                b_merged = [x.detach().clone() for x in b]
                # It telescopes.
                told = w0 + s / heads * sum(b[k] @ a[k] for k in range(heads))
                if dtype == torch.float64:
                    assert torch.allclose(w, told, rtol=1e-13, atol=1e-14)
                merges.append({
                    "step": step + 1,
                    "A": [x.tolist() for x in a_merged],
                    "B": [x.tolist() for x in b_merged],
                    "W": told.tolist(),
                })
    return losses, merges


def lte(path):
    rng = random.Random(5)
    m, n, r, heads, alpha, batch, interval, steps = 6, 5, 2, 3, 4.0, 4, 3, 9
    s = alpha / r
    adamw = dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    w0 = normal(rng, (m, n), 1 / math.sqrt(n))
    bias = normal(rng, (m,), 0.3)
    # A is semi-orthogonal times sqrt(n/r), B is 0.
    a0 = [float32(torch.linalg.qr(normal(rng, (n, r)))[0].T * math.sqrt(n / r)) for _ in range(heads)]
    for a in a0:
        assert torch.allclose(a @ a.T, torch.eye(r) * n / r, atol=1e-6)
    inputs = normal(rng, (steps, heads, batch, n))
    labels = torch.tensor([rng.randrange(m) for _ in range(steps * heads * batch)]).reshape(steps, heads, batch)
    losses, merges = lte_run(w0, bias, a0, inputs, labels, s, interval, adamw)
    write_json(path, {
        "out": m, "in": n, "rank": r, "heads": heads, "alpha": alpha, "scale": s,
        "batch": batch, "merge_every": interval, "steps": steps,
        "optimizer": {"name": "adamw", "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
        "W0": w0.tolist(),
        "bias": bias.tolist(),
        "A0": [a.tolist() for a in a0],
        "inputs": inputs.tolist(),
        "labels": labels.tolist(),
        "losses": losses,
        "merges": merges,
    })
    losses32, merges32 = lte_run(w0, bias, a0, inputs, labels, s, interval, adamw, torch.float32)
    stray = {key: max(deviation(torch.tensor(p[key]), torch.tensor(q[key])) for p, q in zip(merges32, merges))
             for key in ("A", "B", "W")}
    print(f"{path.name}: losses {losses[0]} to {losses[-1]}, float32 strays: losses "
          f"{deviation(torch.tensor(losses32), torch.tensor(losses)):.1e}, "
          + ", ".join(f"{k} {v:.1e}" for k, v in stray.items()))


def main():
    MODEL.mkdir(parents=True, exist_ok=True)
    TRAIN.mkdir(parents=True, exist_ok=True)
    vit(MODEL / "vit.safetensors", affine=True, seed=1)
    vit(MODEL / "vit_plain.safetensors", affine=False, seed=2)
    vit_lora(MODEL / "vit_lora.safetensors", seed=2)
    optim(TRAIN / "optim.json")
    lte(TRAIN / "lte.json")


if __name__ == "__main__":
    main()
