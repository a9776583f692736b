#!/usr/bin/python3
"""Make the golden LTE runs that the Go tests repeat: complete training runs computed by PyTorch.

Run:    /usr/bin/python3 tools/golden.py
Needs:  Debian 12's python3-torch (1.13) and python3-torchvision (0.14).

Everything follows the equations of Huh et al., arXiv 2402.16828: the local step of head k with
W_k = W - s B'_k A'_k + s B_k A_k on its own mini-batch, and a merge every K steps. Gradients come from autograd, the
optimizers are torch.optim's, all is float64 on one thread. Every input is a multiple of 2^-12 or rounded to float32,
so that float32 code begins with exactly these numbers. Running the script again gives the same bytes.

train/testdata/golden_linear.json: 20 steps of one linear layer

    out, in, rank, heads, alpha, scale      m, n, r, N, alpha, s = alpha/r
    batch, merge_every, steps               rows of a head's mini-batch, K, steps
    W0, bias                                (m, n), (m)
    A0                                      (N, r, n); B starts as 0
    inputs, labels                          (steps, N, batch, n), (steps, N, batch); cross-entropy over the m outputs
    runs                                    four, the inputs above in each:
        optimizer                           name "adamw": lr, beta1, beta2, eps, weight_decay (decoupled);
                                            name "sgd": lr, momentum, weight_decay (coupled); both on A and B
        reset                               "none": reset-less. "b": B = 0 after a merge; A and the moments are kept
        losses                              (steps, N): the mean over the head's mini-batch, before the step
        merges                              one every merge_every steps:
            step                            steps done
            A, B, W                         (N, r, n), (N, m, r), (m, n) right after the merge
            B_before                        (N, m, r) right before it; only with reset "b"

Results are rounded to 10 digits.

train/testdata/golden_vit.safetensors: 12 steps of a micro torchvision VisionTransformer, LayerNorm without affine,
every linear layer an LTE layer, all else frozen; AdamW, reset-less, cross-entropy with label smoothing

    metadata                                the model's configuration, layer_norm_eps, layer_norm_affine,
                                            label_smoothing, lora_heads, rank (of a layer: min(rank, m, n), which is
                                            less for the classifier), alpha, scale (alpha/rank, of every layer), batch
                                            (of a head), steps, merge_every, reset, optimizer, lr, beta1, beta2, eps,
                                            weight_decay
    param/NAME                              initial parameters, torchvision's names and shapes
    lora/HEAD/LAYER/A                       (r, n), initial; B starts as 0. HEAD from 0; LAYER is the weight's name
                                            without .weight or _weight
    images, labels                          (steps, N, batch, 3, height, width), I64 (steps, N, batch)
    losses                                  F64 (steps, N): before the step
    merge/STEP/param/NAME                   the weight of every linear layer after the merge that follows STEP steps
    merge/STEP/lora/HEAD/LAYER/A, B         the factors then, (r, n), (m, r)

Tensors are float64 results rounded to float32, unless said otherwise.

The script checks itself by assertion: each run is computed a second time without autograd and torch.optim, with the
closed formulas of the gradients, the optimizers written out, and W as a telescoped sum; and right after a merge every
head computes with W. It prints how far the same computation in float32 strays, relative to a tensor's largest value,
which is a guide to the tests' tolerances.
"""

import math
import random
import sys

import torch
import torch.nn.functional as F
from torch.nn.utils.stateless import functional_call

sys.dont_write_bytecode = True

from vectors import (SMOOTHING, TRAIN, deviation, float32, lora_layers, make_vit, metadata, normal, random_params,
                     smoothed_loss, write_json, write_safetensors)


def semi_orthogonal(rng, r, n):
    """A's initialisation: rows orthogonal, times sqrt(n/r)."""
    a = float32(torch.linalg.qr(normal(rng, (n, r)))[0].T * math.sqrt(n / r))
    assert torch.allclose(a @ a.T, torch.eye(r) * n / r, atol=1e-6)
    return a


def make_optimizer(params, o):
    if o["name"] == "sgd":
        return torch.optim.SGD(params, lr=o["lr"], momentum=o["momentum"], weight_decay=o["weight_decay"])
    return torch.optim.AdamW(params, lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"],
                             weight_decay=o["weight_decay"])


