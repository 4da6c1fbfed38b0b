"""Batch normalization of a batch of images: build the layer, call it, look at the shape.

Run it with ``python examples/batch_norm_basics.py``.
"""

import torch

from equipoise import nn

# 32 images of 3 channels (red, green, blue), 64 x 64 pixels each
images = torch.randn(32, 3, 64, 64)

# one mean, one variance, one gamma and one beta per channel; these are the default options
layer = nn.BatchNorm2d(num_features=3, eps=1e-05, momentum=0.1, affine=True)

output = layer(images)

print(f"input:  {tuple(images.shape)}")
print(f"output: {tuple(output.shape)}")
