"""List the benchmarks, a line each."""

import ast
from pathlib import Path

HERE = Path(__file__).parent

for path in sorted([*HERE.glob("[a-z]*.py"), *HERE.glob("[a-z]*/__main__.py")]):
    name = path.parent.name if path.name == "__main__.py" else path.stem
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    print(f"python -m benchmarks.{name:<15} {text.splitlines()[0]}")
