"""scripts/page.py: the page of runs and that of the whole collection, as text and in a browser."""

import html
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch
from conftest import ALGOS, ROOT, break_at, quick_settings
from PIL import Image

from common.args import RunError
from common.draw import encode
from scripts import page, report
from scripts.lib import collection, films, pages, suites
from scripts.lib.inside import inside, updates

VOID = {"meta", "wbr", "link", "img", "input", "br", "hr", "path", "circle", "polyline"}


class Parsed(HTMLParser):
    """A page's tags with their attributes, its text, and the tags that were not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.wrong, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append((tag, self.getpos()))

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def check(text, folder):
    """What holds for both pages. Returns the page, parsed."""
    parsed = Parsed(text)
    assert not parsed.wrong and not parsed.open
    ids = parsed.all("id")
    assert len(ids) == len(set(ids))
    for address in parsed.all("href"):
        if address.startswith("#"):
            assert address[1:] in ids
        elif not address.startswith(("https://", "data:")):
            assert (folder / address.partition("#")[0]).exists(), address
    assert all(source.startswith("data:") for source in parsed.all("src"))
    assert all(a["href"].startswith("data:") for tag, a in parsed.tags if tag == "link")
    assert all(address.startswith("data:") for address in re.findall(r"url\(([^)]*)", text)) and "@import" not in text
    assert all(a.get("alt") for tag, a in parsed.tags if tag == "img")
    assert all(a.get("aria-label") for _, a in parsed.tags if a.get("role") == "img")
    sheets = set(re.findall(r"^\.s-(\S+) \{", text, re.MULTILINE))
    used = {word[2:] for names in parsed.all("class") for word in names.split() if word.startswith("s-")}
    assert sheets == used
    ticks = len(json.loads(parsed.all("data-labels")[0]))
    assert ticks == len(parsed.all("data-x")[0].split())
    for captions, frames in zip(parsed.all("data-captions"), parsed.all("data-frames"), strict=True):
        frames = [int(frame) for frame in frames.split()]
        assert len(frames) == ticks and frames == sorted(frames) and frames[-1] == len(json.loads(captions)) - 1
    return parsed


# runs ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path, tiny_images, monkeypatch):
    """A folder of four short runs: finished, interrupted and just begun on points, finished on images."""
    out = {"out": str(tmp_path / "runs"), "device": "cpu", "quiet": True}
    ring = {"steps": 8, "log_every": 2, "checkpoint_every": 4, "width": 8, "batch_size": 32} | out
    ALGOS["nsgan"].train(ALGOS["nsgan"].Args(**ring))
    break_at(6, ALGOS["r1"], ALGOS["r1"].Args(**ring | {"lr": 5e-3}), monkeypatch)
    break_at(4, ALGOS["gan"], ALGOS["gan"].Args(**ring), monkeypatch)
    ALGOS["d2gan"].train(ALGOS["d2gan"].Args(**tiny_images, steps=4, log_every=1, **out))
    with (tmp_path / "runs" / "gan-ring-s1" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "d_lo')  # a row that is being written
    return tmp_path / "runs"


@pytest.fixture
def runs_html(runs, tmp_path, capsys):
    page.main(page.Args([str(runs)], out=str(tmp_path / "runs.html")))
    return tmp_path / "runs.html", capsys.readouterr().out


def test_page_of_runs(runs, runs_html):
    path, printed = runs_html
    parsed = check(path.read_text(), path.parent)
    result = json.loads((runs / "nsgan-ring-s1" / "result.json").read_text())
    for text in (printed, parsed.text):
        for said in ("nsgan-ring-s1", "r1-ring-s1", "d2gan-folder-s1", "0.005", "update 4 of 8", "exact sampler, ring"):
            assert said in text
    assert f"{result['js']:.4g}" in parsed.text and f"{result['exact_sampler']['w1']:.4g}" in parsed.text
    captions = [json.loads(captions) for captions in parsed.all("data-captions")]
    assert sorted(map(len, captions)) == [1, 2, 4, 4]
    last = json.loads((runs / "r1-ring-s1" / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"update 4: {last['coverage']} of 8 modes, {last['high_quality']:.0%} sharp" in parsed.text
    assert "gan-ring-s1: no landscape of D" in printed  # it had no checkpoint
    assert {"dnsgan", "dr1"} == {  # the landscapes of the others on points
        "d" + re.search(r"of (\w+)-", label)[1] for label in parsed.all("aria-label") if "over the landscape" in label
    }
    assert "nsgan-ring-s1, update 2: " in " ".join(parsed.all("data-tip"))


def test_runs_of_one_name_and_one_run(runs, tmp_path, capsys):
    shutil.copytree(runs / "nsgan-ring-s1", tmp_path / "other" / "nsgan-ring-s1")
    both = [str(runs / "nsgan-ring-s1"), str(tmp_path / "other" / "nsgan-ring-s1")]
    page.main(page.Args(both, out=str(tmp_path / "runs.html")))
    assert "runs/nsgan-ring-s1" in capsys.readouterr().out
    page.main(page.Args(both[:1], out=str(tmp_path / "runs.html")))
    check((tmp_path / "runs.html").read_text(), tmp_path)


def test_bad_input(tmp_path):
    for args in (page.Args([str(tmp_path)]), page.Args(["x"], record=["ring"]), page.Args(record=["mnist"])):
        with pytest.raises(RunError):
            page.main(args)


def test_pictures_keep_each_pixel():
    for shape, drawn, wide in (([1, 8, 8], 480, 80), ([3, 16, 16], 512, 128), ([1, 32, 32], 512, 256), ([2], 480, 280)):
        assert page.small(Image.new("RGB", (drawn, drawn)), shape).size == (wide, wide)
    assert page.small(Image.new("RGB", (1024, 1024)), [3, 128, 128]).width == 320


def test_names_are_text(runs, tmp_path):
    (runs / "nsgan-ring-s1").rename(runs / "<b>&'\"")
    page.main(page.Args([str(runs)], out=str(tmp_path / "runs.html")))
    parsed = check((tmp_path / "runs.html").read_text(), tmp_path)
    assert "<b>&'\"" in parsed.text and not [tag for tag, a in parsed.tags if tag == "b" and a]


# films --------------------------------------------------------------------------------------------------------------


def test_score_is_high_where_D_says_real(algo):
    """After some updates real points have higher scores than others; but BEGAN's D begins with the middle."""
    local = inside(algo, steps=60, d_steps=3, seed=1, width=32, lr=2e-3)
    for _ in updates(local):
        pass
    state = torch.get_rng_state()
    real, far = local["data"].modes, local["data"].modes * 0.1
    if local["run"].algo == "began":
        assert torch.equal(films.score(local, real), -local["D"](real))
    else:
        assert films.score(local, real).mean() > films.score(local, far).mean()
    assert films.score(local, real).shape == (8,) and films.landscape(local).shape == (films.CELLS, films.CELLS)
    assert torch.equal(state, torch.get_rng_state())


