"""Draws what a program prints as an SVG that follows the reader's light or dark theme.

    cargo run --release --example cnn_digits 2>&1 | python tools/terminal_picture.py TITLE > docs/images/NAME.svg

Reads text without colours from standard input. Each character keeps its cell, so that drawings made of blocks stay whole.
"""

import html
import sys

WIDTH, HEIGHT, MARGIN = 8.4, 18, 16

STYLE = """
  .page { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .head { fill: #59636e }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; stroke: #30363d } .text { fill: #e6edf3 } .head { fill: #9198a1 }
  }
  text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre }
"""


def picture(title, lines):
    columns = max(len(line) for line in [title, *lines])
    width, height = columns * WIDTH + 2 * MARGIN, (len(lines) + 2) * HEIGHT + 2 * MARGIN
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
           f'aria-label="{html.escape(title)}">')
    yield f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
    yield f'<rect class="page" x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="8"/>'
    for row, line in enumerate([f"$ {title}", "", *lines]):
        if line.strip():
            length = len(line) * WIDTH
            y = MARGIN + (row + 0.75) * HEIGHT
            kind = "head" if row == 0 else "text"
            yield (f'<text class="{kind}" x="{MARGIN}" y="{y:.1f}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs" '
                   f'xml:space="preserve">{html.escape(line)}</text>')
    yield "</svg>"


if __name__ == "__main__":
    text = sys.stdin.read().expandtabs().rstrip("\n").split("\n")
    print("\n".join(picture(sys.argv[1], text)))
