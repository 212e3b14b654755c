"""Writes state.safetensors and expected.safetensors, the numbers that pytorch.test.ts compares with.

    python3 test/pytorch/make_state.py        (PyTorch 1.13 or newer, CPU; Debian's python3-torch will do)

state.safetensors is what `safetensors.torch.save_file(model.state_dict(), path)` writes of NETWORK in float32.
expected.safetensors holds inputs, and what PyTorch computes from them in float64:

    network/…     eval and train outputs of NETWORK with that state, its buffers afterwards, its gradients
    loss/…        losses and their gradients                         (rows of LOSSES)
    optim/…       parameters after every step for given gradients    (rows of OPTIMISERS)
    training/…    losses and final state of a small network trained with Adam

The container is written here by hand (8 bytes of header length, a JSON header, the bytes), so that nothing but PyTorch
is needed. One seed, so that a second run writes the same bytes with the same PyTorch.
"""

import json
import os
import struct

import torch
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}


def network():
    return nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 12, (3, 5), stride=(2, 1), padding=(1, 2), output_padding=(1, 0), groups=4, dilation=(1, 2)),
        nn.BatchNorm2d(12, eps=1e-3, momentum=0.3),
        nn.LeakyReLU(0.2),
        nn.Conv2d(12, 6, 3, padding="same", dilation=2, groups=3),
        nn.BatchNorm2d(6, momentum=None),
        nn.Tanh(),
        nn.Conv2d(6, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
        nn.BatchNorm2d(4, affine=False),
        nn.Sigmoid(),
        nn.ConvTranspose2d(4, 3, 3, padding=2, dilation=3, output_padding=2),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.ConvTranspose2d(3, 3, 3, stride=(1, 2), padding=1, groups=3),
    )


LOSSES = {
    "bce_mean": nn.BCEWithLogitsLoss(),
    "bce_sum": nn.BCEWithLogitsLoss(reduction="sum"),
    "bce_none": nn.BCEWithLogitsLoss(reduction="none"),
    "mse_mean": nn.MSELoss(),
    "mse_sum": nn.MSELoss(reduction="sum"),
    "mse_none": nn.MSELoss(reduction="none"),
    "l1_mean": nn.L1Loss(),
    "l1_sum": nn.L1Loss(reduction="sum"),
    "l1_none": nn.L1Loss(reduction="none"),
}

OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd_momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "sgd_dampening": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, dampening=0.3, weight_decay=0.1),
    "sgd_nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "sgd_maximize": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.5, maximize=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam_decay": lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.5, 0.9), eps=1e-4, weight_decay=0.2),
    "adam_amsgrad": lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.6, 0.7), amsgrad=True),
    "adam_maximize": lambda p: torch.optim.Adam(p, lr=0.02, maximize=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adamw_amsgrad": lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.7, 0.8), weight_decay=0.3, amsgrad=True),
}


def randomise(module):
    """Running statistics and affine parameters that are not those of a fresh layer."""
    for layer in module:
        if isinstance(layer, nn.BatchNorm2d):
            if layer.affine:
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.uniform_(layer.bias, -0.5, 0.5)
            if layer.track_running_stats:
                layer.running_mean.uniform_(-0.3, 0.3)
                layer.running_var.uniform_(0.5, 2)
                layer.num_batches_tracked.fill_(7)


def expected_network(model, out):
    inputs = torch.rand(3, 2, 6, 3, 2, dtype=torch.float64) * 2 - 1
    out["network/inputs"] = inputs
    model.eval()
    y = model(inputs[0])
    gy = torch.rand(y.shape, dtype=torch.float64) * 2 - 1
    out["network/gradOutput"] = gy
    record_gradients(model, y, gy, inputs[0], out, "network/eval")
    model.train()
    for i in range(3):
        x = inputs[i].clone().requires_grad_(True)
        y = model(x)
        out[f"network/train/{i}/out"] = y
    record_gradients(model, y, gy, x, out, "network/train")
    for name, value in model.named_buffers():
        out[f"network/after/{name}"] = value


def record_gradients(model, y, gy, x, out, where):
    names, values = zip(*model.named_parameters())
    out[f"{where}/out"] = y
    wanted = list(values) + ([x] if x.requires_grad else [])
    gradients = torch.autograd.grad(y, wanted, gy)
    for name, value in zip(list(names) + ["input"], gradients):
        out[f"{where}/grad/{name}"] = value


def expected_losses(out):
    x = torch.randn(2, 3, 4, dtype=torch.float64) * 3
    x[0, 0] = torch.tensor([100.0, -100.0, 0.0, 40.0])
    target = torch.rand(2, 3, 4, dtype=torch.float64)
    target[0, 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    target[0, 1] = x[0, 1]
    out["loss/input"], out["loss/target"] = x, target
    probability = target.clamp(0, 1)
    for name, loss in LOSSES.items():
        leaf = x.clone().requires_grad_(True)
        value = loss(leaf, probability if name.startswith("bce") else target)
        out[f"loss/{name}"] = value
        out[f"loss/{name}/grad"] = torch.autograd.grad(value.sum(), leaf)[0]


def expected_optimisers(out, steps=6):
    start = [torch.randn(3, 4, dtype=torch.float64), torch.randn(5, dtype=torch.float64)]
    gradients = [[torch.randn_like(p) for p in start] for _ in range(steps)]
    for j, value in enumerate(start):
        out[f"optim/start/{j}"] = value
        out[f"optim/gradients/{j}"] = torch.stack([g[j] for g in gradients])
    for name, make in OPTIMISERS.items():
        values = [p.clone().requires_grad_(True) for p in start]
        optimiser = make(values)
        path = [[], []]
        for step in range(steps):
            for j, value in enumerate(values):
                value.grad = gradients[step][j].clone()
            optimiser.step()
            for j, value in enumerate(values):
                path[j].append(value.detach().clone())
        for j in range(2):
            out[f"optim/{name}/{j}"] = torch.stack(path[j])
        for j, entry in optimiser.state_dict()["state"].items():
            for key, value in entry.items():
                if value is not None:
                    out[f"optim/{name}/state/{j}/{key}"] = torch.as_tensor(value, dtype=torch.float64)


def expected_training(out, steps=5):
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1),
        nn.BatchNorm2d(6),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(6, 2, 4, stride=2, padding=1),
        nn.Tanh(),
    ).double()
    for name, value in model.state_dict().items():
        out[f"training/start/{name}"] = value.clone()
    x = torch.rand(4, 2, 8, 8, dtype=torch.float64) * 2 - 1
    out["training/input"] = x
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.5, 0.999))
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(model(x), x)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    out["training/losses"] = torch.stack(losses)
    for name, value in model.state_dict().items():
        out[f"training/end/{name}"] = value


def save(path, tensors):
    header, blobs, offset = {"__metadata__": {"format": "pt", "torch": torch.__version__}}, [], 0
    for name in sorted(tensors):
        value = tensors[name].detach().contiguous()
        blob = value.numpy().tobytes()
        header[name] = {"dtype": TYPES[value.dtype], "shape": list(value.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    print(f"{os.path.basename(path)}: {len(tensors)} tensors, {os.path.getsize(path)} bytes")


def main():
    torch.manual_seed(20230521)
    torch.use_deterministic_algorithms(True)
    model = network()
    with torch.no_grad():
        randomise(model)
    save(os.path.join(HERE, "state.safetensors"), model.state_dict())
    out = {}
    expected_network(model.double(), out)
    expected_losses(out)
    expected_optimisers(out)
    expected_training(out)
    save(os.path.join(HERE, "expected.safetensors"), out)


main()
