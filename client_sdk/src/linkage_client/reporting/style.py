"""How a page looks: colours for light and dark with enough contrast (WCAG 2.2 AA), type, and what paper needs.

Colours are data, so that a test can compute their contrasts. Fonts are those of the reader's system: nothing is loaded.
"""

from collections.abc import Mapping
from typing import Final

LIGHT: Final[Mapping[str, str]] = {
    "page": "#ffffff",
    "card": "#f4f6f9",
    "line": "#d5dbe3",
    "grid": "#e3e7ed",
    "ink": "#17202b",
    "quiet": "#4b5868",
    "accent": "#0f4c81",
    "match": "#2f74b5",
    "null": "#b4541a",
    "null-ground": "#f6dfcd",
    "precision": "#0f5fa6",
    "recall": "#0b7048",
    "cut": "#17202b",
    "warn-ground": "#fdf3df",
    "warn-line": "#a66a00",
    "hidden": "#7a8694",
    "kept": "#0f4c81",
    "changed": "#5c8fc4",
    "missing": "#c9d1db",
    "placeholder": "#8f6bb3",
    "invalid": "#b4541a",
    "ambiguous": "#8a7000",
}
DARK: Final[Mapping[str, str]] = {
    "page": "#11161d",
    "card": "#1a212b",
    "line": "#37424f",
    "grid": "#27303b",
    "ink": "#e9eef4",
    "quiet": "#aab6c4",
    "accent": "#9cc8f2",
    "match": "#5b9edd",
    "null": "#ee9f66",
    "null-ground": "#4a2d1a",
    "precision": "#86bdf1",
    "recall": "#66cfa2",
    "cut": "#e9eef4",
    "warn-ground": "#33270f",
    "warn-line": "#e0a83a",
    "hidden": "#8a97a6",
    "kept": "#9cc8f2",
    "changed": "#4f8cc9",
    "missing": "#4a5665",
    "placeholder": "#b08fd4",
    "invalid": "#ee9f66",
    "ambiguous": "#d9b93b",
}
_RULES: Final = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);line-height:1.55;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-size:1rem}
main,footer,header{max-width:66rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:2.75rem}
.eyebrow{margin:0 0 .6rem;color:var(--accent);font-weight:600;font-size:.95rem}
h1{font-size:2rem;line-height:1.22;margin:0 0 .9rem;max-width:46rem;font-weight:650;letter-spacing:-.012em;
text-wrap:balance}
h2{font-size:1.35rem;line-height:1.3;margin:0 0 .75rem;font-weight:650}
h3{font-size:1.02rem;margin:0 0 .35rem;font-weight:650}
p{margin:0 0 .8rem;max-width:46rem}
.lead{font-size:1.12rem;color:var(--ink)}
.quiet{color:var(--quiet)}
section{margin:2.75rem 0 0}
.block{margin-top:1.5rem}
.said p{margin-bottom:.3rem}
.said ul{margin:.2rem 0 0;padding-left:1.3rem}
.scroll+p{margin-top:.7rem}
.figures{display:flex;flex-wrap:wrap;gap:.9rem;margin:1.6rem 0 0;padding:0}
.figures div{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.9rem 1.1rem;
flex:1 1 11rem;max-width:20rem}
.figures dt{color:var(--quiet);font-size:.92rem}
.figures dd{margin:.1rem 0 0}
.figures .number{font-size:1.6rem;font-weight:650;line-height:1.25;font-variant-numeric:tabular-nums}
.figures .number.words{font-size:1.15rem;line-height:1.85}
.figures .note{font-size:.9rem;color:var(--quiet)}
.finding{background:var(--warn-ground);border:1px solid var(--warn-line);border-left-width:.4rem;border-radius:.5rem;
padding:.85rem 1.1rem;margin:0 0 .8rem;max-width:46rem}
.finding p{margin:0}
.finding .about{color:var(--quiet);font-size:.92rem;margin-bottom:.25rem}
.facts{display:grid;grid-template-columns:minmax(9rem,14rem) 1fr;gap:.35rem 1.4rem;margin:0;max-width:52rem}
.facts dt{color:var(--quiet);overflow-wrap:anywhere}
.facts dd{margin:0;overflow-wrap:anywhere}
.facts ul{margin:0;padding:0;list-style:none}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(26rem,100%),1fr));gap:1.6rem;margin:1.1rem 0 0}
figure{margin:0;min-width:0}
figcaption{font-size:.92rem;color:var(--quiet);margin:.25rem 0 .4rem}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;list-style:none;margin:.2rem 0 .35rem;padding:0;font-size:.9rem}
.legend svg{width:1.6rem;height:.8rem;margin-right:.4rem;vertical-align:-.05rem}
svg.plot{display:block;width:100%;height:auto}
svg.spark{display:block;width:9.5rem;height:1.9rem}
svg.bar{display:inline-block;width:7.5rem;height:.65rem;vertical-align:0}
svg.bar.wide{width:100%;min-width:9rem;height:.8rem}
svg.patterns{position:absolute}
svg text{fill:var(--quiet);font-size:12.5px;font-family:inherit;font-variant-numeric:tabular-nums}
svg .cut-label{fill:var(--cut);font-weight:600}
svg .label{fill:var(--quiet)}
.axis{stroke:var(--quiet);stroke-width:1}
.grid{stroke:var(--grid);stroke-width:1}
.match{fill:var(--match)}
.null{fill:url(#hatch)}
.null-outline{fill:none;stroke:var(--null);stroke-width:1.6}
.hatch-ground{fill:var(--null-ground)}
.hatch-line{stroke:var(--null);stroke-width:1.7}
.hidden{fill:none;stroke:var(--hidden);stroke-width:1;stroke-dasharray:2 2}
.cut{stroke:var(--cut);stroke-width:1.8;stroke-dasharray:5 4}
.line{fill:none;stroke-width:2.4;stroke-linejoin:round}
.precision{stroke:var(--precision)}
.recall{stroke:var(--recall)}
.line.recall{stroke-dasharray:8 4}
.mark{fill:var(--page);stroke-width:1.4}
.kept{fill:var(--kept)}
.changed{fill:var(--changed)}
.missing{fill:var(--missing)}
.placeholder{fill:var(--placeholder)}
.invalid{fill:var(--invalid)}
.ambiguous{fill:var(--ambiguous)}
.track{fill:var(--grid)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.95rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--quiet);font-size:.92rem;padding:0 0 .4rem}
th,td{padding:.38rem .9rem .38rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
thead th{color:var(--quiet);font-weight:600;vertical-align:bottom;border-bottom-color:var(--quiet)}
tbody th{font-weight:500;min-width:7rem}
.number{text-align:right;white-space:nowrap}
.verdict{min-width:10rem}
.described{min-width:12rem}
.figures .number{text-align:left;white-space:normal}
.whole{white-space:nowrap}
.held{text-align:center}
.chosen{background:var(--card)}
.chosen th{font-weight:650}
details{margin:.35rem 0 0;font-size:.92rem}
summary{cursor:pointer;color:var(--accent);padding:.2rem 0}
summary:focus-visible,a:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:.2rem}
details .scroll{max-height:22rem;overflow:auto;
border:1px solid var(--line);border-radius:.5rem;padding:.4rem .9rem;margin:.3rem 0 0}
a{color:var(--accent)}
.meaning{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(24rem,100%),1fr));gap:1rem 2.2rem}
.meaning dt{font-weight:650;margin-top:.55rem}
.meaning dd{margin:.05rem 0 .35rem}
footer{margin-top:3rem;margin-bottom:3rem;color:var(--quiet);font-size:.92rem}
footer p{max-width:52rem;border-top:1px solid var(--line);padding-top:.9rem}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media (max-width:34rem){h1{font-size:1.55rem}.facts{grid-template-columns:1fr;gap:.05rem}.facts dd{margin-bottom:.5rem}
main,footer,header{padding-left:1rem;padding-right:1rem}}
@media print{
@page{margin:16mm 15mm}
html{font-size:9.5pt}body{line-height:1.42}
main,footer,header{max-width:none;padding:0}
section{margin-top:7mm}
h2,h3{break-after:avoid}
figure,.finding,.figures div,tr,.block,.together,.meaning dd{break-inside:avoid}
section>p{break-after:avoid}
.figures div{flex-basis:8rem}
.meaning{grid-template-columns:1fr 1fr}
.plots{grid-template-columns:1fr 1fr;gap:6mm}
svg text{font-size:15px}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
details:not([open]){display:none}
details .scroll{max-height:none;border:0;padding:0}
footer{margin-bottom:0}
}
"""


def stylesheet() -> str:
    """The whole style sheet, in one line a rule."""
    light, dark = _variables(LIGHT), _variables(DARK)
    themes = f":root{{{light}}}@media (prefers-color-scheme:dark){{@media screen{{:root{{{dark}}}}}}}"
    return themes + _RULES


def _variables(colours: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())