class Written:
    """The optimizers written out, for the second derivation: AdamW (arXiv 1711.05101), SGD with momentum."""

    def __init__(self, params, o):
        self.params, self.o, self.t = params, o, 0
        self.m = [torch.zeros_like(p) for p in params]
        self.v = [torch.zeros_like(p) for p in params]

    def step(self, grads):
        o, self.t = self.o, self.t + 1
        for p, g, m, v in zip(self.params, grads, self.m, self.v):
            if o["name"] == "sgd":
                m.copy_(o["momentum"] * m + g + o["weight_decay"] * p)
                p.copy_(p - o["lr"] * m)
                continue
            m.copy_(o["beta1"] * m + (1 - o["beta1"]) * g)
            v.copy_(o["beta2"] * v + (1 - o["beta2"]) * g * g)
            first, second = m / (1 - o["beta1"] ** self.t), v / (1 - o["beta2"] ** self.t)
            p.copy_((1 - o["lr"] * o["weight_decay"]) * p - o["lr"] * first / (second.sqrt() + o["eps"]))


class Head:
    """The factors A, B and A', B' of one head and one layer."""

    def __init__(self, a0, m, dtype, grad=True):
        self.a = a0.to(dtype).clone().requires_grad_(grad)
        self.b = torch.zeros(m, len(a0), dtype=dtype, requires_grad=grad)
        self.keep()

    def keep(self):
        self.a_merged, self.b_merged = self.a.detach().clone(), self.b.detach().clone()

    def weight(self, w, s):
        return w - s * self.b_merged @ self.a_merged + s * self.b @ self.a


@torch.no_grad()
def merge(w, heads, s, reset):
    """The merge of one layer: returns W, changes the heads; then every head computes with W."""
    n = len(heads)
    if reset == "none":
        w = w + s / n * sum(h.b @ h.a - h.b_merged @ h.a_merged for h in heads)
    else:
        w = w + s / n * sum(h.b @ h.a for h in heads)
        for h in heads:
            h.b.zero_()
    for h in heads:
        h.keep()
        if reset == "none":  # W - x + x
            assert w.dtype != torch.float64 or torch.allclose(h.weight(w, s), w, rtol=1e-13, atol=1e-14)
        else:
            assert torch.equal(h.weight(w, s), w)
    return w


# One linear layer


def train_linear(case, optimizer, reset, dtype=torch.float64):
    """Returns the losses (steps, heads) and the state after each merge."""
    s, inputs, bias = case["scale"], case["inputs"].to(dtype), case["bias"].to(dtype)
    w = case["W0"].to(dtype)
    heads = [Head(a, len(w), dtype) for a in case["A0"]]
    opts = [make_optimizer([h.a, h.b], optimizer) for h in heads]
    losses, merges = [], []
    for step in range(case["steps"]):
        losses.append([])
        for k, h in enumerate(heads):
            y = inputs[step, k] @ h.weight(w, s).T + bias
            loss = F.cross_entropy(y, case["labels"][step, k])
            opts[k].zero_grad()
            loss.backward()
            opts[k].step()
            losses[-1].append(loss.item())
        if (step + 1) % case["merge_every"] == 0:
            before = torch.stack([h.b.detach() for h in heads])
            w = merge(w, heads, s, reset)
            merges.append({
                "step": step + 1,
                "A": torch.stack([h.a.detach() for h in heads]),
                "B": torch.stack([h.b.detach() for h in heads]),
                "W": w,
            })
            if reset == "b":
                merges[-1]["B_before"] = before
    return torch.tensor(losses), merges


def written_linear(case, optimizer, reset):
    """The same run from closed formulas: no autograd, no torch.optim, W never updated but recomputed as a sum.

    With P = dL/dy: dB = s P^T (x A^T), dA = s (P B)^T x.
    """
    s, n, bias = case["scale"], case["heads"], case["bias"]
    a = [x.clone() for x in case["A0"]]
    b = [torch.zeros(case["out"], case["rank"]) for _ in a]
    opts = [Written([a[k], b[k]], optimizer) for k in range(n)]
    w, merged = case["W0"], [0 for _ in a]
    past = torch.zeros_like(w)  # products merged and then reset
    losses, merges = [], []
    for step in range(case["steps"]):
        losses.append([])
        for k in range(n):
            x, labels = case["inputs"][step, k], case["labels"][step, k]
            y = x @ (w - merged[k]).T + s * (x @ a[k].T) @ b[k].T + bias
            p = y.exp() / y.exp().sum(1, keepdim=True)
            losses[-1].append(-p.gather(1, labels[:, None]).log().mean().item())
            p = (p - F.one_hot(labels, case["out"])) / len(x)
            opts[k].step([s * (p @ b[k]).T @ x, s * p.T @ (x @ a[k].T)])
        if (step + 1) % case["merge_every"] == 0:
            products = [s * b[k] @ a[k] for k in range(n)]
            w = case["W0"] + past + sum(products) / n
            if reset == "none":
                merged = products
            else:
                past = w - case["W0"]
                for x in b:
                    x.zero_()
            merges.append({"A": torch.stack(a), "B": torch.stack(b), "W": w})
    return torch.tensor(losses), merges


