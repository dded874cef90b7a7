"""Pieces of an SVG drawing that follows the reader's light or dark colour scheme."""

from html import escape

WIDTH = 800

# Each contender's colour on light and on dark; PyTorch's two are shades of one colour.
COLOURS = {
    "ours": ("#0969da", "#4493f8"),
    "eager": ("#bc4c00", "#f0883e"),
    "compile": ("#f2a365", "#9a4a10"),
    "burn": ("#8c959f", "#7d8590"),
}


def style() -> str:
    def rules(scheme: int) -> str:
        return " ".join(
            f".{name} {{ fill: {colours[scheme]} }} .{name}-line {{ stroke: {colours[scheme]}; fill: none }}"
            for name, colours in COLOURS.items()
        )

    return f"""<style>
  .page {{ fill: #ffffff; stroke: #d0d7de }} .text {{ fill: #1f2328 }} .faint {{ fill: #59636e }}
  .grid {{ stroke: #d8dee4 }} .strong {{ stroke: #59636e }} .mark {{ stroke: #1f2328 }} .halo {{ stroke: #ffffff }}
  {rules(0)}
  @media (prefers-color-scheme: dark) {{
    .page {{ fill: #0d1117; stroke: #30363d }} .text {{ fill: #e6edf3 }} .faint {{ fill: #9198a1 }}
    .grid {{ stroke: #2a3038 }} .strong {{ stroke: #9198a1 }} .mark {{ stroke: #e6edf3 }} .halo {{ stroke: #0d1117 }}
    {rules(1)}
  }}
  .halo {{ paint-order: stroke; stroke-width: 4px; stroke-linejoin: round }}
  text {{ font: 13px system-ui, -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif }}
  .title {{ font-size: 16px; font-weight: 600 }} .small {{ font-size: 12px }} .name {{ font-weight: 600 }}
</style>"""


def document(height: float, title: str, parts: list[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" role="img" '
        f'aria-label="{escape(title)}">\n<title>{escape(title)}</title>\n{style()}\n'
        f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:g}" rx="8"/>\n{body}\n</svg>\n'
    )


def text(x: float, y: float, content: str, classes: str = "text", anchor: str = "start", turn: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, classes: str, width: float = 1, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line class="{classes}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke-width="{width:g}"{dashed}/>'
    )


def rectangle(x: float, y: float, width: float, height: float, classes: str, tip: str = "") -> str:
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<rect class="{classes}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">{title}</rect>'