def test_film_is_the_run(tmp_path):
    film = films.record("r1", "ring", steps=5)
    args = ALGOS["r1"].Args(steps=5, log_every=1, seed=films.FIRST_SEED, out=str(tmp_path), device="cpu", quiet=True)
    folder = ALGOS["r1"].train(args)["folder"]
    with open(f"{folder}/metrics.jsonl") as file:
        rows = {row["step"]: row for row in map(json.loads, file)}
    assert len(film.about["frames"]) == len(film.samples) == len(film.landscape) == 5
    for frame in film.about["frames"]:
        same = {name: value for name, value in frame.items() if name in rows[frame["step"]]}
        assert len(same) > 8
        assert same == {name: pytest.approx(rows[frame["step"]][name], rel=1e-3, abs=1e-9) for name in same}
        assert frame["covered"].count("1") == frame["coverage"]
    films.write(film, tmp_path / "film.npz")
    again = films.read(tmp_path / "film.npz")
    assert again.about == film.about and (again.samples == film.samples).all()
    assert [p.size for p in films.pictures(again)] == [(films.SIDE, films.SIDE)] * 5


def test_film_of_images(tmp_path):
    film = films.record("nsgan", "digits", steps=3)
    assert film.samples.shape == (3, 36, 1, 8, 8) and film.about["frames"][-1]["step"] == 3
    assert [p.size for p in films.pictures(film)] == [(60, 60)] * 3


