"""Check built pages: links within the site lead somewhere, pictures exist, no page is too wide.

The last needs playwright and a Chromium: ``python docs/check_html.py docs/_build --browser``.
"""

import argparse
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Wide screens, and telephones.
WIDTHS = (1400, 400)
# Pages that Sphinx makes of code and search words.
GENERATED = ("genindex", "py-modindex", "search")


class _Page(HTMLParser):
    """The anchors, links and pictures of a page."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.pictures = {"", "top"}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in {"img", "script", "source"} and given.get("src"):
            self.pictures.append(given["src"])
        if tag == "link" and given.get("rel") in {"stylesheet", "icon"}:
            self.pictures.append(given["href"])


def _pages(folder):
    return [p for p in sorted(folder.rglob("*.html")) if folder / "_static" not in p.parents]


def problems_of_links(folder):
    """Return a sentence for each link or picture of the pages in a folder that leads nowhere."""
    folder = Path(folder).resolve()
    pages = {path: _Page(path.read_text("utf-8")) for path in _pages(folder)}
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        for link in page.links + page.pictures:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                found.append(f"{name}: {link} does not exist")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: {link} has no such anchor")
    return found


def problems_of_widths(folder, executable=None):
    """Return a sentence for each page of a folder that is wider than the window."""
    from playwright.sync_api import sync_playwright

    folder = Path(folder).resolve()
    pages = [page for page in _pages(folder) if not page.name.startswith(GENERATED)]
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for width in WIDTHS:
            tab = browser.new_page(viewport={"width": width, "height": 900})
            for path in pages:
                tab.goto(path.as_uri(), wait_until="load")
                wide = tab.evaluate("document.documentElement.scrollWidth")
                if wide > width:
                    found.append(f"{path.relative_to(folder)}: {wide} wide in a window of {width}")
        browser.close()
    return found


def main(arguments=None):
    """Print the problems of built pages, and return 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--browser", nargs="?", const="", help="with a path: this Chromium")
    options = parser.parse_args(arguments)
    found = problems_of_links(options.folder)
    if options.browser is not None:
        found += problems_of_widths(options.folder, options.browser or None)
    print("\n".join(found) or f"Pages in {options.folder} are sound")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
