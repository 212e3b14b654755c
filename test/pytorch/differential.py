"""Runs the programs of differential.ts with PyTorch: one program a line of JSON on stdin, its results on stdout.

A program is a list of steps `{"call": name, "args": [...], "out": name, "noGrad": bool}`. An argument `{"t": name}` is a
tensor, `{"o": name}` another object. The result of a step is `{"error": sentence}` or the tensors that it made or
changed, each as `{"shape", "data", "grad"}` (its values, and whether it requires a gradient).

Everything is computed in float64, whatever the program's own element type: that is what the other side is compared with.
"""

import json
import math
import sys

import torch
from torch import nn
from torch.nn import functional as F

torch.set_num_threads(1)
DTYPE = torch.float64


def options(found, names):
    return {ours: found[theirs] for theirs, ours in names.items() if theirs in found}


CONV = {"stride": "stride", "padding": "padding", "dilation": "dilation", "groups": "groups"}
TRANSPOSED = {**CONV, "outputPadding": "output_padding"}
MODULE = {"bias": "bias", "paddingMode": "padding_mode"}
NORM = {"eps": "eps", "momentum": "momentum", "affine": "affine", "trackRunningStats": "track_running_stats"}
OPTIMISER = {
    "lr": "lr", "momentum": "momentum", "dampening": "dampening", "weightDecay": "weight_decay", "nesterov": "nesterov",
    "maximize": "maximize", "betas": "betas", "eps": "eps", "amsgrad": "amsgrad",
}


def pairs(found):
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}


def make_module(kind, args, found, state):
    if kind == "ConvTranspose2d":
        made = nn.ConvTranspose2d(*[tuple(a) if isinstance(a, list) else a for a in args], **pairs(options(found, {**TRANSPOSED, **MODULE})))
    elif kind == "Conv2d":
        made = nn.Conv2d(*[tuple(a) if isinstance(a, list) else a for a in args], **pairs(options(found, {**CONV, **MODULE})))
    else:
        made = nn.BatchNorm2d(*args, **options(found, NORM))
    made = made.to(DTYPE)
    made.load_state_dict({name: torch.tensor(data, dtype=DTYPE).reshape(shape) for name, (data, shape) in state.items()}, strict=False)
    return made


ACTIVATIONS = {"ReLU": nn.ReLU, "Tanh": nn.Tanh, "Sigmoid": nn.Sigmoid, "LeakyReLU": lambda: nn.LeakyReLU(0.3)}


def make_optimiser(kind, params, found):
    return getattr(torch.optim, kind)(params, **options(found, OPTIMISER))


def reload(kind, optimiser, params, found):
    other = make_optimiser(kind, params, found)
    other.load_state_dict(optimiser.state_dict())
    return other


def reduced(fn, x, dim, keepdim):
    if dim is None:
        dim = list(range(x.dim()))
    return fn(x, dim=dim, keepdim=keepdim) if x.dim() > 0 else x * 1


def slope(x, value):
    return F.leaky_relu(x, value)


def activated(y, found):
    name = found.get("activation", "none")
    return {"none": lambda v: v, "relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
            "leaky_relu": lambda v: F.leaky_relu(v, found.get("negativeSlope", 0.01))}[name](y)


def grad(outputs, inputs, grad_outputs, create, unused):
    return list(torch.autograd.grad(outputs, inputs, grad_outputs, create_graph=create, allow_unused=unused))


def accumulate(y, g, retain, create):
    y.backward(g, retain_graph=retain, create_graph=create)


def set_requires(x, value):
    x.requires_grad_(value)


