"""The page about a dataset in a real browser."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from image_features.pipeline.cli import main as cli
from tests import hostile
from tests.http_server import ImageServer

pytestmark = pytest.mark.engines

_BACKGROUNDS = {"light": (246, 247, 249), "dark": (20, 23, 27)}


@pytest.fixture
def page(extract, tmp_path):
    """Makes the page about a dataset in which `evil` is a URI, a column and its value."""

    def make(evil):
        manifest = hostile.write_manifest(tmp_path / "input", count=20, evil=evil)
        run = extract(manifest)
        output = tmp_path / "page.html"
        assert cli.main(["report", str(run.parent), f"--output={output}"]) == 0
        return pathlib.Path(output)

    return make


def test_charts_are_drawn_and_no_hostile_script_runs(page, browse):
    with ImageServer({}) as server:
        evil = hostile.HOSTILE.replace("src=x", f"src={server.url('beacon.png')}")
        dom = browse(page(evil), "--dump-dom", network=True).stdout
        assert not server.hits
    assert re.search(r"<title>(.*?)</title>", dom).group(1) == "Image features"
    for name in ("rows", "rate", "reasons", "formats", "sides", "ratios", "norms-0"):
        chart = dom.split(f'id="chart-{name}"', 1)[1].split("</section>")[0]
        assert "<svg" in chart, f"The chart of {name} is missing."
    assert "<canvas" in dom.split('id="chart-map-0"', 1)[1].split("</section>")[0]
    # 21 images are there; those of the strips show their pictures.
    shown = re.findall(r'<img data-row="\d+"[^>]*src="(data:image/jpeg)', dom)
    assert len(shown) == 10 * 8
    assert not re.search(r"<img[^>]*onerror", dom.split("<script")[0])


def test_light_and_dark(page, browse, tmp_path):
    made = page(hostile.HOSTILE)
    for scheme, background in _BACKGROUNDS.items():
        picture = tmp_path / f"{scheme}.png"
        dark = scheme == "dark"
        options = [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
        options += ["--force-dark-mode"] if dark else []
        browse(made, f"--screenshot={picture}", "--window-size=1200,3600", *options)
        pixels = np.asarray(Image.open(picture).convert("RGB"))
        assert tuple(int(value) for value in pixels[5, 5]) == background
        # The map and the strips are full of pictures.
        middle = pixels[300:1800, 100:1100].reshape(-1, 3)
        assert len(np.unique(middle // 16, axis=0)) > 200
