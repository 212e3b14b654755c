"""PyTorch as its users call it, for bench/peers: one JSON command a line on stdin, one JSON answer a line on stdout.

  {"do": "versions", "threads": 2}
  {"do": "layer", "threads": 2, "backward": false, "channelsLast": false, "x": [n, c, h, w], "weight": [c, k / groups, r, s],
   "options": {"stride": [2, 2], "padding": [1, 1], "output_padding": [0, 0], "groups": 1, "dilation": [1, 1]}}
  {"do": "time", "calls": 3}      microseconds of each call of the layer
  {"do": "dcgan", "threads": 2, "batch": 64}
  {"do": "step", "calls": 1}      milliseconds of each training step
"""
import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


def versions(command):
    torch.set_num_threads(command["threads"])
    libraries = {line.split()[-1] for line in open("/proc/self/maps") if "blas" in line}
    blas = sorted(path.rsplit("/", 1)[-1] for path in libraries)
    return {"version": torch.__version__, "threads": torch.get_num_threads(), "blas": ", ".join(blas)}


def pattern(shape):
    """The values every peer is given: ((7919 i) mod 1009) / 1009 - 1/2 for element i in NCHW order."""
    count = 1
    for size in shape:
        count *= size
    i = torch.arange(count, dtype=torch.int64)
    return (((i * 7919) % 1009).to(torch.float32) / 1009 - 0.5).reshape(shape)


class LayerRun:
    def __init__(self, command):
        torch.set_num_threads(command["threads"])
        self.backward = command["backward"]
        memory = torch.channels_last if command["channelsLast"] else torch.contiguous_format
        self.x = pattern(command["x"]).contiguous(memory_format=memory).requires_grad_(self.backward)
        self.weight = pattern(command["weight"]).contiguous(memory_format=memory).requires_grad_(self.backward)
        outputs = command["weight"][1] * command["options"]["groups"]
        self.bias = torch.zeros(outputs).requires_grad_(self.backward)
        self.options = command["options"]
        self.gradient = None

    def call(self):
        if not self.backward:
            with torch.no_grad():
                return F.conv_transpose2d(self.x, self.weight, self.bias, **self.options)
        y = F.conv_transpose2d(self.x, self.weight, self.bias, **self.options)
        if self.gradient is None:
            self.gradient = pattern(y.shape)
        y.backward(self.gradient)
        found = self.weight.grad
        self.x.grad = self.weight.grad = self.bias.grad = None
        return found

    def checksum(self):
        return float(self.call().abs().double().sum())


def initialise(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class Dcgan:
    """The step of PyTorch's tutorial; the discriminator's sigmoid is in the loss."""

    def __init__(self, command):
        torch.set_num_threads(command["threads"])
        torch.manual_seed(1)
        self.batch = command["batch"]
        up = lambda a, b: [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(True)]
        down = lambda a, b: [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, True)]
        self.artist = nn.Sequential(
            nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False), nn.BatchNorm2d(512), nn.ReLU(True),
            *up(512, 256), *up(256, 128), *up(128, 64),
            nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh(),
        ).apply(initialise)
        self.critic = nn.Sequential(
            nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True),
            *down(64, 128), *down(128, 256), *down(256, 512),
            nn.Conv2d(512, 1, 4, 1, 0, bias=False),
        ).apply(initialise)
        adam = lambda module: torch.optim.Adam(module.parameters(), lr=0.0002, betas=(0.5, 0.999))
        self.artist_optimizer, self.critic_optimizer = adam(self.artist), adam(self.critic)
        self.loss = nn.BCEWithLogitsLoss()
        self.pictures = torch.rand(self.batch, 3, 64, 64) * 2 - 1
        self.real, self.drawn = torch.ones(self.batch, 1, 1, 1), torch.zeros(self.batch, 1, 1, 1)

    def call(self):
        self.critic.zero_grad()
        on_real = self.loss(self.critic(self.pictures), self.real)
        on_real.backward()
        drawn = self.artist(torch.randn(self.batch, 100, 1, 1))
        on_drawn = self.loss(self.critic(drawn.detach()), self.drawn)
        on_drawn.backward()
        self.critic_optimizer.step()
        self.artist.zero_grad()
        deceived = self.loss(self.critic(drawn), self.real)
        deceived.backward()
        self.artist_optimizer.step()
        return on_real.item() + on_drawn.item(), deceived.item()


def times(run, calls, unit):
    found = []
    for _ in range(calls):
        start = time.perf_counter()
        run.call()
        found.append((time.perf_counter() - start) * unit)
    return found


run = None
for line in sys.stdin:
    command = json.loads(line)
    try:
        if command["do"] == "versions":
            answer = versions(command)
        elif command["do"] == "layer":
            run = LayerRun(command)
            answer = {"checksum": run.checksum()}
        elif command["do"] == "dcgan":
            run = Dcgan(command)
            answer = {"losses": run.call()}
        else:
            answer = {"times": times(run, command["calls"], 1e3 if command["do"] == "step" else 1e6)}
    except Exception as error:  # A layer that a peer cannot compute is an answer, not the end.
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
