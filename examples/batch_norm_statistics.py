"""What batch normalization does: every channel leaves with mean beta and standard deviation gamma.

Run it with ``python examples/batch_norm_statistics.py``.
"""

import torch

from equipoise import nn

# three channels on very different scales, as the inputs of a layer deep in a network are
mean = torch.tensor([5.0, -300.0, 0.01]).view(1, 3, 1, 1)
spread = torch.tensor([2.0, 70.0, 0.5]).view(1, 3, 1, 1)
x = mean + spread * torch.randn(32, 3, 64, 64, generator=torch.Generator().manual_seed(0))

# fresh layers have gamma = 1 and beta = 0; training would learn values such as these
layer = nn.BatchNorm2d(3)
with torch.no_grad():
    layer.weight.copy_(torch.tensor([1.0, 0.5, 2.0]))
    layer.bias.copy_(torch.tensor([0.0, 3.0, -1.0]))

y = layer(x)

# a channel's statistics run over the batch and both axes of the image
over = (0, 2, 3)
print("channel  mean before    std before   mean after  beta   std after  gamma")
for c, (m0, s0, m1, s1) in enumerate(
    zip(x.mean(over), x.std(over), y.mean(over), y.std(over), strict=True)
):
    beta, gamma = layer.bias[c].item(), layer.weight[c].item()
    print(f"{c:7d}  {m0:11.3f}  {s0:12.3f}  {m1:11.3f}  {beta:4.1f}  {s1:10.3f}  {gamma:5.1f}")

assert torch.allclose(y.mean(over), layer.bias, atol=1e-4)
assert torch.allclose(y.std(over), layer.weight, atol=1e-3)
print("every channel has mean beta and standard deviation gamma")
