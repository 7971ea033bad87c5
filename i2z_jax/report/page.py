# SPDX-License-Identifier: Apache-2.0
"""A self-contained HTML page from declarative sections.

Pictures, meshes, style and script are in the file: it opens from a disk, without a
network, and its content policy forbids one. Blocks hold plain text and are escaped
here; `Plot` holds markup that `plots` made.

    page("Title", "What this is.", [Section("First", [Text("..."), Picture(png)])])
"""

import base64
import html
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
# No network at all; inline style and script, pictures in the page.
_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
)
# Characters of a cell that reads as a number.
_NUMBER = set("0123456789.,+-%e ")
_MIME = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """Commands, as typed."""

    text: str


@dataclass(frozen=True)
class Link:
    """A link to a file beside the page."""

    path: str
    text: str


@dataclass(frozen=True)
class Tiles:
    """Key figures: `(value with unit, what it is)`."""

    figures: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Picture:
    """An encoded PNG, JPEG or WebP with its caption."""

    data: bytes
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; columns of numbers stand to the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Plot:
    """Markup from `plots`, with a caption."""

    markup: str
    caption: str = ""


@dataclass(frozen=True)
class Head:
    """A face to turn and play: the bytes of a GLB that `gltf` wrote."""

    glb: bytes
    caption: str = ""


Block = Text | Code | Link | Tiles | Picture | Gallery | Table | Plot | Head


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole page as HTML."""
    body = "".join(
        f"<section><h2>{html.escape(s.title)}</h2>{''.join(map(_block, s.blocks))}"
        "</section>"
        for s in sections
    )
    has_head = any(isinstance(b, Head) for s in sections for b in s.blocks)
    script = f"<script>{_asset('viewer.js')}</script>" if has_head else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        # Without one, a browser asks the server for an icon.
        '<link rel="icon" href="data:,">'
        f"<style>{_asset('page.css')}</style></head><body><h1>{html.escape(title)}</h1>"
        f'<p class="lead">{html.escape(lead)}</p>{body}{script}</body></html>\n'
    )


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return f"<p>{html.escape(text)}</p>"
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Link(path, text):
            address = html.escape(urllib.parse.quote(path))
            return f'<p><a href="{address}">{html.escape(text)}</a></p>'
        case Tiles(figures):
            tiles = "".join(
                f"<div><b>{html.escape(value)}</b><span>{html.escape(what)}</span></div>"
                for value, what in figures
            )
            return f'<div class="tiles">{tiles}</div>'
        case Picture(data, caption):
            picture = f'<img alt="{html.escape(caption)}" src="{_data_url(data)}">'
            return _figure(picture, caption)
        case Gallery(pictures):
            return f'<div class="gallery">{"".join(map(_block, pictures))}</div>'
        case Table(header, rows, caption):
            return _table(header, rows, caption)
        case Plot(markup, caption):
            return _figure(markup, caption)
        case Head(glb, caption):
            return _head(glb, caption)


def _figure(content: str, caption: str) -> str:
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{content}{below}</figure>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    numbers = [
        all(set(cell) <= _NUMBER for row in rows for cell in row[i : i + 1])
        for i in range(len(header))
    ]

    def cells(kind: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{kind}{' class=number' if number else ''}>{html.escape(cell)}</{kind}>"
            for cell, number in zip(row, numbers, strict=True)
        )

    head = cells("th", header)
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    below = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{below}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _head(glb: bytes, caption: str) -> str:
    data = base64.b64encode(glb).decode()
    return (
        '<figure class="head3d"><canvas></canvas><div class="controls">'
        '<label><input type="checkbox" name="play" checked> play</label>'
        '<input type="range" name="time" min="0" max="1" step="any" value="0" '
        'aria-label="time">'
        '<label><input type="checkbox" name="tracked"> turn as tracked</label></div>'
        '<p class="remark"></p>'
        f'<script type="application/octet-stream">{data}</script>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _data_url(data: bytes) -> str:
    mime = next(kind for start, kind in _MIME.items() if data.startswith(start))
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