CALLS = {
    "tensor": lambda data, shape, grad: torch.tensor(data, dtype=DTYPE).reshape(shape).requires_grad_(grad),
    "permute": lambda x, dims: x.permute(dims),
    "transpose": lambda x, a, b: x.transpose(a, b),
    "narrow": lambda x, d, s, n: x.narrow(d, s, n),
    "select": lambda x, d, i: x.select(d, i),
    "expand": lambda x, shape: x.expand(shape),
    "reshape": lambda x, shape: x.reshape(shape),
    "flatten": lambda x, a, b: x.flatten(a, b),
    "unsqueeze": lambda x, d: x.unsqueeze(d),
    "squeeze": lambda x, d: x.squeeze() if d is None else x.squeeze(d),
    "contiguous": lambda x, layout: x.contiguous(memory_format=torch.channels_last if layout == "nhwc" else torch.contiguous_format),
    "clone": lambda x: x.clone(),
    "detach": lambda x: x.detach(),
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "maximum": lambda a, b: torch.maximum(a, b),
    "minimum": lambda a, b: torch.minimum(a, b),
    "gt": lambda a, b: torch.gt(a, b).to(DTYPE),
    "eq": lambda a, b: torch.eq(a, b).to(DTYPE),
    "where": lambda c, a, b: torch.where(c != 0, a, b),
    "neg": lambda x: -x,
    "abs": lambda x: x.abs(),
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "sqrt": lambda x: x.sqrt(),
    "square": lambda x: x.square(),
    "reciprocal": lambda x: x.reciprocal(),
    "pow": lambda x, e: x.pow(e),
    "relu": lambda x: x.relu(),
    "leakyRelu": slope,
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "clamp": lambda x, low, high: x.clamp(low, high),
    "sum": lambda x, dim, keep: reduced(torch.sum, x, dim, keep),
    "mean": lambda x, dim, keep: reduced(torch.mean, x, dim, keep),
    "max": lambda x, dim, keep: reduced(torch.amax, x, dim, keep),
    "cat": lambda list, dim: torch.cat(list, dim),
    "stack": lambda list, dim: torch.stack(list, dim),
    "pad": lambda x, amounts, mode: F.pad(x, amounts, mode=mode),
    "linear": F.linear,
    "convTranspose2d": lambda x, w, b, o: activated(F.conv_transpose2d(x, w, b, **options(o, TRANSPOSED)), o),
    "conv2d": lambda x, w, b, o: activated(F.conv2d(x, w, b, **options(o, CONV)), o),
    "batchNorm": lambda x, m, v, w, b, training, momentum, eps: F.batch_norm(x, m, v, w, b, training, momentum, eps),
    "mseLoss": lambda x, y, r: F.mse_loss(x, y, reduction=r),
    "l1Loss": lambda x, y, r: F.l1_loss(x, y, reduction=r),
    "bce": lambda x, y, w, p, r: F.binary_cross_entropy_with_logits(x, y, weight=w, pos_weight=p, reduction=r),
    "module": make_module,
    "activation": lambda kind: ACTIVATIONS[kind](),
    "sequential": lambda layers: nn.Sequential(*layers),
    "share": lambda m, other: setattr(m, "weight", other.weight),
    "parameter": lambda m, name: getattr(m, name),
    "buffer": lambda m, name: getattr(m, name),
    "train": lambda m, on: m.train(on),
    "forward": lambda m, x: m(x),
    "forwardSized": lambda m, x, size: m(x, output_size=size),
    "copy_": lambda x, y: [x.copy_(y)] and None,
    "requiresGrad": set_requires,
    "backward": accumulate,
    "grad": grad,
    "zeroGrad": lambda x: setattr(x, "grad", None),
    "getGrad": lambda x: x.grad,
    "setGrad": lambda x, g: setattr(x, "grad", g),
    "optimiser": make_optimiser,
    "step": lambda o: o.step(),
    "reload": reload,
}


def show(value):
    if not isinstance(value, torch.Tensor):
        return None
    data = [v if math.isfinite(v) else str(v) for v in value.detach().to(DTYPE).flatten().tolist()]
    return {"shape": list(value.shape), "data": data, "grad": value.requires_grad}


def run(program):
    objects = {}

    def resolve(a):
        if isinstance(a, dict):
            if "t" in a:
                return objects[a["t"]]
            if "o" in a:
                return objects[a["o"]]
            return a
        return [resolve(v) for v in a] if isinstance(a, list) else a

    results = []
    for step in program:
        try:
            args = [resolve(a) for a in step["args"]]
            with torch.set_grad_enabled(not step.get("noGrad", False)):
                made = CALLS[step["call"]](*args)
            if step.get("out") is not None:
                objects[step["out"]] = made
            values = made if isinstance(made, (list, tuple)) and step["call"] == "grad" else [made]
            if step["call"] == "grad":
                for name, value in zip(step["outs"], values):
                    objects[name] = value
            results.append({"values": [show(v) for v in values]})
        except Exception as error:  # whatever PyTorch refuses with
            results.append({"error": f"{type(error).__name__}: {error}"[:300]})
    return results


for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
