import re
from importlib.resources import files
from pathlib import Path

STATIC = files("linkage_console").joinpath("static")
TEMPLATES = Path(str(files("linkage_console").joinpath("templates")))


def test_style_sheet_has_neither_the_font_nor_the_crest_nor_anything_to_fetch() -> None:
    for name in ("govuk-frontend.min.css", "console.css"):
        sheet = STATIC.joinpath(name).read_text("utf-8")
        assert re.search(r"GDS Transport|@font-face|url\(|@import|sourceMappingURL", sheet) is None
    assert "system-ui" in STATIC.joinpath("govuk-frontend.min.css").read_text("utf-8")


def test_style_sheet_is_of_the_release_that_its_notice_names() -> None:
    sheet = STATIC.joinpath("govuk-frontend.min.css").read_text("utf-8")
    release = re.search(r'--govuk-frontend-version:"([0-9.]+)"', sheet)
    assert release is not None
    notice = STATIC.joinpath("govuk-frontend-LICENSE.txt").read_text("utf-8")
    assert f"GOV.UK Frontend {release[1]}" in notice
    assert "The MIT License" in notice


def test_templates_have_no_script_style_or_address_of_elsewhere_and_escape_everything() -> None:
    for template in TEMPLATES.glob("*.html"):
        text = template.read_text("utf-8")
        assert re.search(r"<style|\bstyle=|\bon[a-z]+=\"|javascript:|https?://|\|\s*safe|autoescape", text) is None, (
            template
        )
        scripts = re.findall(r"<script[^>]*>", text)
        assert scripts in ([], ['<script type="module" src="{{ at }}/static/console.js">']), template