def strays(got, want, keys):
    """The largest deviation of each key over all merges; the absolute deviation where the value is 0."""
    return {key: max(deviation(p[key], q[key]) if q[key].any() else float(p[key].abs().max())
                     for p, q in zip(got, want)) for key in keys}


def linear(path):
    rng = random.Random(11)
    m, n, r, heads, alpha, batch, interval, steps = 10, 12, 8, 4, 12.0, 6, 5, 20
    case = {
        "out": m, "in": n, "rank": r, "heads": heads, "alpha": alpha, "scale": alpha / r,
        "batch": batch, "merge_every": interval, "steps": steps,
        "W0": normal(rng, (m, n), 1 / math.sqrt(n)),
        "bias": normal(rng, (m,), 0.3),
        "A0": torch.stack([semi_orthogonal(rng, r, n) for _ in range(heads)]),
        "inputs": normal(rng, (steps, heads, batch, n)),
    }
    draws = [rng.randrange(m) for _ in range(steps * heads * batch)]
    case["labels"] = torch.tensor(draws).reshape(steps, heads, batch)
    adamw = dict(name="adamw", lr=0.01, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.05)
    sgd = dict(name="sgd", lr=0.05, momentum=0.9, weight_decay=0.01)

    runs = []
    for optimizer in (adamw, sgd):
        for reset in ("none", "b"):
            losses, merges = train_linear(case, optimizer, reset)
            again, written = written_linear(case, optimizer, reset)
            apart = strays(written, merges, ("A", "B", "W"))
            assert deviation(again, losses) < 1e-11 and max(apart.values()) < 1e-11, apart
            losses32, merges32 = train_linear(case, optimizer, reset, torch.float32)
            keys = ("A", "B_before" if reset == "b" else "B", "W")
            stray = {"losses": deviation(losses32, losses), **strays(merges32, merges, keys)}
            moved = deviation(merges[-1]["W"], case["W0"])
            print(f"{path.name}: {optimizer['name']}, reset {reset}: W moves by {moved:.2f} of its size, mean loss "
                  f"{losses[0].mean():.3f} to {losses[-1].mean():.3f}, second derivation {max(apart.values()):.1e}, "
                  f"float32 strays " + ", ".join(f"{k} {v:.1e}" for k, v in stray.items()))
            runs.append({"optimizer": optimizer, "reset": reset, "losses": losses, "merges": merges})

    def plain(x, exact=False):
        """Tensors as lists, results rounded."""
        if isinstance(x, dict):
            return {k: plain(v, exact) for k, v in x.items()}
        if isinstance(x, list):
            return [plain(v, exact) for v in x]
        if isinstance(x, torch.Tensor):
            return plain(x.tolist(), exact)
        return x if exact or not isinstance(x, float) else float(f"{x:.10g}")

    write_json(path, {**plain(case, exact=True), "runs": plain(runs)})


# Vision transformer

VIT = dict(image_size=6, patch_size=2, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=3)


