"""A report in a real browser: it is drawn without errors, and mouse, touch and keys work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None or shutil.which("chromedriver") is None,
                       reason="Chromium or chromedriver is not installed"),
]


def report_of(folder, *options):
    """The page of a small model trained with these options."""
    charrnn = [sys.executable, "-m", "charrnn"]
    text = str(ROOT / "corpora" / "tide_clock.txt")
    subprocess.run([*charrnn, "train", text, "-o", "a.npz", "--hidden-size", "32", "--steps", "300",
                    "--eval-every", "50", "--quiet", *options], cwd=folder, check=True)
    subprocess.run([*charrnn, "report", text, "-m", "a.npz"], cwd=folder, check=True)
    return folder / "report.html"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return report_of(tmp_path_factory.mktemp("report"))


@pytest.fixture(params=["desktop", "phone"])
def browser(request, report, tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    width, height = (1200, 900) if request.param == "desktop" else (390, 800)
    for option in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update",
                   "--disable-sync", f"--user-data-dir={tmp_path}",
                   f"--window-size={width},{height}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options,
                              service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(report.as_uri())
        yield driver
        assert driver.get_log("browser") == [], "the console must show no errors"
    finally:
        driver.quit()


def texts(browser, selector):
    return [element.text for element in browser.find_elements("css selector", selector)]


def test_every_section_is_drawn_and_nothing_is_wider_than_the_screen(browser):
    assert texts(browser, "h2") == [
        "The run", "Training curves", "Samples during training",
        "Surprisal by character", "Single units", "Prediction errors",
        "Saturation and gradient reach",
    ]
    assert "1 x 32" in browser.page_source or "2 x 32" in browser.page_source
    for chart in browser.find_elements("css selector", "svg"):
        assert chart.size["width"] > 100 and chart.size["height"] > 50
    wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


@pytest.mark.parametrize(("cell", "gates"), [("gru", 2), ("lstm", 3)])
def test_the_gates_are_drawn_and_every_mark_is_inside_its_frame(browser, tmp_path, cell, gates):
    from selenium.webdriver.support.select import Select

    browser.get(report_of(tmp_path, "--cell", cell, "--steps", "50").as_uri())
    assert texts(browser, "h2")[-2:] == ["Gates", "Gradient reach"]
    assert len(browser.find_elements("css selector", "section[aria-labelledby=gates] svg")) == gates
    marks = browser.execute_script("""
      return [...document.querySelectorAll("section[aria-labelledby=gates] circle")].map(mark =>
        [+mark.getAttribute("cx"), +mark.getAttribute("cy")])""")
    assert len(marks) == gates * 2 * 32
    assert all(40 <= x <= 228 and 12 <= y <= 200 for x, y in marks)
    groups = browser.execute_script(
      "return [...document.querySelectorAll('select optgroup')].map(group => group.label)")
    parts = ["layer 1", "layer 2"] if cell == "gru" else [
        f"layer {layer}, {part}" for part in ("h", "tanh(c)") for layer in (1, 2)]
    assert groups[-len(parts):] == parts
    Select(browser.find_element("css selector", "select")).select_by_visible_text(
        "layer 2, unit 32" + (", tanh(c)" if cell == "lstm" else ""))
    browser.find_element("id", "units").click()
    assert "layer 2, unit 32" in texts(browser, "#units-panel")[0]


def test_lines_of_gradient_reach_stay_inside_the_chart(browser):
    outside = browser.execute_script("""
      const charts = [...document.querySelectorAll("section")].at(-1).querySelectorAll("svg");
      const chart = charts[charts.length - 1];
      const [, , , height] = chart.getAttribute("viewBox").split(" ").map(Number);
      return [...chart.querySelectorAll("path")]
        .flatMap(path => [...path.getAttribute("d").matchAll(/,([-.0-9]+)/g)])
        .map(found => +found[1]).filter(y => y < 10 || y > height - 28)""")
    assert outside == []


def test_pointing_at_a_character_shows_what_was_predicted(browser):
    from selenium.webdriver import ActionChains

    spans = browser.find_elements("css selector", "#surprisal i")
    assert len(spans) == 1000
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", spans[40])
    ActionChains(browser).move_to_element(spans[40]).perform()
    (shown,) = texts(browser, "#surprisal-panel")
    assert " bits. Most likely: " in shown and shown.count("%") == 5
    spans[41].click()
    assert texts(browser, "#surprisal-panel") != [shown]


def test_arrow_keys_move_through_the_passage(browser):
    from selenium.webdriver import Keys

    box = browser.find_element("id", "surprisal")
    box.send_keys(Keys.HOME)
    (first,) = texts(browser, "#surprisal-panel")
    box.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    here = browser.find_elements("css selector", "#surprisal i.here")
    assert [span.get_attribute("data-i") for span in here] == ["2"]
    box.send_keys(Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.END)
    here = browser.find_elements("css selector", "#surprisal i.here")
    assert [span.get_attribute("data-i") for span in here] == ["999"]
    assert texts(browser, "#surprisal-panel") != [first]


def test_selecting_another_unit_recolors_the_passage(browser):
    from selenium.webdriver.support.select import Select

    def colors():
        return browser.execute_script("return [...document.querySelectorAll('#units i')]"
                                      ".map(span => span.style.background)")

    before = colors()
    select = Select(browser.find_element("css selector", "select"))
    assert "r " in select.options[0].text and "layer" in select.options[0].text
    select.select_by_index(len(select.options) - 1)
    after = colors()
    assert sum(a != b for a, b in zip(before, after, strict=True)) > 500
    assert len(set(after)) > 5


def test_each_sample_can_be_shown(browser):
    buttons = browser.find_elements("css selector", "section button")
    assert len(buttons) == 6
    shown = browser.find_element("css selector", "section pre[aria-live]")
    last = shown.text
    buttons[0].click()
    assert shown.text != last
    assert [button.get_attribute("aria-pressed") for button in buttons] == ["true"] + 5 * ["false"]


def test_the_page_is_dark_in_dark_mode(browser):
    def brightness():
        color = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, color[color.index("(") + 1 : -1].split(",")[:3]))

    for scheme, low, high in (("light", 600, 765), ("dark", 0, 150)):
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": scheme}]})
        assert low <= brightness() <= high