def test_moments_and_key():
    assert films.moments(8000)[-1] == 8000 and len(films.moments(8000)) == films.FRAMES
    assert films.key("nsgan", "ring") != films.key("nsgan", "ring", "--steps 7")


def test_recording_skips_what_is_there(tmp_path, monkeypatch, capsys):
    made = []

    def record(algo, dataset):
        made.append(algo)
        about = {
            "algo": algo,
            "dataset": dataset,
            "seconds": 1,
            "key": films.key(algo, dataset) if algo != "gan" else "other settings",
        }
        return films.Film(about, torch.zeros(1).numpy(), torch.zeros(0).numpy())

    monkeypatch.setattr(collection, "recorded", lambda algo, dataset: ROOT / "results" / tmp_path / f"{algo}.npz")
    monkeypatch.setattr(collection, "ROOT", tmp_path)
    monkeypatch.setattr(films, "record", record)
    page.main(page.Args(record=["ring"]))
    assert sorted(made) == sorted(ALGOS)
    page.main(page.Args(record=["ring"]))
    assert made[len(ALGOS) :] == ["gan"]


# the collection -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "index.html"
    with pytest.MonkeyPatch.context() as patch:  # small files of WebP, and parsers, take most of the time
        patch.setattr(pages, "encode", lambda image, kind, **options: encode(image, kind, **options | {"method": 2}))
        patch.setattr(collection, "QUALITIES", collection.QUALITIES[-1:])
        patch.setattr(suites, "settings", quick_settings)
        collection.page(out)
    return out


def test_index(index):
    text = index.read_text()
    of_films = sum(map(len, re.findall(r"^\.s-\w+-(?:ring|grid|digits) .*", text, re.MULTILINE)))
    assert of_films > 1e6  # in the lowest quality, by the fixture; the highest that `packed` may take has room, too
    assert index.stat().st_size - of_films + collection.ALL_FILMS <= 5e6
    parsed = check(text, ROOT / "results")
    words = " ".join(parsed.text.split())
    ids = parsed.all("id")
    assert set(ALGOS) <= set(ids)
    names = {file.stem for file in (ROOT / "results" / "pathologies").glob("*.md")} - {"README"}
    assert {f"demo-{name}" for name in names} <= set(ids)
    table = (ROOT / "results" / "README.md").read_text().split("<!-- quick: scripts/report.py -->")[1]
    cells = re.findall(r"\d+\.\d+ \[[^\]]*\]", table.split("<!-- end of quick -->")[0])
    assert len(cells) > 4 * len(ALGOS) and all(cell in words for cell in cells)
    claims = re.findall(
        r"^\| (.*?) +\|.*\*\*(.*?)\*\*[^|]*\|[^|]*\|$", (ROOT / "results" / "CLAIMS.md").read_text(), re.MULTILINE
    )
    assert claims and all(text in words and verdict in words for text, verdict in claims)
    (labels,) = map(json.loads, parsed.all("data-labels"))
    assert labels[-1] == "100 % of training" and all(re.fullmatch(r"[\d.]+ % of training", label) for label in labels)
    for path in (ROOT / "results" / "page").glob("*.npz"):
        film = films.read(path)
        said = [pages.said(numbers, film.about["dataset"]) for numbers in film.about["frames"]]
        assert parsed.all("data-captions").count(json.dumps(said)) == 2  # in the overview and at its file


def test_films_fit_into_the_page(monkeypatch):
    noise = torch.randint(256, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)).numpy()
    frames = {"a": [Image.fromarray(noise)] * 3}
    ((_, count, best),) = collection.packed(frames)
    monkeypatch.setattr(collection, "ALL_FILMS", len(best) - 1)
    assert count == 3 and len(collection.packed(frames)[0][2]) < len(best)


def test_diff_is_that_of_the_files(algo):
    name = algo.__name__.split(".")[-1]
    lines = html.unescape(re.sub("<.*?>", "", collection.diff(name))).splitlines()
    if name == "nsgan":
        assert lines == report.body(name)
        return
    added, removed = ([line[1:] for line in lines if line[:1] == mark] for mark in "+-")
    assert set(added) <= set(report.body(name)) and set(removed) <= set(report.body("nsgan"))
    count = [sum(bool(line.strip()) for line in found) for found in (added, removed)]
    assert f"+{count[0]} -{count[1]}" == report.changed_lines(name)


