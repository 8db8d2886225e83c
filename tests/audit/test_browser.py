"""What a real browser makes of the HTML report: it runs nothing, fits every width, and prints."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from doubles import reports

from torchkeep.audit.render import html as renderer
from torchkeep.audit.render import render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0"),
)
WIDTHS = (320, 390, 768, 1280)  # 320: WCAG 2.2, 1.4.10

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")


@pytest.fixture
def browse(tmp_path):
    """Opens a page with the given flags; returns its document as read and the console's lines."""

    def run(page, *flags, anchor=""):
        file = tmp_path / "page.html"
        file.write_text(page, "utf-8")
        done = subprocess.run(
            [
                CHROMIUM,
                *FLAGS,
                f"--user-data-dir={tmp_path / 'user'}",
                *flags,
                file.as_uri() + anchor,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd=tmp_path,
        )
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return run


def title(document):
    return re.search(r"<title>(.*?)</title>", document)[1]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_shows_every_row_and_runs_nothing(browse, language):
    report = reports.everything()
    page = render(report, "html", language)
    document, console = browse(page, "--dump-dom")
    assert console == []
    assert title(document) == title(page)
    assert document.count("<tr data-rule=") == len(report.findings)


PLANTED = "<main><script>document.title='owned'</script><img src='https://127.0.0.1/x.png'>"


def test_the_policy_stops_what_escaping_would_miss(browse):
    page = render(reports.everything(), "html").replace("<main>", PLANTED)
    document, console = browse(page, "--dump-dom")
    assert title(document) == title(page)
    assert len(console) == 2
    assert all("violates the following Content Security Policy" in line for line in console)


def test_a_script_that_runs_is_noticed(browse):
    page = render(reports.everything(), "html").replace("<main>", PLANTED)
    document, _ = browse(re.sub(r"<meta http-equiv[^>]*>", "", page), "--dump-dom")
    assert title(document) == "owned"


def test_a_link_to_a_rule_opens_its_explanation(browse):
    document, _ = browse(render(reports.everything(), "html"), "--dump-dom", anchor="#TK-TEST-001")
    (opened,) = re.findall(r"<details open.*?</details>", document, re.DOTALL)
    assert 'id="TK-TEST-001"' in opened


def test_it_fits_every_width(browse):
    frames = "".join(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe>'
        for page in (render(reports.everything(), "html", language) for language in ("en", "zh"))
        for width in WIDTHS
    )
    too_wide = (
        "f => f.document.documentElement.scrollWidth - f.document.documentElement.clientWidth"
    )
    script = (
        f"<script>onload = () => {{ document.title = Array.from(frames, {too_wide}) }}</script>"
    )
    document, _ = browse(f"<title></title>{script}{frames}", "--dump-dom")
    assert title(document) == ",".join("0" for _ in (*WIDTHS, *WIDTHS))


def test_it_follows_the_colour_scheme(browse, tmp_path):
    image = pytest.importorskip("PIL.Image")
    page = render(reports.report([reports.finding()]), "html")
    corners = []
    for scheme in (1, 0):
        shot = tmp_path / f"{scheme}.png"
        browse(page, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={shot}")
        with image.open(shot) as picture:
            corners.append(picture.convert("RGB").getpixel((2, 2)))
    light, dark = corners
    assert min(light) > 240
    assert max(dark) < 50


def pages(browse, tmp_path, report):
    target = tmp_path / "report.pdf"
    browse(render(report, "html"), f"--print-to-pdf={target}", "--no-pdf-header-footer")
    data = target.read_bytes()
    assert re.search(rb"/MediaBox \[0 0 59[45][.\d]* 84[12][.\d]*\]", data), "not A4"
    return len(re.findall(rb"/Type /Page\b", data))


def test_it_prints_on_a_few_pages_with_the_rules_open(browse, tmp_path, monkeypatch):
    rules = [reports.rule(f"TK-TEST-{n:03}") for n in range(1, 31)]
    report = replace(
        reports.report([reports.finding(f"{n}.pt") for n in range(35)], *rules), required=None
    )
    opened = pages(browse, tmp_path, report)
    sheet = renderer._sheet().replace("details::details-content", "nothing")
    monkeypatch.setattr(renderer, "_sheet", lambda: sheet)
    closed = pages(browse, tmp_path, report)
    assert closed + 2 <= opened <= 12
