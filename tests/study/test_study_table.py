"""The summary table fits 80 columns and says what is missing."""

from equipoise.study.summary import summarize
from equipoise.study.table import summary_table


def _text(trials, norms):
    settings = {"target": 0.95}
    return str(summary_table({"settings": settings, "summary": summarize(trials, norms, 0.95)}))


def test_a_full_row(trial):
    trials = [
        trial("torch_batch", 0.3, seed, accuracies, seconds=seconds)
        for seed, (accuracies, seconds) in enumerate(
            [([0.5] * 20 + [0.951], 0.0123), ([0.5] * 23 + [0.99], 0.0222), ([0.96], 0.0099)]
        )
    ]
    text = _text(trials, ["torch_batch"])
    row = next(line for line in text.splitlines() if "torch_batch" in line)
    assert row.split() == (
        "torch_batch 0.3 105 (5–120) 96.0 (95.1–99.0) 0.3 12.3 (9.9–22.2)".split()
    )
    assert max(map(len, text.splitlines())) <= 80


def test_what_was_not_reached(trial):
    text = _text([trial("none", 0.3, 0, [0.5])], ["none", "batch"])
    lines = text.splitlines()
    assert "not reached" in next(line for line in lines if "none" in line)
    assert next(line for line in lines if "batch" in line).split() == (
        "batch – not reached – – –".split()
    )


def test_some_seeds_alone(trial):
    text = _text([trial("none", 0.3, s, [0.96 if s else 0.5]) for s in range(3)], ["none"])
    assert "5 in 2/3" in text
    assert "0.3 in 2/3" in text


def test_the_range_of_the_largest_rate(trial):
    trials = [
        trial("torch_batch", lr, seed, [0.5] * 20 + [0.951 if lr < 1 or seed else 0.6])
        for lr in (0.03, 3.0)
        for seed in range(3)
    ]
    text = _text(trials, ["torch_batch"])
    assert "0.03–3" in text
    assert max(map(len, text.splitlines())) <= 80
