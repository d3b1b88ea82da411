"""The page and the SVG of `ckptfs inspect`, looked at in a browser. Screenshots are left in build/test-logs/page."""
import pathlib
import shutil
import struct
import xml.etree.ElementTree
import zipfile
import zlib

import pytest

from browser import Page
from conftest import ROOT

DATA = ROOT / "tests" / "data" / "zero"
SAMPLE = ROOT / "mount_scripts" / "sample"
SHOTS = ROOT / "build" / "test-logs" / "page"

# Everything whose text would be cut off, or would make the page wider than the window. What scrolls by itself may be wider.
CLIPPED = """[...document.querySelectorAll("main, main *:not(svg *)")].filter((element) => {
  const style = getComputedStyle(element);
  if (style.display === "inline" || element.clientWidth === 0 || element.closest(".scroll") !== null) return false;
  return element.scrollWidth > element.clientWidth + 1 || element.getBoundingClientRect().right > innerWidth + 1;
}).map((element) => `${element.tagName}.${element.className}: ${element.textContent.slice(0, 60)}`)"""
# Words in a drawing that reach over its edge, or over each other on their line.
OVERLAPPING = """[...document.querySelectorAll(".stage svg")].flatMap((svg) => {
  const edge = svg.getBoundingClientRect(), found = [];
  const words = [...svg.querySelectorAll("text")].map((text) => ({ text: text.textContent, box: text.getBoundingClientRect() }));
  words.sort((a, b) => a.box.top - b.box.top || a.box.left - b.box.left);
  words.forEach(({ text, box }, index) => {
    if (box.left < edge.left - 1 || box.right > edge.right + 1 || box.bottom > edge.bottom + 1 || box.top < edge.top - 1) found.push(`outside: ${text}`);
    const before = words[index - 1];
    if (before && Math.abs(before.box.top - box.top) < 2 && before.box.right > box.left) found.push(`over each other: ${before.text}, ${text}`);
  });
  return found;
})"""


def shot(page: Page, name: str) -> bytes:
    SHOTS.mkdir(parents=True, exist_ok=True)
    path = SHOTS / f"{name}.png"
    page.screenshot(path)
    return path.read_bytes()


