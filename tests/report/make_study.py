"""A made-up study with the shape of a real one: curves that fall, drift, and diverge."""

from math import exp
from random import Random
from statistics import median

LAYERS = ("stem.norm", "block1.norm", "block2.norm")


def make_study(
    norms=("none", "batch", "torch_batch"),
    lrs=(0.01, 0.03, 0.1, 0.3, 1.0),
    seeds=(0, 1, 2),
    steps=230,
    layers=LAYERS,
    **changes,
):
    """Give a study dict of schema 1; ``changes`` replace its top-level entries."""
    trials = [
        _trial(norm, lr, seed, steps, layers) for norm in norms for lr in lrs for seed in seeds
    ]
    study = {
        "schema": 1,
        "created": "2026-01-15T09:30:00Z",
        "versions": {"equipoise": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "numpy": "2.3.1"},
        "machine": {"cpu": "a made-up processor", "threads": 2},
        "data": {"name": "digits", "train": 1437, "test": 360, "shape": [1, 8, 8], "classes": 10},
        "model": {"name": "three convolutions", "parameters": 19850},
        "settings": {
            "norms": list(norms),
            "lrs": list(lrs),
            "seeds": list(seeds),
            "epochs": 10,
            "batch_size": 64,
            "steps": steps,
            "target": 0.95,
            "optimizer": "SGD with momentum 0.9",
            "quick": False,
        },
        "command": "equipoise study --norms " + " --norms ".join(norms) + " --seeds 3 --seed 0",
        "partial": False,
        "trials": trials,
        "summary": [_summary(norm, lrs, trials) for norm in norms],
        "verdict": [
            "batch reached 95% test accuracy in 46 steps (median of 3 seeds), none in 138.",
            "The largest learning rate that trained was 1 with batch and 0.1 with none.",
            "batch and torch_batch differ by less than their seeds do.",
        ],
    }
    return study | changes


def _trial(norm, lr, seed, steps, layers):
    rng = Random(f"{norm} {lr} {seed}")
    plain = norm == "none"
    limit = 0.1 if plain else 1.0
    lost = lr > limit * (1 + 0.5 * (seed == 0))
    length = rng.randrange(6, 40) if lost else steps
    speed = (0.12 if plain else 0.35) * (lr / limit) ** 0.6 * rng.uniform(0.9, 1.1)
    floor = 0.12 if plain else 0.03
    fall = [floor + 2.2 * exp(-speed * i * 0.35) for i in range(length)]
    loss = [v * exp(rng.gauss(0, 0.18)) for v in fall]
    if lost:
        loss = [2.3 * exp(0.25 * i) for i in range(length)]
    evals = [i for i in range(23, length + 1, 23)]
    best = (0.955 if plain else 0.975) + rng.uniform(-0.008, 0.008)
    accuracy = [best - 0.86 * exp(-speed * i * 0.16) + rng.gauss(0, 0.004) for i in evals]
    probes = [i for i in range(1, length + 1, 20)]
    rough = 1.6 if plain else 0.5
    return {
        "norm": norm,
        "lr": lr,
        "seed": seed,
        "status": "diverged" if lost else "done",
        "diverged_at": length if lost else None,
        "loss": loss,
        "accuracy": [min(1.0, 1.05 - v / 2.5) for v in loss],
        "grad_norm": [v * rough * exp(rng.gauss(0, 0.3)) for v in loss],
        "eval_steps": evals,
        "test_accuracy": accuracy,
        "seconds_per_step": None if lost else rng.uniform(0.0030, 0.0034) * (1 if plain else 1.25),
        "layers": {name: _drift(rng, depth, length, rough) for depth, name in enumerate(layers)},
        "probe_steps": probes,
        "loss_range": [[0.4 * loss[i - 1], loss[i - 1] * (1 + rough)] for i in probes],
        "gradient_change": [rough * rng.uniform(0.4, 0.8) for _ in probes],
    }


def _drift(rng, depth, length, rough):
    size = 0.12 * rough * (1 + depth)
    return {
        "mean_shift": [None] + [size * abs(rng.gauss(1, 0.3)) for _ in range(length - 1)],
        "std_ratio": [None] + [exp(rng.gauss(0, 0.06 * rough)) for _ in range(length - 1)],
    }


def _spread(values):
    return {"median": median(values), "low": min(values), "high": max(values)} if values else None


def _summary(norm, lrs, trials):
    cells = [_cell(lr, [t for t in trials if (t["norm"], t["lr"]) == (norm, lr)]) for lr in lrs]
    sound = [c for c in cells if c["accuracy"] is not None and not c["diverged"]]
    best = max(sound, key=lambda c: c["accuracy"], default=None)
    mine = [t for t in trials if best and (t["norm"], t["lr"]) == (norm, best["lr"])]
    steps = [s for t in mine if (s := _reached(t)) is not None]
    return {
        "norm": norm,
        "best_lr": best and best["lr"],
        "steps_to_target": (
            mine
            and (_spread(steps) or dict.fromkeys(("median", "low", "high")))
            | {"reached": len(steps), "of": len(mine)}
        )
        or None,
        "best_accuracy": _spread([max(t["test_accuracy"]) for t in mine]),
        "largest_lr": max((c["lr"] for c in sound), default=None),
        "largest_lr_by_seed": _by_seed([t for t in trials if t["norm"] == norm]),
        "seconds_per_step": _spread([t["seconds_per_step"] for t in mine]),
        "matrix": cells,
    }


def _by_seed(trials):
    largest = {t["seed"]: t["lr"] for t in trials if _reached(t) is not None}
    found = _spread(list(largest.values()))
    return found and found | {"reached": len(largest), "of": len({t["seed"] for t in trials})}


def _cell(lr, trials):
    best = [max(t["test_accuracy"]) for t in trials if t["test_accuracy"]]
    steps = [s for t in trials if (s := _reached(t)) is not None]
    return {
        "lr": lr,
        "accuracy": median(best) if best else None,
        "diverged": sum(t["status"] == "diverged" for t in trials),
        "of": len(trials),
        "steps_to_target": median(steps) if steps else None,
    }


def _reached(trial):
    pairs = zip(trial["eval_steps"], trial["test_accuracy"], strict=True)
    return next((step for step, value in pairs if value >= 0.95), None)
