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

import pytest
from report_data import INFO, match_report, results

from genopred.report.page import write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to show the page with")

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --hide-scrollbars"
).split()

#: Measures the laid-out page, then uses it: sorts the table of genes by its sixth column and looks for one gene.
PROBE = """
<script>
window.addEventListener("load", function () {
  var root = document.documentElement, all = document.getElementById("all-table"), body = all.tBodies[0];
  function list(selector) { return Array.from(document.querySelectorAll(selector)); }
  function shown(selector) { return getComputedStyle(document.querySelector(selector)).display !== "none"; }
  function column(at) { return Array.from(body.rows).map(function (row) { return row.cells[at].dataset.v; }); }
  var heights = list("svg text").map(function (text) { return text.getBoundingClientRect().height; });
  var out = list("body *").filter(function (element) {
    return !element.closest(".box") && element.getBoundingClientRect().right > window.innerWidth + 1;
  });
  var result = {
    inner: window.innerWidth,
    scroll: root.scrollWidth,
    sticking_out: out.map(function (element) { return element.outerHTML.slice(0, 120); }),
    requests: performance.getEntriesByType("resource").map(function (entry) { return entry.name; }),
    rows: body.rows.length,
    wide_shown: shown(".wide"),
    narrow_shown: shown(".narrow"),
    smallest_text: Math.min.apply(null, heights.filter(function (height) { return height > 0; })),
    boxes_fit: list(".box").every(function (box) { return box.clientWidth <= window.innerWidth; })
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
    predictions, scores, summary = results(30)
    return write_page(
        tmp_path_factory.mktemp("page") / "report.html",
        title="genopred stack",
        summary=summary,
        scores=scores,
        predictions=predictions,
        report=match_report(),
        info=INFO,
    )


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


@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_in_chromium(page, tmp_path, width):
    result = probe(page.read_text(encoding="utf-8"), width, tmp_path)
    assert result["inner"] == width
    assert result["scroll"] <= result["inner"], result["sticking_out"]
    assert not result["sticking_out"] and result["boxes_fit"]
    assert result["requests"] == []
    assert result["rows"] == 30
    assert (result["wide_shown"], result["narrow_shown"]) == (width > 760, width <= 760)
    assert result["smallest_text"] >= 9
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