def pixel(png: bytes, x: int, y: int) -> tuple[int, ...]:
    """The colour at a place of a PNG of 8 bits a channel."""
    width, _, _, kind = struct.unpack(">IIBB", png[16:26])
    channels = {2: 3, 6: 4}[kind]
    chunks, place = b"", 8
    while place < len(png):
        length, name = struct.unpack(">I4s", png[place:place + 8])
        chunks += png[place + 8:place + 8 + length] if name == b"IDAT" else b""
        place += length + 12
    rows, line = zlib.decompress(chunks), width * channels
    previous = bytearray(line)
    for number in range(y + 1):
        start = number * (line + 1)
        method, row = rows[start], bytearray(rows[start + 1:start + 1 + line])
        for i in range(line):
            left, above, corner = row[i - channels] if i >= channels else 0, previous[i], previous[i - channels] if i >= channels else 0
            nearest = min((left, above, corner), key=lambda value: abs(left + above - corner - value))
            row[i] = (row[i] + (0, left, above, (left + above) // 2, nearest)[method]) & 255
        previous = row
    return tuple(previous[x * channels:x * channels + 3])


def stage(page: Page, index: int) -> tuple[float, float, float, float]:
    """The place of a drawing in the window, which is scrolled to it: left, top, width, height."""
    return tuple(page.run(f"""(() => {{
      const svg = document.querySelectorAll(".stage svg")[{index}];
      svg.scrollIntoView({{ block: "center" }});
      const box = svg.getBoundingClientRect();
      return [box.left, box.top, box.width, box.height];
    }})()"""))


def text_of(page: Page, selector: str, index: int) -> str:
    return page.run(f"document.querySelectorAll({selector!r})[{index}].innerText")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("fixture,world_size", [(SAMPLE, 3), (DATA / "stage3_sub_groups_ws3", 2), (DATA / "tensor_parallel_stage2_ws4", 6)], ids=lambda value: getattr(value, "name", str(value)))
def test_nothing_is_cut_off(draw, open_page, fixture, world_size, width, dark):
    page = open_page(draw(fixture, world_size)[0], width, dark)
    page.run('document.querySelectorAll("details").forEach((details) => { details.open = true; })')
    page.settle()
    assert page.run(CLIPPED) == []
    assert page.run(OVERLAPPING) == []
    assert page.run('document.querySelectorAll(".stage svg .part").length') > 10
    png = shot(page, f"{fixture.name}-{width}-{'dark' if dark else 'light'}")
    assert (sum(pixel(png, 2, 2)) < 200) == dark


def test_a_clipped_word_would_be_found(draw, open_page):
    page = open_page(draw(SAMPLE, 3)[0])
    page.run('(() => { const h1 = document.querySelector("h1"); h1.style.whiteSpace = "nowrap"; h1.textContent = "x".repeat(400); h1.style.overflowWrap = "normal"; })()')
    page.run('document.querySelector(".stage text").setAttribute("x", "-40")')
    assert page.run(CLIPPED) != []
    assert page.run(OVERLAPPING) != []


def test_the_mouse_names_what_is_there(draw, open_page):
    page = open_page(draw(SAMPLE, 3)[0])
    left, top, width, height = stage(page, 1)
    page.move(left + .05 * width, top + .2 * height)
    tip = text_of(page, ".tip", 1)
    assert "embedding.weight" in tip and "from rank 0" in tip and "to rank 0" in tip
    assert "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt" in tip and "fp32 at byte" in tip
    shot(page, "pointed-at")
    page.click(left + .05 * width, top + .2 * height)
    assert "embedding.weight" in text_of(page, ".detail", 1)
    left, top, width, height = stage(page, 0)
    page.move(left + .995 * width, top + .2 * height)
    assert text_of(page, ".tip", 0).startswith("Padding: 3 of the 32 elements of rank 3")
    page.move(2, 2)
    assert page.run('[...document.querySelectorAll(".tip")].every((tip) => tip.hidden)')


def test_a_tap_names_what_is_there(draw, open_page):
    page = open_page(draw(SAMPLE, 3)[0], 390)
    left, top, width, height = stage(page, 1)
    page.tap(left + .05 * width, top + .2 * height)
    assert "embedding.weight" in text_of(page, ".detail", 1)
    assert page.run(CLIPPED) == []


def test_keys_step_through_parameters_and_pieces_and_zoom(draw, open_page):
    page = open_page(draw(SAMPLE, 3)[0])
    page.run('document.querySelectorAll(".stage")[0].focus({ focusVisible: true })')
    page.settle()
    detail = text_of(page, ".detail", 0)
    assert detail.startswith("position [5, 25]") and "piece 1 of" in detail
    page.key("ArrowDown")
    assert "piece 2 of" in text_of(page, ".detail", 0)
    page.key("+")
    assert page.run('document.querySelectorAll(".stage")[0].classList.contains("zoomed")')
    assert page.run(OVERLAPPING) == []
    page.key("0")
    assert not page.run('document.querySelectorAll(".stage")[0].classList.contains("zoomed")')
    page.key("Escape")
    assert page.run('document.querySelectorAll(".detail")[0].hidden')


def test_the_table_leads_to_the_drawing(draw, open_page):
    page = open_page(draw(SAMPLE, 3)[0])
    page.run('document.querySelectorAll("details")[2].open = true')
    page.settle()
    page.run("""(() => { const input = document.querySelectorAll("input")[2]; input.value = "NORM.bias"; input.dispatchEvent(new Event("input")); })()""")
    names = page.run('[...document.querySelectorAll("details")[2].querySelectorAll("tbody .name")].map((name) => name.textContent)')
    assert names and all("norm.bias" in name for name in names)
    page.run('document.querySelectorAll("details")[2].querySelector("tbody button").click()')
    assert names[0] in text_of(page, ".detail", 2)
    assert page.run('document.activeElement === document.querySelectorAll(".stage")[2]')


def test_every_byte_that_the_page_names_is_there(draw, open_page):
    """The master of the first element, as the page says where it is, against PyTorch's reader."""
    import torch

    page = open_page(draw(SAMPLE, 3)[0])
    group = 'new Group(picture.groups[1], 1, { before: expandedFiles(picture.files.before), after: expandedFiles(picture.files.after) })'
    file, byte = page.run(f"(() => {{ const g = {group}, place = g.before.place(0, 0); return [g.before.fileOf(place.rank), g.before.bytes(place)[0].byte]; }})()")
    path = SAMPLE / "global_step3" / file
    with open(path, "rb") as stream:
        stream.seek(byte)
        (value,) = struct.unpack("<f", stream.read(4))
    state = torch.load(path, weights_only=False)["optimizer_state_dict"]
    assert value == state["single_partition_of_fp32_groups"][1].flatten()[0].item()


def test_it_is_printed(draw, open_page):
    page = open_page(draw(SAMPLE, 3)[0])
    page.prefer("dark", "print")
    page.settle()
    assert page.run('getComputedStyle(document.querySelector(".tools")).display') == "none"
    assert page.run('getComputedStyle(document.body).backgroundColor') == "rgb(255, 255, 255)"
    assert page.run('[...document.querySelectorAll(".mix + .hint")].every((words) => words.offsetHeight > 0)')
    page.run('dispatchEvent(new Event("beforeprint"))')
    assert page.run('document.querySelector(".stage svg").getAttribute("viewBox")') == "0 0 700 200"
    assert page.run(OVERLAPPING) == []
    page.run('dispatchEvent(new Event("afterprint"))')
    assert page.run('document.querySelector(".stage svg").viewBox.baseVal.width') > 1000
    assert page.pdf().startswith(b"%PDF-")


def test_it_is_said_to_those_who_do_not_see(draw, open_page):
    page = open_page(draw(SAMPLE, 3)[0])
    for selector in (".stage", "button", "input", "svg", "section"):
        unnamed = page.run(f"""[...document.querySelectorAll({selector!r})].filter((element) => !element.getAttribute("aria-label") && !element.textContent.trim()).length""")
        assert unnamed == 0, selector
    assert "rank 0 takes 2,320 elements of rank 0" in page.run('document.querySelectorAll(".stage svg desc")[1].textContent')


def test_many_parameters_and_ranks(draw, open_page, tmp_path_factory):
    """1,002 parameters at 256 ranks cut for 8; a unit test has the size at 1,024."""
    import large_stage3
    from large_checkpoint import Model

    root = tmp_path_factory.mktemp("large") / "checkpoint"
    large_stage3.make_sparse(str(root), Model(layers=111, width=2048, hidden=8192, key_value=512, vocabulary=32000), 256)
    path, svg = draw(root, 8)
    assert path.stat().st_size < 300_000
    assert svg.stat().st_size < 400_000
    for width in (1280, 390):
        page = open_page(path, width)
        assert page.run(CLIPPED) == []
        assert page.run(OVERLAPPING) == []
        assert page.run('document.querySelectorAll("*").length') < 20_000
        shot(page, f"large-{width}")
    left, top, width, height = stage(page, 1)
    page.tap(left + .47 * width, top + .85 * height)
    assert "layers." in text_of(page, ".detail", 1)


def rename_in(path: pathlib.Path, old: bytes, new: bytes) -> int:
    """Puts one text into a file's pickle for another of its length, with the checksum that the pickle then has; how often it was there."""
    assert len(old) == len(new)
    with zipfile.ZipFile(path) as archive:
        [info] = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
        pickled = archive.read(info)
    renamed = pickled.replace(old, new)
    content = path.read_bytes().replace(pickled, renamed).replace(struct.pack("<I", info.CRC), struct.pack("<I", zlib.crc32(renamed)))
    path.chmod(0o644)
    path.write_bytes(content)
    return pickled.count(old)


def test_hostile_names_of_parameters_are_text(draw, open_page, tmp_path):
    """They are what whoever wrote the checkpoint called them."""
    name = b"<img src=x><b>'\""  # as long as what it replaces, so that the pickles around it stay whole
    root = tmp_path / "run"
    shutil.copytree(DATA / "stage3_sub_groups_ws3", root)
    files = sorted(root.glob("global_step2/*.pt"))
    assert sum(rename_in(file, b"embedding.weight", name) for file in files) > 0
    path, svg = draw(root, 2)
    page = open_page(path)
    page.run('document.querySelectorAll("details").forEach((details) => { details.open = true; })')
    page.settle()
    left, top, width, height = stage(page, 0)
    page.click(left + .1 * width, top + .2 * height)
    assert name.decode() in text_of(page, ".detail", 0)
    assert page.run('document.querySelectorAll(".parameters .name")[1].textContent') == name.decode()
    assert page.run('document.querySelectorAll("img, main b:not(.side b)").length') == 0
    drawn = xml.etree.ElementTree.parse(svg).getroot()
    assert any(name.decode() in (element.text or "") for element in drawn.iter("{http://www.w3.org/2000/svg}title"))
    assert {element.tag.partition("}")[2] for element in drawn.iter()}.isdisjoint({"img", "b", "script", "image", "a"})


def test_hostile_names_are_text(draw, open_page, tmp_path):
    """A tag's name is anybody's, and so is a path."""
    root = tmp_path / "<script>alert(3)<" / "script><img src=x>"
    root.mkdir(parents=True)
    name = "<img src=x onerror=alert(1)><svg onload=alert(2)>&amp;\u202e\"'"
    (root / name).symlink_to(SAMPLE / "global_step3")
    (root / "latest").write_text(name, encoding="utf-8")
    path, svg = draw(root, 3)
    page = open_page(path)
    heading = page.run('document.querySelector("h1").textContent')
    assert heading.startswith("<img src=x onerror=alert(1)><svg onload=alert(2)>&amp;\\u{202e}\"'")
    assert page.run('document.querySelectorAll("img").length') == 0
    assert page.run("document.title").startswith("<img")
    assert page.run('document.querySelector(".source").textContent').endswith("<script>alert(3)</script><img src=x>")
    assert xml.etree.ElementTree.parse(svg).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_svg_of_the_documents_is_what_the_program_draws(draw):
    assert (ROOT / "docs" / "ckptfs.svg").read_text(encoding="utf-8") == draw(SAMPLE, 3)[1].read_text(encoding="utf-8"), \
        "write it again: ckptfs inspect mount_scripts/sample --world-size=3 --svg=docs/ckptfs.svg"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_svg_shows_its_words(open_page, dark):
    page = open_page(ROOT / "docs" / "ckptfs.svg", 980, dark)
    outside = page.run("""(() => { const edge = document.documentElement.getBoundingClientRect();
      return [...document.querySelectorAll("text")].filter((text) => { const box = text.getBoundingClientRect(); return box.left < edge.left || box.right > edge.right || box.bottom > edge.bottom; }).map((text) => text.textContent); })()""")
    assert outside == []
    assert page.run('document.querySelectorAll("script").length') == 0
