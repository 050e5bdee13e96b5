"""The report in a real browser: filters, sorting, the shared address, charts; no error and no other host."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open the report with")
DRAWN = (
    "document.querySelectorAll('figure').length === document.querySelectorAll('figure[data-drawn]').length"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that must not complain, nor ask for anything that is not a file of the site."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"not found: {request.url}"))
    page.on("request", lambda request: complaints.append(request.url) if _elsewhere(request.url) else None)
    yield page
    context.close()
    assert complaints == []


def _elsewhere(url: str) -> bool:
    return not url.startswith(("file:", "data:"))


def column(page: Any, name: str) -> list[str]:
    """The texts of a column of the leaderboard."""
    place = [text.strip() for text in page.locator("#leaderboard thead th").all_inner_texts()]
    k = next(k for k, text in enumerate(place) if text.startswith(name))
    return [row.locator("th, td").nth(k).inner_text() for row in page.locator("#leaderboard tbody tr").all()]


def numbers(page: Any, name: str) -> list[float]:
    """The values of a column of the leaderboard, without their intervals."""
    return [float(text.split()[0]) for text in column(page, name)]


def board(page: Any) -> list[str]:
    return page.locator("#leaderboard tbody tr").all_inner_texts()


def test_the_script_shows_what_the_page_was_written_with(page: Any, browser: Any, site: Path) -> None:
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto((site / "index.html").as_uri())
    page.goto((site / "index.html").as_uri())
    assert column(page, "method") == ["mix", "mix(gate=learned)", "dsm", "ltsm"]
    assert board(page) == board(plain)


def test_filters_change_numbers_and_address_and_an_address_can_be_shared(page: Any, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    everything = board(page)
    page.get_by_label("Task", exact=True).select_option("galton")
    page.get_by_label("Budget", exact=True).select_option("100")
    page.get_by_label("Rank by").select_option("mmd")
    assert page.locator("#selection").inner_text() == "1 place."
    assert dict(zip(column(page, "method"), column(page, "failures"), strict=True))["ltsm"] == "1 of 1"
    assert numbers(page, "rank")[-1] == 4
    filtered, address = board(page), page.url
    assert filtered != everything
    assert address.endswith("#metric=mmd&task=galton&budget=100")
    page.goto("about:blank")
    page.goto(address)
    assert board(page) == filtered
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.getElementById('selection').textContent === '6 places.'")
    assert board(page) == everything
    assert "#" not in page.url


def test_a_capability_selects_the_tasks_that_have_it(page: Any, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    page.get_by_label("Task offers").select_option("marginal_score")
    assert page.locator("#selection").inner_text() == "4 places."  # `elsewhere` is not known to have it


def test_columns_are_sorted_by_keyboard_and_say_so(page: Any, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    header = page.locator("#leaderboard thead th").nth(3)
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    values = numbers(page, "Score error")
    assert values == sorted(values)
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert numbers(page, "Score error") == values[::-1]
    address = page.url
    assert address.endswith("#sort=3-descending")
    page.goto("about:blank")
    page.goto(address)
    assert numbers(page, "Score error") == values[::-1]
    assert page.locator("[aria-sort]").count() == 1


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_draws_its_charts_and_fits_its_window(page: Any, site: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    charts = 0
    for path in sorted(site.rglob("*.html")):
        page.goto(path.as_uri())
        page.wait_for_function(DRAWN)
        charts += page.locator(".chart[aria-label] svg").count()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    # two posteriors and calibrations; three figures on three tasks, one of them on its own page as well; two
    # of ranks, and one in front
    assert charts == 4 + 9 + 3 + 3


def test_a_reader_chooses_the_task_of_the_figure(page: Any, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    page.wait_for_function(DRAWN)
    before = page.locator(".chart svg").inner_html()
    page.get_by_label("Task of the figure").select_option("linear_gaussian")
    page.wait_for_function("document.querySelector('.chart').ariaLabel?.includes('on linear_gaussian')")
    assert page.locator(".chart svg").inner_html() != before
    page.locator("#front-place").click()
    assert page.url.endswith("tasks/linear_gaussian.html#score_error")


def test_a_reader_chooses_methods_and_budget_of_the_posterior(page: Any, site: Path) -> None:
    page.goto((site / "tasks/linear_gaussian.html").as_uri())
    page.wait_for_function(DRAWN)
    corner = page.locator("#posterior ~ figure").first

    def dots() -> list[int]:
        """The draws in sight: of the reference, DSM, LTSM and the mixtures."""
        colours = ("#767676", "#0072B2", "#E69F00", "#D55E00", "#CC79A7")
        return [corner.locator(f"svg .mark-symbol path[fill='{c}'][opacity='0.6']").count() for c in colours]

    assert dots() == [30, 0, 0, 30, 30]  # at first the best two
    corner.get_by_label("DSM", exact=True).check()
    corner.get_by_label("MIX", exact=True).uncheck()
    corner.get_by_label("LTSM", exact=True).check()
    assert dots() == [30, 30, 0, 0, 30]  # the draws of LTSM are beyond the picture
    at_1000 = corner.locator("svg").inner_html()
    corner.get_by_label("budget").select_option("100")
    assert dots() == [30, 30, 0, 0, 30]
    assert corner.locator("svg").inner_html() != at_1000


def test_the_first_stop_of_the_keyboard_skips_to_the_content(page: Any, site: Path) -> None:
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_text_stands_out_in_the_light_and_in_the_dark(page: Any, site: Path) -> None:
    for scheme, background in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(21, 23, 26)")):
        page.emulate_media(color_scheme=scheme)
        page.goto((site / "tasks/galton.html").as_uri())
        page.wait_for_function(DRAWN)
        style = "getComputedStyle(document.{}).{}"
        assert page.evaluate(style.format("documentElement", "backgroundColor")) == background
        ink = page.evaluate(style.format("documentElement", "color"))
        assert page.evaluate(style.format("querySelector('figure svg text')", "fill")) == ink
