"""The page of the service in a real browser, driven as a person drives it."""

import shutil
import threading

import pytest

import vtr
from vtr.errors import VtrError

DRIVER = shutil.which("chromedriver")  # Debian's chromium-driver brings the browser with it
pytestmark = pytest.mark.skipif(DRIVER is None, reason="no Chromium (apt-get install chromium-driver)")
SECONDS = 30  # until a page that does nothing is given up

NAME = f"<b onclick=1>&amp; a cat's {'long_' * 20}name.mp4"  # what would be markup is a name


@pytest.fixture(scope="module")
def engine(models, clips, tmp_path_factory):
    engine = vtr.Engine(models("xclip")[1], tmp_path_factory.mktemp("index"))
    odd = tmp_path_factory.mktemp("odd") / NAME
    shutil.copyfile(clips / "clip6.mp4", odd)
    engine.index([clips / f"clip{number}.mp4" for number in range(3, 6)] + [odd])
    return engine


@pytest.fixture(scope="module")
def address(engine, serve):
    with serve(engine) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    browser.get(address)
    browser.get_log("browser")  # forget what earlier pages said
    yield Page(browser)
    said = [entry["message"] for entry in browser.get_log("browser")]
    # A reply that is an error is in the log by itself; nothing of the page's own may be.
    assert [message for message in said if "/v1/search - Failed to load" not in message] == []


class Page:
    """The page as a person sees it: what is written where."""

    def __init__(self, browser):
        self.browser = browser

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def texts(self, selector):
        return [element.text for element in self.all(selector)]

    def wait(self, condition):
        """Until ``condition(self)`` holds; returns what it gave."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.browser, SECONDS, 0.02).until(lambda _: condition(self))

    def ask(self, text):
        """Type a text and press enter."""
        field = self.all("input")[0]
        field.clear()
        field.send_keys(text + "\n")

    def search(self, text):
        """The same, and wait for the answer."""
        self.ask(text)
        self.answered()

    def answered(self):
        """Wait until the page shows hits."""
        self.wait(lambda page: page.texts("#status")[0].endswith(" ms"))


def clock(seconds):
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def test_hits_stand_as_the_engine_ranks_them(page, engine):
    page.search("two dogs & a cat")
    hits = engine.search("two dogs & a cat", k=12)
    assert page.texts(".name") == [hit.path.name for hit in hits] and NAME in page.texts(".name")
    assert page.texts(".score") == [f"{hit.score:.2f}" for hit in hits]
    expected = [
        f"{clock(moment.start)}–{clock(moment.end)} ({round(100 * moment.weight)}%)"
        for hit in hits
        for moment in hit.moments
    ]
    assert page.texts(".moments button") == expected and len(expected) >= len(hits)
    assert page.texts("#status")[0].startswith("4 videos in ")
    assert "4 videos" in page.texts("#model")[0] and "random weights" in page.texts("#model")[0]


def test_the_address_is_the_search(page, browser):
    page.search("a+b, 50% é")
    names = page.texts(".name")
    browser.get(browser.current_url)
    page.answered()
    field = page.all("input")[0]
    assert page.texts(".name") == names and field.get_property("value") == "a+b, 50% é"


def test_a_moment_plays_from_where_it_starts(page, browser, engine):
    page.search("two dogs")
    hits = engine.search("two dogs", k=12)
    place = max(range(len(hits)), key=lambda place: len(hits[place].moments))
    best, *others = hits[place].moments
    video = page.all("video")[place]
    # It is loaded up to the best moment; from there another one is gone to.
    page.wait(lambda page: video.get_property("readyState") > 1 and not video.get_property("seeking"))
    assert video.get_property("currentTime") == pytest.approx(best.start) and video.get_property("paused")
    note = "arguments[0].addEventListener('seeked', () => { arguments[0].title = arguments[0].currentTime })"
    browser.execute_script(note, video)
    page.all("#hits li")[place].find_elements("css selector", ".moments button")[-1].click()
    page.wait(lambda page: video.get_property("title"))
    assert float(video.get_property("title")) == pytest.approx(others[-1].start, abs=0.5)
    assert abs(others[-1].start - best.start) > 0.5
    page.wait(lambda page: video.get_property("ended") or not video.get_property("paused"))
    assert video.get_property("error") is None and video.get_property("videoWidth") == 96


def test_an_old_reply_does_not_take_a_new_ones_place(page, browser, engine, monkeypatch):
    search, asked, go = engine.search, threading.Event(), threading.Event()

    def slow(texts, *options):
        if texts != ["old"]:
            return search(texts, *options)
        asked.set()
        assert go.wait(SECONDS)
        return [hits[:1] for hits in search(texts, *options)]

    monkeypatch.setattr(engine, "search", slow)
    page.ask("old")
    assert asked.wait(SECONDS)
    page.search("new")
    go.set()
    replies = "return performance.getEntriesByType('resource').filter(e => e.name.endsWith('search')).length"
    page.wait(lambda page: browser.execute_script(replies) == 2)
    assert len(page.all("#hits li")) == 4 and page.texts("#status")[0].startswith("4 videos")


def test_what_went_wrong_is_said_and_the_page_goes_on(page, engine, monkeypatch):
    page.search("two dogs")
    with monkeypatch.context() as broken:

        def fail(*asked):
            raise VtrError("the index <i>is</i> gone")

        broken.setattr(engine, "search", fail)
        page.ask("a cat")
        page.wait(lambda page: page.texts("#status") == ["the index <i>is</i> gone"])
        assert page.all("#hits li") == []
    page.search("a cat")
    assert len(page.all("#hits li")) == 4


@pytest.mark.parametrize("width", [320, 1400])
def test_nothing_sticks_out_of_a_window(page, browser, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.search("two dogs")
    assert browser.execute_script("return innerWidth") == width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    for name in page.all(".name"):
        assert name.get_property("scrollWidth") <= name.get_property("clientWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
