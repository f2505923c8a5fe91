"""The page in a real browser, on a telephone and on a wide screen. Skipped where there is no Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from html import escape, unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
from report_data import INFO, all_figures, match_report, results

from genopred.report.page import Section, render_page, write_page
from genopred.report.tables import Cell, GeneNames, Grid, estimate

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to show the page with")

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run --hide-scrollbars"
).split()

#: Measures the laid-out page, then uses it: sorts the table of genes by its sixth column and looks for one gene.
PROBE = """
<script>
window.addEventListener("load", function () {
  var root = document.documentElement, all = document.getElementById("all-table"), body = all.tBodies[0];
  function list(selector) { return Array.from(document.querySelectorAll(selector)); }
  function shown(which) { return getComputedStyle(document.querySelector("#methods ." + which)).display !== "none"; }
  function column(at) { return Array.from(body.rows).map(function (row) { return row.cells[at].dataset.v; }); }
  var heights = list("svg text").map(function (text) { return text.getBoundingClientRect().height; });
  var out = list("body *").filter(function (element) {
    return !element.closest(".scroll") && element.getBoundingClientRect().right > window.innerWidth + 1;
  });
  var result = {
    inner: window.innerWidth,
    scroll: root.scrollWidth,
    sticking_out: out.map(function (element) { return element.outerHTML.slice(0, 120); }),
    requests: performance.getEntriesByType("resource").map(function (entry) { return entry.name; }),
    rows: body.rows.length,
    wide_shown: shown("wide"),
    narrow_shown: shown("narrow"),
    smallest_text: Math.min.apply(null, heights.filter(function (height) { return height > 0; })),
    summary_fits: (function (box) { return box.scrollWidth <= box.clientWidth; })(
      document.getElementById("summary-table").parentNode
    ),
    boxes_fit: list(".scroll").every(function (box) { return box.clientWidth <= window.innerWidth; })
  };
  var head = all.tHead.rows[0].cells[5], input = document.querySelector("input[type=search]");
  head.querySelector("button").click();
  result.down = column(5);
  head.querySelector("button").click();
  result.up = column(5);
  result.sorted = head.getAttribute("aria-sort");
  input.value = body.rows[3].cells[0].textContent;
  input.dispatchEvent(new Event("input"));
  result.found = Array.from(body.rows).filter(function (row) { return !row.hidden; }).length;
  parent.document.documentElement.setAttribute("data-probe", JSON.stringify(result));
});
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    predictions, scores, summary = longer(*results(30))
    html = render_page(
        title="genopred stack",
        summary=summary,
        scores=scores,
        predictions=predictions,
        report=match_report(),
        info=INFO,
    )
    return write_page(tmp_path_factory.mktemp("page") / "report.html", html)


def longer(*tables: pl.DataFrame) -> tuple[pl.DataFrame, ...]:
    """With the longest name that a method has."""
    name = {"stack-nnls": "stack-xgboost-per-gene"}
    return tuple(table.with_columns(method=table["method"].replace(name)) for table in tables)


def browse(url: str, width: int, profile: Path, *more: str) -> subprocess.CompletedProcess:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},1200", *more, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def probe(html: str, width: int, folder: Path) -> dict:
    """Lay the page out in a frame of that width (Chromium's window itself will not go below 500) and ask it."""
    frame = f'<iframe width="{width}" height="1000" style="border:0" srcdoc="{escape(html + PROBE)}"></iframe>'
    outer = folder / "outer.html"
    outer.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">{frame}</body>', encoding="utf-8")
    done = browse(outer.as_uri(), max(width, 800), folder / "profile", "--dump-dom")
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found, "the page's script did not run to its end"
    return json.loads(unescape(found[1]))


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_in_chromium(page, tmp_path, width):
    result = probe(page.read_text(encoding="utf-8"), width, tmp_path)
    assert result["inner"] == width
    assert result["scroll"] <= result["inner"], result["sticking_out"]
    assert not result["sticking_out"] and result["boxes_fit"]
    assert result["requests"] == []
    assert result["rows"] == 30
    assert (result["wide_shown"], result["narrow_shown"]) == (width > 760, width <= 760)
    assert result["smallest_text"] >= 9
    assert result["summary_fits"] == (width > 760)
    down = [float(value) for value in result["down"]]
    assert down == sorted(down, reverse=True) and result["up"] == result["down"][::-1]
    assert result["sorted"] == "ascending" and result["found"] == 1