def test_links_lead_from_the_page():
    text = "[a](../../algos/r1.py) [b](table.md) [c](../../README.md) [d](../pathologies/dirac.md) [e](https://x.org)"
    made = collection.html_of(text, "quick")
    assert re.findall(r'href="(.*?)"', made) == ["#r1", "quick/table.md", "#demo-dirac", "https://x.org"]
    assert "README" not in made and " c " in made


# curves -------------------------------------------------------------------------------------------------------------


def test_chart():
    lines = [[(0, 1.0), (5, None), (10, 3.0)], [(0, float("nan")), (10, 2.0)]]
    drawn = pages.chart("loss", ["a", "b"], lines, 10, pages.colors_of(2))
    assert [len(line["dots"]) for line in drawn["lines"]] == [2, 1]
    assert drawn["lines"][0]["dots"][0][0] == pages.LEFT and drawn["lines"][0]["dots"][1][0] == pages.RIGHT
    assert drawn["lines"][0]["dots"][1][2] == "a, update 10: 3"
    assert "a from 1 to 3; b from 2 to 2" in drawn["alt"]
    assert pages.chart("loss", ["a"], [[(0, None)]], 10, pages.colors_of(1)) == {}
    assert "logarithmic" in pages.chart("x", ["a"], [[(1, 1e-3), (2, 1.0)]], 2, pages.colors_of(1))["title"]
    assert pages.thinned(list(range(100)), 3) == [0, 50, 99] and pages.thinned([1], 3) == [1]


# in a browser -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is installed (Debian: apt-get install chromium)")
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def seen(browser, path, width=390, scheme="light"):
    """The page opened from its file, and what it asked for and complained of."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab, requests, errors = context.new_page(), [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(path.as_uri())
    return tab, requests, errors


def use(browser, path):
    """Opens a page, moves its slider by keyboard, plays, follows all anchors."""
    tab, requests, errors = seen(browser, path)
    place, said = (
        "[...document.querySelectorAll('.film[data-captions] " + what + ")"
        for what in (".sheet')].map(e => getComputedStyle(e).backgroundPositionY", ".said')].map(e => e.textContent")
    )
    before = tab.evaluate(place), tab.evaluate(said), tab.locator("output").text_content()
    film = tab.locator(".film .sheet").first
    film.scroll_into_view_if_needed()
    last = film.screenshot()
    tab.focus("#when")
    tab.keyboard.press("Home")
    after = tab.evaluate(place), tab.evaluate(said), tab.locator("output").text_content()
    assert all(a != b for a, b in zip(before, after, strict=True)) and film.screenshot() != last
    assert film.get_attribute("aria-label").endswith(after[1][0])
    tab.keyboard.press("ArrowRight")
    assert tab.input_value("#when") == "1"
    tab.keyboard.press("End")
    assert (tab.evaluate(place), tab.evaluate(said)) == before[:2]
    tab.click("#play")  # at the end: from the beginning
    assert tab.locator("#play").get_attribute("aria-label") == "Pause"
    tab.wait_for_function("+document.querySelector('#when').value >= 2")
    tab.click("#play")
    dot = tab.locator("circle").nth(1)
    dot.scroll_into_view_if_needed()
    dot.dispatch_event("pointerover", {"bubbles": True})
    assert tab.locator("#tip").text_content() == dot.get_attribute("data-tip")
    for anchor in tab.evaluate("[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href'))"):
        assert tab.evaluate("id => document.getElementById(id) !== null", anchor[1:])
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390  # nothing is cut off on a telephone
    paper = "getComputedStyle(document.body).backgroundColor"
    dark, more, _ = seen(browser, path, 1280, "dark")
    assert dark.evaluate(paper) != tab.evaluate(paper)
    assert dark.evaluate("document.documentElement.scrollWidth") <= 1280
    assert requests == more == [path.as_uri()] and errors == []


def test_index_in_a_browser(browser, index):
    use(browser, index)


def test_runs_in_a_browser(browser, runs_html):
    use(browser, runs_html[0])
