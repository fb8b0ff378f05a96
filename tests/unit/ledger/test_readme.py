import re
from pathlib import Path

README = Path(__file__).parents[3] / "services" / "ledger" / "README.md"


def test_readme_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, str(README), "exec"), {})  # noqa: S102  # our own text, to show that it is true


def test_readme_names_every_module() -> None:
    source = README.parent / "src" / "linkage_ledger"
    modules = {path.stem for path in source.glob("*.py")} - {"__init__"}
    assert modules <= set(re.findall(r"^\| `(\w+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE))