@pytest.fixture
def server():
    """A local web server that knows nothing, for a page that wrongly asks for something."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


class Silent(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

    def log_message(self, *args):
        pass


def test_the_probe_notices_what_it_looks_for(page, tmp_path, server):
    html = page.read_text(encoding="utf-8")
    spoilt = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    extra = f'<main><img src="{server}/other.png"><div style="width: 900px">too wide</div>'
    result = probe(spoilt.replace("<main>", extra), 360, tmp_path)
    assert result["scroll"] > 360 and any("too wide" in element for element in result["sticking_out"])
    assert result["requests"] == [f"{server}/other.png"]


@pytest.mark.parametrize("width", [360, 1400])
def test_a_picture_of_it_is_not_blank(page, tmp_path, width):
    from matplotlib.image import imread

    picture = tmp_path / "page.png"
    done = browse(page.as_uri(), width, tmp_path / "profile", f"--screenshot={picture}")
    assert done.returncode == 0 and picture.is_file(), done.stderr[-2000:]
    pixels = imread(picture)[..., :3]
    assert pixels.shape[1] == width
    assert pixels.std() > 0.03 and (pixels.max(axis=2) < 0.35).mean() > 0.005  # text is there


# --- measured: what a reader needs on every kind of page, at the widths of a telephone, a tablet and a laptop -------

WIDTHS = (390, 768, 1280)

#: Looks at one laid-out page and gives what is wrong with it, by rule, each with where.
MEASURE = r"""
function measure(scheme) {
  var root = document.documentElement, wrong = {}, seen = {};
  function all(selector, from) { return Array.from((from || document).querySelectorAll(selector)); }
  function visible(element) { return element.getClientRects().length > 0; }
  function where(element) { return element.outerHTML.slice(0, 100); }
  function note(rule, bad, element, more) {
    seen[rule] = (seen[rule] || 0) + 1;
    if (bad) { (wrong[rule] = wrong[rule] || []).push((more === undefined ? "" : more + " ") + where(element)); }
  }
  function rgb(text) { return text.match(/[\d.]+/g).map(Number); }
  function light(colour) {
    var part = colour.slice(0, 3).map(function (v) {
      v /= 255;
      return v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4);
    });
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  }
  function behind(element) {
    for (; element; element = element.parentElement) {
      var colour = rgb(getComputedStyle(element).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) { return colour; }
    }
    return [255, 255, 255];
  }
  function contrast(a, b) {
    var x = light(a), y = light(b);
    return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
  }
  note("page wider than the screen", root.scrollWidth > root.clientWidth, root, root.scrollWidth);
  all("main *, header *, footer *").forEach(function (element) {
    if (!visible(element) || element.closest("svg") || element.matches(".scroll, option")) { return; }
    var style = getComputedStyle(element);
    if (style.display !== "inline") {
      var over = element.scrollWidth - element.clientWidth;
      note("overflows its container", over > 1 && element.clientWidth > 0, element, over);
    }
  });
  all("svg").filter(visible).forEach(function (svg) {
    var box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
    all("text, tspan", svg).filter(visible).forEach(function (text) {
      var size = parseFloat(getComputedStyle(text).fontSize) * scale, at = text.getBoundingClientRect();
      note("small text in a figure", size < 10, text, size.toFixed(1));
      var out = Math.max(box.left - at.left, at.right - box.right, box.top - at.top, at.bottom - box.bottom);
      note("text cut by its figure", out > 3, text, out.toFixed(1) + " " + text.textContent);
    });
  });
  all("a, button, input, [tabindex]").filter(visible).forEach(function (target) {
    var at = target.getBoundingClientRect();
    note("target under 24 px", at.height < 24 || at.width < 24, target, at.width + "x" + at.height);
  });
  all("main *, header *, footer *").forEach(function (element) {
    var says = Array.from(element.childNodes).some(function (node) {
      return node.nodeType === 3 && node.textContent.trim();
    });
    if (!says || !visible(element) || element.matches("title, option")) { return; }
    var style = getComputedStyle(element), ink = element.closest("svg") ? style.fill : style.color;
    var ratio = contrast(rgb(ink), behind(element));
    note("contrast under 4.5", ratio < 4.5, element, ratio.toFixed(2) + " " + scheme);
  });
  all("button, th").forEach(function (head) { note("empty head", !head.textContent.trim(), head); });
  all("td[data-v]").forEach(function (cell) {
    var head = cell.closest("table").tHead.rows[0].cells[cell.cellIndex].firstElementChild;
    note("number not at the right", getComputedStyle(cell).textAlign !== "right", cell);
    note("head of numbers not at the right", getComputedStyle(head).textAlign !== "right", head);
  });
  all("td").filter(function (cell) { return /^[+\u2212-]?[\d.,]+( \[.*\])?$/.test(cell.textContent); }).forEach(
    function (cell) { note("number that is a word", cell.dataset.v === undefined, cell); }
  );
  var walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), node;
  while ((node = walk.nextNode())) {
    if (/\d/.test(node.textContent) && !node.parentElement.closest("pre, script, style")) {
      note("hyphen for a minus", /(^|[\s(\[=,;])-[\d.]|\de-\d/.test(node.textContent), node.parentElement);
    }
  }
  all("thead").filter(visible).forEach(function (head) {
    note("deep head", head.getBoundingClientRect().height > 66, head, head.getBoundingClientRect().height);
  });
  all("tbody").filter(visible).forEach(function (body) {
    var heights = Array.from(body.rows).map(function (row) { return row.getBoundingClientRect().height; });
    heights.sort(function (a, b) { return a - b; });
    var middle = heights[Math.floor(heights.length / 2)];
    note("high rows", middle > (window.innerWidth > 760 ? 40 : 56), body, middle);
  });
  all(".scroll").filter(visible).forEach(function (box) {
    var over = box.scrollWidth - box.clientWidth, frame = box.parentNode;
    if (over <= 1) { return; }
    var hint = document.getElementById(box.getAttribute("aria-describedby"));
    var told = hint && visible(hint) && /scroll sideways/.test(hint.textContent) && box.hasAttribute("role");
    var fades = getComputedStyle(frame, "::after").opacity === "1";
    note("scrolls without a sign", !(told && fades && box.tabIndex === 0), box, over);
    var first = box.querySelector("tbody th"), before = first && first.getBoundingClientRect().left;
    box.scrollLeft = over;
    if (first) { note("first column scrolls away", Math.abs(first.getBoundingClientRect().left - before) > 1, first); }
    box.scrollLeft = 0;
  });
  all("input[type=search]").forEach(function (input) {
    var body = document.getElementById(input.dataset.table).tBodies[0];
    var said = all("[aria-live=polite]", input.parentNode);
    input.value = body.rows[0].cells[0].textContent;
    input.dispatchEvent(new Event("input"));
    var words = said.length ? said[0].textContent : "";
    note("count not announced", words !== "1 of " + body.rows.length + " rows", input, words);
    input.value = "";
    input.dispatchEvent(new Event("input"));
  });
  return {wrong: wrong, seen: seen};
}
window.addEventListener("load", function () {
  var frames = Array.from(parent.document.querySelectorAll("iframe"));
  window.measured = measure(frames[frames.indexOf(frameElement)].dataset.scheme);
  if (frames.every(function (frame) { return frame.contentWindow.measured; })) {
    var out = frames.map(function (frame) { return frame.contentWindow.measured; });
    parent.document.documentElement.setAttribute("data-probe", JSON.stringify(out));
  }
});
"""


def measure(html: str, folder: Path, schemes: tuple[str, ...] = ("light", "dark")) -> dict[tuple[int, str], dict]:
    """What is wrong with a page by width and colour scheme, and how often each rule was looked at."""
    folder.mkdir(exist_ok=True)
    frames, keys = [], []
    for scheme in schemes:
        dark = "@media all" if scheme == "dark" else "@media not all"
        shown = html.replace("@media (prefers-color-scheme: dark)", dark)
        page = folder / f"{scheme}.html"
        page.write_text(f"{shown}<script>{MEASURE}</script>", encoding="utf-8")
        for width in WIDTHS:
            keys.append((width, scheme))
            style = f'width="{width}" height="1000" style="border:0; display:block" data-scheme="{scheme}"'
            frames.append(f'<iframe {style} srcdoc="{escape(page.read_text(encoding="utf-8"))}"></iframe>')
    outer = folder / "outer.html"
    outer.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">{"".join(frames)}', encoding="utf-8")
    done = browse(outer.as_uri(), 1400, folder / "profile", "--dump-dom")
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found, f"the measuring script did not run to its end {done.stderr[-1000:]}"
    return dict(zip(keys, json.loads(unescape(found[1]))))


def stack_page() -> str:
    """Long names of methods, genes with and without symbols, every figure, numbers of both signs."""
    predictions, scores, summary = longer(*results(30))
    known = [gene.partition(".")[0] for gene in scores["gene_id"].unique(maintain_order=True).to_list()]
    names = GeneNames({gene: f"RP11-{i}M9.3" for i, gene in enumerate(known) if i % 3})
    cells = [[Cell("one"), estimate(-0.0582, -0.1, 0.2), Cell("short"), Cell("long words " * 4)]]
    tables = ((Grid(["What", "Difference", "Null", "Note"], cells), "A table. More of it."),)
    return render_page(
        title="genopred stack",
        summary=summary,
        scores=scores,
        predictions=predictions,
        report=match_report(),
        info=INFO,
        sections=[Section("Every figure", figures=all_figures(), tables=tables)],
        names=names,
    )


def overlap_page(folder: Path) -> str:
    """Two rankings of made-up SNPs, all measures, the founding study's recipe."""
    import numpy as np

    from genopred.pipelines import overlap
    from genopred.settings import Overlap
    from genopred.settings.overlap import NamedFile

    rng = np.random.default_rng(1)
    n = 120
    pos = np.sort(rng.integers(1_000_000, 2_000_000, n))
    base = {"id": [f"rs{i}" for i in range(n)], "chrom": ["19"] * n, "pos": pos}
    effect = rng.normal(size=n)
    pl.DataFrame(base | {"effect": effect}).write_csv(folder / "a.tsv", separator="\t")
    pl.DataFrame(base | {"pval": rng.uniform(0.001, 1, n), "slope": -effect}).write_csv(
        folder / "b.tsv", separator="\t"
    )
    a, b = NamedFile("model", folder / "a.tsv"), NamedFile("eqtl", folder / "b.tsv")
    few = {"draws": 100, "resamples": 100, "figures": "none", "recipe": "founding-study", "k": (10,)}
    done = overlap.run(Overlap(a=(a,), b=b, out=folder / "out", **few))
    return next(path for path in done.files if path.suffix == ".html").read_text(encoding="utf-8")


def evaluate_page(folder: Path) -> str:
    pytest.importorskip("torch")
    from test_report_pages_evaluate import shown

    from genopred.report.pages.evaluate import write

    return write(folder, shown(), "none")[-1].read_text(encoding="utf-8")


RULES = {
    "stack": {
        "scrolls without a sign",
        "first column scrolls away",
        "count not announced",
        "head of numbers not at the right",
    },
    "overlap": {"scrolls without a sign", "number not at the right", "high rows"},
    "evaluate": {"scrolls without a sign", "number not at the right"},
}


@pytest.mark.parametrize("kind", ["stack", "overlap", "evaluate"])
def test_pages_are_legible_at_every_width(kind, tmp_path):
    html = {"stack": lambda _: stack_page(), "overlap": overlap_page, "evaluate": evaluate_page}[kind](tmp_path)
    measured = measure(html, tmp_path / "measured")
    assert set(measured) == {(width, scheme) for width in WIDTHS for scheme in ("light", "dark")}
    wrong = {key: found["wrong"] for key, found in measured.items() if found["wrong"]}
    assert not wrong, json.dumps({str(key): value for key, value in wrong.items()}, indent=1)[:6000]
    for (width, _), found in measured.items():
        assert found["seen"]["small text in a figure"] > 20 and found["seen"]["contrast under 4.5"] > 50
        if width == 390:
            assert set(found["seen"]) >= RULES[kind] | {"target under 24 px", "empty head", "hyphen for a minus"}


def test_the_measure_notices_what_it_looks_for(tmp_path):
    """Each rule once, on a page that breaks it."""
    spoilt = """<!DOCTYPE html><html><body style="margin:0"><main><div style="width: 100px">
    <p style="width: 300px; overflow: hidden">wide</p></div><a href="#x">link</a>
    <svg viewBox="0 0 1000 100" style="width: 300px"><text x="990" y="20" style="font: 12px serif">cut off</text></svg>
    <p style="color: #999">grey</p><p>-0.5 beside 3e-7</p>
    <input type="search" data-table="t" style="height: 10px"><div style="width: 300px">
    <div><div class="scroll" style="overflow: auto; width: 80px"><table id="t"><thead><tr style="height: 90px">
    <th><button>A</button></th><th><button></button></th></tr></thead><tbody>
    <tr style="height: 80px"><th>a</th><td data-v="1" style="text-align: left">1.5</td></tr>
    <tr style="height: 80px"><th>b</th><td style="min-width: 300px">2.5</td></tr></tbody></table></div></div></div>
    <p style="width: 1500px">wider</p></main></body></html>"""
    for found in measure(spoilt, tmp_path / "m", ("light",)).values():
        assert set(found["wrong"]) == set(found["seen"]), set(found["seen"]) ^ set(found["wrong"])
        assert len(found["wrong"]) == 16


def test_genes_are_found_by_symbol_and_by_id(tmp_path):
    html = stack_page()
    row = re.search(r'<th scope="row" class="word[^"]*">(RP11-1M9\.3) <small>(ENSG\d+\.\d+)</small>', html)
    assert row and f"{row[1]} ({row[2]})" in html  # both in the table, and in the words of a figure
    script = """<script>window.addEventListener("load", function () {
      var input = document.querySelector("input[type=search]");
      var rows = document.getElementById("all-table").tBodies[0].rows;
      var out = WANTED.map(function (wanted) {
        input.value = wanted; input.dispatchEvent(new Event("input"));
        return Array.from(rows).filter(function (row) { return !row.hidden; }).length;
      });
      document.documentElement.setAttribute("data-probe", JSON.stringify(out));
    });</script>""".replace("WANTED", json.dumps([row[1].lower(), row[2], "nothing"]))
    page = tmp_path / "page.html"
    page.write_text(html + script, encoding="utf-8")
    done = browse(page.as_uri(), 1280, tmp_path / "profile", "--dump-dom")
    assert json.loads(unescape(re.search(r'data-probe="([^"]*)"', done.stdout)[1])) == [1, 1, 0]
