"""Configuration of Sphinx."""

import warnings

import skrelu

project = "skrelu"
author = "The skrelu developers"
copyright = author
version = release = skrelu.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "py:obj"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"quickstart\.py",  # has a page of its own
    "doc_module": "skrelu",
    "reference_url": {"skrelu": None},
    "show_memory": False,
    "abort_on_example_error": True,
}
# plt.show() has nothing to show on a screen while the documentation is built.
warnings.filterwarnings("ignore", message=".*non-interactive.*")

html_theme = "alabaster"
html_theme_options = {
    "description": skrelu.__doc__,
    "fixed_sidebar": True,
    "page_width": "1060px",
    "sidebar_width": "230px",
    "font_family": "system-ui, sans-serif",
    "head_font_family": "system-ui, sans-serif",
    "font_size": "16px",
}
html_sidebars = {"**": ["about.html", "navigation.html", "searchfield.html"]}
html_show_sourcelink = False
