"""The page of a report in a real browser: headless Chromium, on a file, without any network."""

import re
import shutil

import pytest
from click.testing import CliRunner
from support.boxes import overlapping
from support.reports import a_soup, make_grid, make_results, make_soup

from wise_merge.cli import main
from wise_merge.points.soup import write_soup

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs `chromium` on the PATH (Debian's package chromium)")

TABS = ("plane", "curves", "bias", "diversity", "problems", "audit", "table")
#: Which reports have further ones.
FURTHER = {"grid": ("coordinates",), "line": ("coordinates",), "greedy": ("soup",)}
UNKNOWN = "\N{EN DASH}"
ATTACK = '</script><img src=x onerror="window.attacked = true"><b>bold</b> \'quoted\' & "more"'


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra `test`")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Reports of sweeps of several kinds, by name."""
    root = tmp_path_factory.mktemp("reports")
    make_results(
        root / "unfinished",
        temperatures=(0.7, 1.0),
        tasks=("countdown", "gsm8k"),
        n_of=lambda point: 4 if point.alpha == 0.75 else 1 if point.alpha == 0.25 else None,
        stopped=lambda point: "dominated" if point.alpha == 0.75 else None,
        skip=lambda point, task: point.late.step == 800 and point.temperature == 0.7 and point.alpha > 0.5,
    )
    make_results(root / "single", lates=(800,), alphas=(1.0,), problems=1, n=1)
    make_results(
        root / "attack",
        lates=(800,),
        problems=2,
        tasks=("count<i>down",),
        names=[f"runs/{ATTACK.replace('/', '|')}"],
        text=lambda problem, index, right: ATTACK,
    )
    make_soup(root / "soup")
    make_grid(root / "grid", temperatures=(0.7, 1.0), second=(0.0, 1.0, 2.0), third=(0.5, 1.0))
    make_grid(root / "line", second=(0.5, 1.0, 2.0), third=(1.0,))
    make_soup(root / "greedy")
    write_soup(root / "greedy", a_soup())
    for name in ("grid", "line"):
        chosen = CliRunner().invoke(main, ["best", str(root / name), "--objective", "pass@1"])
        assert chosen.exit_code == 0, chosen.output
    for folder in root.iterdir():
        done = CliRunner().invoke(main, ["report", str(folder)])
        assert done.exit_code == 0, done.output
    return {folder.name: folder / "report.html" for folder in root.iterdir()}


@pytest.fixture
def opened(browser, reports):
    """Opens a report at a width; whatever the console says or the page asks for fails the test."""
    pages, said, asked = [], [], []

    def open_report(name, width=1280):
        page = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(reports[name].as_uri())
        return page

    yield open_report
    for page in pages:
        page.close()
    assert said == []
    # The page itself and nothing else, however often it was opened.
    assert {url.split("#")[0] for url in asked} <= {path.as_uri() for path in reports.values()}


@pytest.mark.parametrize("name", ["unfinished", "single", "attack", "soup", "grid", "greedy"])
def test_every_tab_opens_without_a_word_of_the_console(name, opened):
    """Nothing is fetched, nothing is wider than the window, and no NaN, undefined or null is to be read."""
    page = opened(name)
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        shown = page.locator("nav button:visible").count()
        assert shown == len(TABS) + len(FURTHER.get(name, ()))
        for tab in (*TABS, *FURTHER.get(name, ())):
            page.click(f"#tab-{tab}")
            assert page.locator("main > section:visible").count() == 1
            assert page.locator(f"#{tab} h2").inner_text()
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            charts = page.locator(f"#{tab} .chart:visible svg.main-svg")
            assert all(charts.nth(i).bounding_box()["width"] <= width for i in range(charts.count()))
            drawn = "[...document.querySelectorAll('svg text')].map((one) => one.textContent)"
            read = page.evaluate(f"document.body.innerText + {drawn}")
            assert not re.search(r"\bNaN\b|undefined|\bnull\b|Infinity", read)


def texts_of_labels(page):
    """The labels in the plane with their boxes."""
    return page.evaluate(
        """[...document.querySelectorAll("#plane-chart .annotation-text")].map((one) => {
             const { left, top, right, bottom } = one.getBoundingClientRect();
             return [one.textContent, [left, top, right, bottom]];
           })"""
    )


def wait_until(page, condition):
    """Wait for what JavaScript says; Playwright's own way evaluates a text in the page, whose policy forbids that."""
    for _ in range(300):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{condition} did not come true in 30 s")


@pytest.mark.parametrize(("name", "ends"), [("unfinished", {"early": 1, "late": 2}), ("grid", {}), ("line", {"2": 1})])
def test_no_label_of_the_plane_lies_on_another(name, ends, opened):
    """Each model is named once at whatever temperatures, on wide and narrow screens, and again after a zoom."""
    page = opened(name)
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        wait_until(page, f"document.getElementById('plane-chart').layout.width <= {width}")
        wait_until(page, "document.querySelectorAll('#plane-chart .annotation-text').length > 1")
        labels = texts_of_labels(page)
        texts = [text for text, _ in labels]
        assert overlapping(labels) == []
        assert {text: texts.count(text) for text in ends} == ends
        assert len(texts) == len(set(texts)) + sum(ends.values()) - len(ends)
    page.evaluate(
        """() => { const chart = document.getElementById("plane-chart"), [low, high] = chart.layout.xaxis.range;
                   return Plotly.relayout(chart, { "xaxis.range": [low, (low + high) / 2] }); }"""
    )
    assert overlapping(texts_of_labels(page)) == []


def test_a_report_opens_with_what_to_do(opened):
    """What was swept, what was chosen and the command; or how to choose."""
    page = opened("grid")
    told = page.locator("#opening").inner_text()
    assert "3 values of weight of two and 2 values of weight of three at 2 temperatures (0.7 and 1)" in told
    assert re.search(
        r"wise-merge best chose weight of two [\d.]+, weight of three [\d.]+, T [\d.]+: of \d+ points", told
    )
    assert re.fullmatch(r"wise-merge merge .*/grid/best.yml merged", page.locator("#opening pre").inner_text())
    page = opened("unfinished")
    assert "No point has been chosen yet." in page.locator("#opening").inner_text()
    assert page.locator("#opening pre").inner_text().endswith("/unfinished --objective SUM")


def test_two_coordinates_are_cells_and_one_is_a_line(opened):
    """Pass@1 and Pass@K side by side, a frame or a ring around what was chosen, and the checkpoints beside them."""
    page = opened("grid")
    page.click("#tab-coordinates")
    for number, figure in enumerate(("Pass@1", "Pass@4")):
        chart = page.locator(f"#coordinates-{number}")
        texts = chart.locator("svg text").all_text_contents()
        assert {figure, "weight of two", "weight of three"} <= set(texts)
        # The first checkpoint has the weights 0 and 0, and with them no neighbours in its row.
        assert len([text for text in texts if re.fullmatch(r"[01]\.\d{3}", text)]) == 3 * 2 + 1
        assert chart.locator(".shapelayer path").count() == 1
    assert re.search(
        r"Not in the plane: two 0.\d{3} and [01].\d{3}; three", page.locator("#coordinates .note").inner_text()
    )
    page = opened("line")
    page.click("#tab-coordinates")
    for number in range(2):
        legend = page.locator(f"#coordinates-{number} .legendtext").all_text_contents()
        assert legend == ["merged", "one", "two", "three", "chosen"]


def test_a_greedy_soup_shows_its_steps(opened):
    """In their order, kept or refused and by how much; and what the soup is compared with."""
    page = opened("greedy")
    assert "The greedy soup has 2 ingredients of the 3 checkpoints tried" in page.locator("#opening").inner_text()
    page.click("#tab-soup")
    rows = [row.split() for row in page.locator("#soup-steps tbody tr").all_inner_texts()]
    assert rows == [
        ["1", "three", "kept", "0.500", UNKNOWN, "met", "1"],
        ["2", "one", "kept", "0.560", "+0.060", "met", "2"],
        ["3", "two", "refused", "0.530", "\N{MINUS SIGN}0.030", "met", "2"],
    ]
    rivals = page.locator("#soup-rivals tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rivals] == ["the greedy soup", "best single checkpoint", "uniform soup"]
    assert "0.070\n[0.010, 0.130]" in rivals[1].replace("\n ", "\n")
    assert page.locator("#soup-chart .xtick text").all_text_contents() == ["three", "one", "two"]


def test_hover_tells_what_a_mark_stands_for(opened):
    """Alpha, temperature, steps, n and the intervals, over every mark of the plane."""
    page = opened("unfinished")
    mark = page.locator("#plane-chart .scatterlayer .points path").first.bounding_box()
    page.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    page.wait_for_selector("#plane-chart .hoverlayer .hovertext")
    told = page.locator("#plane-chart .hoverlayer").first.text_content()
    assert re.search(r"alpha [\d.]+, T [\d.]+", told)
    assert re.search(r"steps 25 \(early\) and \d+ \(late\)", told)
    assert re.search(r"n = \d+, 12 problems", told)
    assert re.search(r"Pass@1 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", told)
    assert re.search(r"Pass@4 [01]\.\d{3} \[", told)


def test_the_choice_of_k_changes_the_plane(opened):
    """Points with fewer samples are named instead of shown."""
    page = opened("unfinished")
    before = page.locator("#plane-chart .points path").count()
    page.select_option("#plane select[name=k]", label="8")
    assert "Pass@8" in page.locator("#plane h2").inner_text()
    assert page.locator("#plane-chart .points path").count() < before
    assert "as n < 8" in page.locator("#plane .note").inner_text()


def test_the_address_names_the_tab(opened):
    """It leads back there; and no browser takes it for a place to scroll to, below the head of the page."""
    page = opened("single", width=400)
    assert page.url.endswith("#view=plane")
    assert page.evaluate("window.scrollY") == 0
    page.click("#tab-audit")
    assert page.url.endswith("#view=audit")
    page.reload()
    assert page.locator("#audit").is_visible()
    assert page.evaluate("window.scrollY") == 0


def test_tabs_obey_the_keyboard(opened):
    """Arrows lead to the neighbour, which is shown and says that it is chosen."""
    page = opened("unfinished")
    page.focus("#tab-plane")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#tab-curves", "aria-selected") == "true"
    assert page.locator("#curves").is_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#table").is_visible()


def test_the_table_sorts_by_its_heads(opened):
    """Down first, then up; what is unknown stays at the end; the head says how it is sorted."""
    page = opened("unfinished")
    page.click("#tab-table")
    head = page.locator("#all-points th button", has_text="Pass@4")
    column = page.locator("#all-points th").all_inner_texts().index(head.inner_text())

    def values():
        cells = page.locator(f"#all-points tbody td:nth-child({column + 1})").all_inner_texts()
        return [None if cell == UNKNOWN else float(cell.split()[0]) for cell in cells]

    for direction, sign in (("descending", -1), ("ascending", 1)):
        head.click()
        known = [value for value in values() if value is not None]
        assert known == sorted(known, key=lambda value: sign * value)
        assert values() == known + [None] * (len(values()) - len(known))
        assert None in values()
        assert page.locator("#all-points th").nth(column).get_attribute("aria-sort") == direction


def test_a_problem_shows_its_samples(opened):
    """With prompt, gold, verdicts and answers of early, the chosen alpha and late."""
    page = opened("unfinished")
    page.click("#tab-problems")
    assert page.locator("#histogram-1 .bars path").count() > 0
    page.click("#problem-list tbody tr:nth-child(3)")
    page.wait_for_selector("#samples .group")
    assert page.locator("#samples h4").all_inner_texts() == [
        "early (alpha 0), T 1",
        "alpha 0.5, T 1",
        "late (alpha 1), T 1",
    ]
    assert page.locator("#samples article").count() == 3 * 4
    assert "= 2." in page.locator("#samples article pre").first.inner_text()
    marks = page.locator("#samples .group").first.locator(".marks").inner_text()
    assert len(marks) == 8
    assert f"{marks.count('✓')} of 8 samples correct" in page.locator("#samples .group").first.inner_text()
    page.select_option("#problems select[name=model]", label="0.75")
    page.wait_for_selector("#samples h4 >> text=alpha 0.75")


def test_without_an_alpha_nothing_is_said_of_one(opened):
    """Neither in texts nor in figures; the models go by their names."""
    page = opened("soup")
    for tab in TABS:
        page.click(f"#tab-{tab}")
        drawn = "[...document.querySelectorAll('section:not([hidden]) svg text')].map((one) => one.textContent)"
        read = page.evaluate(f"document.body.innerText + {drawn}")
        assert not re.search(r"\balpha\b|\bearly\b|\blate\b", read.replace("Stopped early", ""), re.IGNORECASE), read
        assert "uniform_soup of 3" in read
    page.click("#tab-problems")
    assert [one.split(",")[0] for one in page.locator("#problems .chart .gtitle").all_text_contents()] == [
        "one",
        "three",
        "uniform_soup of 3",
    ]


def test_another_task_has_its_own_numbers(opened):
    """The list at the top leads there."""
    page = opened("unfinished")
    assert "task countdown" in page.locator("#about").inner_text()
    page.select_option("header select", label="gsm8k")
    assert "task gsm8k" in page.locator("#about").inner_text()
    page.click("#tab-problems")
    assert "gsm8k-0" in page.locator("#problem-list").inner_text()


def test_what_is_missing_is_said(opened):
    """In the head of the page and in the audit; and why points were stopped."""
    page = opened("unfinished")
    assert "2 points of 20 not sampled yet: checkpoint-800, alpha 0.75" in page.locator("#missing").inner_text()
    page.click("#tab-audit")
    assert "3 points stopped early, as another point was better in both" in page.locator("#findings").inner_text()


def test_what_a_model_wrote_is_shown_and_never_run(opened):
    """Tags and quotes in completions and in names are read as they stand, in texts, lists and figures."""
    page = opened("attack")
    name = ATTACK.replace("/", "|")
    page.click("#tab-problems")
    page.click("#problem-list tbody tr")
    page.wait_for_selector("#samples article pre")
    assert ATTACK in page.locator("#samples article pre").all_inner_texts()
    page.click("#tab-audit")
    assert f"runs/{name}" in page.locator("#findings").inner_text()
    page.click("#tab-bias")
    mark = page.locator("#bias-alpha .points path").first.bounding_box()
    page.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
    page.wait_for_selector("#bias-alpha .hoverlayer .hovertext")
    assert "<img" in page.locator("#bias-alpha .hoverlayer").first.text_content()
    assert "task count<i>down" in page.locator("#about").inner_text()
    assert page.evaluate("window.attacked") is None
    assert page.locator("img, main b, header i").count() == 0


def test_a_script_that_got_in_would_not_run(browser, reports, tmp_path):
    """The control: with the page's policy an injected handler is refused, and without it it runs."""
    # Plotly plays no part in this and is the most of the page.
    content = re.sub(r"<script>.*</script>", "", reports["single"].read_text(), flags=re.DOTALL)
    for name, text, ran in (
        ("with", content, None),
        ("without", re.sub(r"<meta http-equiv[^>]*>", "", content), True),
    ):
        path = tmp_path / f"{name}.html"
        path.write_text(text.replace("<main>", '<main><img src="data:," onerror="window.attacked = true">', 1))
        page = browser.new_page()
        page.goto(path.as_uri())
        # The image has failed to load by then, and its handler has run if it may.
        wait_until(page, "document.images[0].complete")
        page.wait_for_timeout(100)
        assert page.evaluate("window.attacked ?? null") is ran
        page.close()
