"""The page of a study: complete, small, escaped, and calm with what is missing."""

import copy
import itertools
import json
import re
from html.parser import HTMLParser

import pytest
from make_study import make_study

from equipoise.report.study import render

HOSTILE = "</script><script>alert('x')</script>\"'`]]>--><img src=x onerror=alert(1)>" + "é" * 430
VOID = {"meta", "link", "input", "img", "br"}


class Page(HTMLParser):
    """Reads a page: tags, text, and whether every tag is closed in order."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text, self.ids = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def words(html):
    return " ".join(" ".join(Page(html).text).split())


@pytest.fixture(scope="module")
def study():
    return make_study()


@pytest.fixture(scope="module")
def html(study):
    return render(study)


def test_the_verdict_stands_verbatim(study, html):
    said = words(html)
    assert all(sentence in said for sentence in study["verdict"])
    assert f"<h1>{study['verdict'][0]}</h1>" in html


def test_the_page_is_small(html):
    assert len(html.encode()) < 300_000


def test_twelve_norms_seven_rates_and_twenty_layers_stay_under_a_megabyte():
    study = make_study(
        norms=["none", *(f"a_rather_long_norm_name_{i}" for i in range(11))],
        lrs=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        steps=300,
        layers=[f"encoder.blocks.{i}.norm" for i in range(20)],
    )
    html = render(study)
    assert len(html.encode()) < 1_000_000
    assert "6 of 20 layers are drawn" in words(html)


def test_the_study_is_not_changed(study):
    before = copy.deepcopy(study)
    render(study)
    assert study == before


def test_ids_are_unique_and_links_lead_somewhere(html):
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    for _, attributes in page.tags:
        for key in ("aria-labelledby", "aria-describedby", "for"):
            assert attributes.get(key) is None or attributes[key] in page.ids


def test_headings_descend_one_level_at_a_time(html):
    levels = [int(tag[1]) for tag, _ in Page(html).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_numbers_are_those_of_the_summary(study, html):
    said = words(html)
    for row in study["summary"]:
        best = row["best_accuracy"]
        assert f"{100 * best['median']:.1f}% ({100 * best['low']:.1f}%–" in said


def test_the_largest_rate_has_its_range():
    said = words(render(make_study(lrs=(0.1, 1.0, 1.2))))
    assert re.search(r"\b1 \(1–1\.2\)", said)
    assert re.search(r"\b0\.1 \(0\.1\) in 1 of 3 seeds", said)


def test_nothing_is_loaded_and_no_style_is_inline(html):
    assert not re.search(r"\b(src|href)=\"(?!data:,)", html)
    bare = re.sub(r'xmlns="[^"]*"', "", re.sub("(?s)<script>.*</script>", "", html))
    assert "://" not in bare
    assert " style=" not in html


def walk(value, change):
    """Apply ``change`` to every leaf of a study."""
    if isinstance(value, dict):
        return {k: walk(v, change) for k, v in value.items()}
    if isinstance(value, list):
        return [walk(v, change) for v in value]
    return change(value)


def test_every_number_may_be_missing(study):
    def drop(value):
        return None if type(value) in (int, float) else value

    holes = walk(study, drop) | {"schema": 1, "settings": study["settings"]}
    for key in ("norm", "lr", "seed"):
        for old, new in zip(study["trials"], holes["trials"], strict=True):
            new[key] = old[key]
    for old, new in zip(study["summary"], holes["summary"], strict=True):
        for a, b in zip(old["matrix"], new["matrix"], strict=True):
            b |= {"lr": a["lr"], "diverged": a["diverged"], "of": a["of"]}
        if new["steps_to_target"]:
            new["steps_to_target"] |= {"reached": 0, "of": 3}
        if new["largest_lr_by_seed"]:
            new["largest_lr_by_seed"] |= {"reached": 1, "of": 3}
    html = render(holes)
    assert "nothing was recorded" in words(html)
    assert not re.search(r"\b(None|nan|inf)\b", words(html))


def test_no_trials_and_no_verdict(study):
    html = render(study | {"trials": [], "summary": [], "verdict": [], "partial": True})
    assert "No verdict: too little was measured." in words(html)
    assert "0 of 45 planned trials ended" in words(html)


@pytest.mark.parametrize("count", [1, 12])
def test_any_number_of_norms(count):
    html = render(make_study(norms=[f"norm{i}" for i in range(count)]))
    assert len(re.findall(r'<th scope="row">', html)) == count * (1 + 5)


def test_one_seed_draws_no_band():
    assert 'class="band' not in render(make_study(seeds=(0,)))


def test_a_partial_study_says_so(study):
    some = study | {"partial": True, "trials": study["trials"][:7]}
    some["trials"][-1] = some["trials"][-1] | {"status": "interrupted"}
    assert "6 of 45 planned trials ended" in words(render(some))
    assert "planned trials ended" not in words(render(study))


def test_divergence_is_told_in_words_and_marks(html):
    said = words(html)
    assert "3 of 3 seeds diverged" in said
    assert "✕ 3/3" in said
    assert 'class="cross' in html


def test_every_text_may_be_hostile(study):
    hostile = json.loads(
        json.dumps(walk(study, lambda v: HOSTILE if type(v) is str else v)).replace(
            '"stem.norm"', json.dumps(HOSTILE)
        )
    )
    html = render(hostile)
    page = Page(html)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert not [key for _, a in page.tags for key in a if key.startswith("on")]
    assert HOSTILE in " ".join(page.text)


def test_lone_surrogates_do_not_break_the_file(study):
    assert render(study | {"command": "equipoise \ud800\x00 study"}).encode()


def test_another_schema_is_refused(study):
    with pytest.raises(ValueError, match="schema 1"):
        render(study | {"schema": 2})
