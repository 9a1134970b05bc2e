"""Train a small network to remove noise from handwritten digits.

Lines that mention `observe` are for cnnperf; without it they do nothing.
"""

import argparse
import math

import torch
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader

from cnnperf import observe

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--width", type=int, default=16)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

torch.manual_seed(options.seed)
images = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 16
training, test = images[:1500], images[1500:]
noise = 0.3 * torch.randn(test.shape, generator=torch.Generator().manual_seed(0))
model = torch.nn.Sequential(
    torch.nn.Conv2d(1, options.width, 3, padding=1),
    torch.nn.ReLU(),
    torch.nn.Conv2d(options.width, 1, 3, padding=1),
)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
loader = DataLoader(training, batch_size=50, shuffle=True)


def test_psnr() -> float:
    """Return the peak signal-to-noise ratio on the test images, in decibels."""
    with torch.no_grad():
        return -10 * math.log10(functional.mse_loss(model(test + noise), test).item())


with observe.training(model=model):
    for _ in observe.epochs(range(options.epochs)):
        for batch in observe.steps(loader):
            loss = functional.mse_loss(model(batch + 0.3 * torch.randn_like(batch)), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        observe.metric(train_loss=loss.item(), val_psnr=test_psnr())
print(f"PSNR {test_psnr():.2f} dB")
observe.result(test_psnr=test_psnr())
