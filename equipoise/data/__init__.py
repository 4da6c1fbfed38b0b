"""One reader for every source of rows: arrays, frames, Arrow, files, loaders, clusters."""

from equipoise.data.read import chunks

__all__ = ["chunks"]