def train_vit(case, dtype=torch.float64, check=False):
    """Returns the losses (steps, heads) and the tensors after each merge. With check, derives each step again."""
    model = make_vit(False, dtype, VIT)
    model.load_state_dict(case["params"])
    model.requires_grad_(False)
    layers, s, images, labels = lora_layers(model), case["scale"], case["images"].to(dtype), case["labels"]
    shape = {layer: case["params"][name].shape for layer, name in layers.items()}
    w0 = {layer: case["params"][name].flatten(1).to(dtype) for layer, name in layers.items()}
    w = dict(w0)
    heads = [{layer: Head(a[layer], len(w[layer]), dtype) for layer in layers} for a in case["A0"]]
    opts = [make_optimizer([x for h in head.values() for x in (h.a, h.b)], case["optimizer"]) for head in heads]
    twins = [{layer: Head(a[layer], len(w[layer]), dtype, False) for layer in layers} for a in case["A0"]]
    written = [Written([x for h in twin.values() for x in (h.a, h.b)], case["optimizer"]) for twin in twins]
    worst = 0.0

    def effective(head):
        return {layers[layer]: h.weight(w[layer], s).reshape(shape[layer]) for layer, h in head.items()}

    losses, merges = [], {}
    for step in range(case["steps"]):
        losses.append([])
        for k, head in enumerate(heads):
            loss = smoothed_loss(functional_call(model, effective(head), (images[step, k],)), labels[step, k])
            opts[k].zero_grad()
            loss.backward()
            losses[-1].append(loss.item())
            if check:  # the effective weights as plain parameters, then dA = s B^T G, dB = s G A^T
                full = make_vit(False, dtype, VIT)
                full.load_state_dict({**model.state_dict(), **effective(twins[k])})
                other = smoothed_loss(full(images[step, k]), labels[step, k])
                other.backward()
                worst = max(worst, deviation(other, loss))
                params, grads = dict(full.named_parameters()), []
                for layer, h in twins[k].items():
                    g = params[layers[layer]].grad.flatten(1)
                    grads += [s * h.b.T @ g, s * g @ h.a.T]
                written[k].step(grads)
            opts[k].step()
        if (step + 1) % case["merge_every"] == 0:
            for layer, name in layers.items():
                own = [head[layer] for head in heads]
                w[layer] = merge(w[layer], own, s, "none")
                merges[f"merge/{step + 1}/param/{name}"] = w[layer].reshape(shape[layer])
                for k, h in enumerate(own):
                    merges[f"merge/{step + 1}/lora/{k}/{layer}/A"] = h.a.detach().clone()
                    merges[f"merge/{step + 1}/lora/{k}/{layer}/B"] = h.b.detach().clone()
                if check:
                    twin = [t[layer] for t in twins]
                    told = w0[layer] + s / len(twin) * sum(h.b @ h.a for h in twin)  # it telescopes
                    worst = max(worst, deviation(told, w[layer]))
                    for h, t in zip(own, twin):
                        t.keep()
                        worst = max(worst, deviation(t.a, h.a), deviation(t.b, h.b))
    assert worst < 1e-10, worst
    return torch.tensor(losses), merges, worst


def vit(path):
    rng = random.Random(12)
    heads, rank, alpha, batch, interval, steps = 4, 4, 6.0, 3, 4, 12
    model = make_vit(False, config=VIT)
    random_params(model, rng, 1.0)
    layers = lora_layers(model)
    shapes = {layer: dict(model.named_parameters())[name].flatten(1).shape for layer, name in layers.items()}
    case = {
        "params": {name: p.detach() for name, p in model.named_parameters()},
        "A0": [{layer: semi_orthogonal(rng, min(rank, m, n), n) for layer, (m, n) in shapes.items()}
               for _ in range(heads)],
        "images": normal(rng, (steps, heads, batch, *model.image)),
        "scale": alpha / rank, "steps": steps, "merge_every": interval,
        # With a large eps a gradient near 0 does not magnify its rounding to a good part of a step, and a factor of
        # all gradients, which AdamW hides otherwise, shows.
        "optimizer": dict(name="adamw", lr=0.02, beta1=0.9, beta2=0.99, eps=1e-2, weight_decay=0.05),
    }
    draws = [rng.randrange(VIT["num_classes"]) for _ in range(steps * heads * batch)]
    case["labels"] = torch.tensor(draws).reshape(steps, heads, batch)
    losses, merges, worst = train_vit(case, check=True)

    tensors = {"images": case["images"].float(), "labels": case["labels"], "losses": losses}
    for name, p in case["params"].items():
        assert torch.equal(float32(p), p), name
        tensors["param/" + name] = p.float()
    for k, a in enumerate(case["A0"]):
        for layer in layers:
            tensors[f"lora/{k}/{layer}/A"] = a[layer].float()
    tensors.update({name: t.float() for name, t in merges.items()})
    o = dict(case["optimizer"])
    write_safetensors(path, tensors, metadata(
        VIT, False, lora_heads=heads, rank=rank, alpha=alpha, scale=case["scale"], batch=batch, steps=steps,
        merge_every=interval, reset="none", optimizer=o.pop("name"), **o))

    losses32, merges32, _ = train_vit(case, torch.float32)
    stray = {"losses": deviation(losses32, losses)}
    for kind in ("/A", "/B", "/param/"):
        stray[kind.strip("/")] = max(deviation(merges32[name], t) for name, t in merges.items()
                                     if name.endswith(kind) or kind == "/param/" and kind in name)
    moved = [deviation(merges[f"merge/{steps}/param/{name}"], case["params"][name]) for name in layers.values()]
    print(f"{path.name}: every W moves by {min(moved):.2f} to {max(moved):.2f} of its size, mean loss "
          f"{losses[0].mean():.3f} to {losses[-1].mean():.3f}, label smoothing {SMOOTHING}, second derivation "
          f"{worst:.1e}, float32 strays " + ", ".join(f"{k} {v:.1e}" for k, v in stray.items()))


def main():
    TRAIN.mkdir(parents=True, exist_ok=True)
    linear(TRAIN / "golden_linear.json")
    vit(TRAIN / "golden_vit.safetensors")


if __name__ == "__main__":
    main()
