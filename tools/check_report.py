#!/usr/bin/env python3
"""Opens reports in headless Chromium and fails where one is not as it should be.

    pip install playwright && playwright install chromium-headless-shell
    python tools/check_report.py runs/cnn_digits/report.html [--pictures FOLDER] [--browser PROGRAM]

At 380 and 1,440 pixels wide, light and dark: no message in the console, no request to anywhere, nothing wider than the page,
a contrast of 4.5 to 1 for every text (3 to 1 for large ones, as WCAG 2.1 has it), an accessible name for every figure and
drawing. With --pictures each of the four is saved.
"""

import argparse
import pathlib
import sys

from playwright.sync_api import sync_playwright

# What is wrong with the page, as sentences.
CHECK = r"""
() => {
  const problems = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) {
    const wide = [...document.querySelectorAll("body *")].filter((e) => {
      if (e.closest(".scroll") && !e.matches(".scroll")) return false;
      return e.getBoundingClientRect().right > root.clientWidth + 1;
    });
    problems.push(`the page is ${root.scrollWidth} wide: ${wide.slice(0, 3).map((e) => e.tagName + "." + e.getAttribute("class")).join(", ")}`);
  }
  for (const figure of document.querySelectorAll("figure")) {
    const named = figure.getAttribute("aria-label") || figure.querySelector("figcaption")?.textContent.trim();
    if (!named) problems.push("a figure without a name");
    if (!figure.querySelector("h3")?.textContent.trim()) problems.push("a figure without a heading");
  }
  for (const svg of document.querySelectorAll("svg")) {
    if (svg.getAttribute("role") !== "img" || !svg.getAttribute("aria-label")?.trim()) problems.push("a drawing without a name");
    const box = svg.getBoundingClientRect();
    for (const text of svg.querySelectorAll("text")) {
      const own = text.getBoundingClientRect();
      if (own.width && (own.right > box.right + 2 || own.left < box.left - 2 || own.bottom > box.bottom + 2)) {
        problems.push(`"${text.textContent}" leaves its drawing "${svg.getAttribute("aria-label").slice(0, 40)}"`);
      }
    }
  }
  const channels = (colour) => (colour.match(/[\d.]+/g) || []).map(Number);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = channels(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  // A text in a drawing stands on the last rectangle painted below its middle, if there is one.
  const below = (text) => {
    const box = text.getBoundingClientRect(), x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
    let found = null;
    for (const rect of text.ownerSVGElement.querySelectorAll("rect")) {
      if (rect.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_PRECEDING) break;
      const own = rect.getBoundingClientRect();
      if (own.left <= x && x <= own.right && own.top <= y && y <= own.bottom) found = rect;
    }
    return found && channels(getComputedStyle(found).fill);
  };
  const seen = new Set();
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || ["SCRIPT", "STYLE", "TITLE", "title"].includes(element.tagName)) continue;
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    const style = getComputedStyle(element), drawn = element.tagName === "text";
    const ink = channels(drawn ? style.fill : style.color);
    const paper = (drawn && below(element)) || background(element);
    const [a, b] = [luminance(ink), luminance(paper)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
    const needed = large ? 3 : 4.5;
    const key = `${ink} ${paper}`;
    if (contrast < needed && !seen.has(key)) {
      seen.add(key);
      problems.push(`contrast ${contrast.toFixed(2)} of "${element.textContent.trim().slice(0, 30)}" (${style.color} on ${paper})`);
    }
  }
  return problems;
}
"""


def check(browser, path, pictures):
    problems = []
    for width in (380, 1440):
        for scheme in ("light", "dark"):
            where = f"{path} at {width}, {scheme}"
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            page.on("console", lambda m, where=where: problems.append(f"{where}: console: {m.text}"))
            page.on("pageerror", lambda e, where=where: problems.append(f"{where}: error: {e}"))

            def asked(request, where=where):
                if not request.url.startswith(("file:", "data:")):
                    problems.append(f"{where}: asks for {request.url}")

            page.on("request", asked)
            page.goto(path.resolve().as_uri())
            problems += [f"{where}: {problem}" for problem in page.evaluate(CHECK)]
            if page.query_selector("#theme"):
                page.click("#theme")
                problems += [f"{where}, switched: {problem}" for problem in page.evaluate(CHECK)]
                page.click("#theme")
            if pictures:
                pictures.mkdir(parents=True, exist_ok=True)
                name = f"{path.parent.name}-{path.stem}-{width}-{scheme}.png"
                page.screenshot(path=str(pictures / name), full_page=True)
            context.close()
    size = path.stat().st_size
    if size > 5_000_000:
        problems.append(f"{path}: {size} bytes")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--browser", help="Chromium's program, where playwright has none of its own")
    args = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.browser)
        problems = [problem for path in args.reports for problem in check(browser, path, args.pictures)]
        browser.close()
    for problem in problems:
        print(problem)
    print(f"{len(args.reports)} reports, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
