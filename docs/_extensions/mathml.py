"""Formulas as MathML, which browsers draw themselves: no script, nothing from other sites."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)
# Commands of LaTeX that docutils knows by another name.
OTHER_NAMES = {
    r"\\dots(?![a-z])": r"\\ldots",
    r"\\([Bb]igg?)(?=[(\[]|\\\{)": r"\\\1l",
    r"\\([Bb]igg?)(?=[)\]]|\\\})": r"\\\1r",
}


def _mathml(node, as_block):
    formula = " ".join(node.astext().split())
    for pattern, name in OTHER_NAMES.items():
        formula = re.sub(pattern, name, formula)
    try:
        return tex2mathml(formula, as_block=as_block)
    except MathError as error:
        logger.warning("MathML has no form of %r: %s", formula, error, location=node)
        return f"<code>{node.astext()}</code>"


def _inline(translator, node):
    translator.body.append(_mathml(node, as_block=False))
    raise nodes.SkipNode


def _block(translator, node):
    translator.body.append(f'<div class="formula">{_mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
