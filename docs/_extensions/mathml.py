"""Formulas as MathML, which browsers draw themselves: no script, no fonts to load, no network."""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _mathml(node, as_block):
    formula = " ".join(node.astext().split()).replace(r"\dots", r"\ldots")
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
