"""How far each normalized layer's input moves from one mini-batch to the next."""

import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from equipoise.study.records import number


def change(before, after) -> tuple[float | None, float | None]:
    """Compare the `Moments` of two mini-batches, channel by channel, then over the channels.

    The shift is ``rms_c |mean_b - mean_a| / sqrt((var_a + var_b) / 2)``; the ratio is
    ``exp(rms_c log(std_b / std_a))``, the factor by which a channel's spread typically changes in
    either direction, so 1 is no change.  Channels that are constant in a batch count nowhere.
    Both include what two mini-batches differ by anyway.
    """
    mean_a, mean_b = np.asarray(before.mean), np.asarray(after.mean)
    var_a, var_b = np.asarray(before.var()), np.asarray(after.var())
    with np.errstate(all="ignore"):
        live = (var_a > 0) & (var_b > 0) & np.isfinite(var_a + var_b + mean_a + mean_b)
        if not live.any():
            return None, None
        apart = ((mean_b - mean_a)[live]) ** 2 / ((var_a + var_b)[live] / 2)
        log_ratio = 0.5 * np.log(var_b[live] / var_a[live])
        return number(math.sqrt(apart.mean())), number(math.exp(math.sqrt((log_ratio**2).mean())))


def channels_last(x: Tensor) -> Tensor:
    """View ``(N, C, ...)`` as rows of C: every position of every sample is one row."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


class Drift:
    """Hooks on the norms that take the `Moments` of their inputs while ``with`` runs.

    ``close_step`` compares the step's moments with the last step's and appends to ``layers``.
    """

    def __init__(self, sites: Mapping[str, nn.Module]):
        self.sites = sites
        self.layers = {name: {"mean_shift": [], "std_ratio": []} for name in sites}
        self.active = False
        self._now: dict[str, object] = {}
        self._last: dict[str, object] = {}
        self._hooks = []

    def __enter__(self) -> "Drift":
        """Attach the hooks."""
        self._hooks = [
            site.register_forward_pre_hook(self._hook(name), with_kwargs=True)
            for name, site in self.sites.items()
        ]
        return self

    def __exit__(self, *exception) -> None:
        """Take the hooks off again."""
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str):
        def see(module, args, kwargs):
            if self.active:
                self._see(name, args[0] if args else next(iter(kwargs.values())))

        return see

    def _see(self, name: str, x: Tensor) -> None:
        import equipoise as eq

        moments = eq.Moments.of(channels_last(x.detach()), nan="propagate")
        # a layer called twice in one step has seen both inputs
        self._now[name] = self._now[name] + moments if name in self._now else moments

    def close_step(self) -> None:
        """Append this step's drift to each layer's lists: None where there is no last step."""
        for name, lists in self.layers.items():
            before, after = self._last.get(name), self._now.get(name)
            known = before is not None and after is not None
            shift, ratio = change(before, after) if known else (None, None)
            lists["mean_shift"].append(shift)
            lists["std_ratio"].append(ratio)
        self._last, self._now = self._now, {}
