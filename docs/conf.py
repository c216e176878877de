"""Configuration of Sphinx."""

import sys
import warnings
from pathlib import Path

import skrelu

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
from members import shown

project = "skrelu"
author = "The skrelu developers"
copyright = author
version = release = skrelu.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_design",
    "sphinx_copybutton",
    "mathml",
    "members",
]
exclude_patterns = ["_build", "_templates", "inventories"]
templates_path = ["_templates"]
default_role = "py:obj"
toc_object_entries_show_parents = "hide"

autodoc_typehints = "none"  # the descriptions of parameters have them
autosummary_generate = True
autosummary_context = {
    "shown": shown(
        f"skrelu{part}" for part in ("", ".dask", ".inspection", ".nn", ".optimize", ".regions")
    )
}
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_aliases = {
    "array-like": "numpy.typing.ArrayLike",
    "array_like": "numpy.typing.ArrayLike",
    "bool": ":class:`python:bool`",
    "boolean": ":class:`python:bool`",
    "iterable": "collections.abc.Iterable",
    "callable": "collections.abc.Callable",
    "sequence": "collections.abc.Sequence",
    "Tensor": "torch.Tensor",
}
numpydoc_xref_ignore = "all"  # links what there is, and says nothing of the other words

# Where the names of other packages lead. The files have only the names used here, so that the
# build needs no network; add a line for a new one. `sphinx-build -b linkcheck` tries all links.
_SITES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "sklearn": "https://scikit-learn.org/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
}
intersphinx_mapping = {name: (site, f"inventories/{name}.inv") for name, site in _SITES.items()}

html_math_renderer = "mathml"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"quickstart\.py",  # has a page of its own
    "subsection_order": [
        "../examples/functions",
        "../examples/tables",
        "../examples/linear_regions",
        "../examples/torch_layers",
        "*",  # folders without a README.txt are no sections
    ],
    "doc_module": "skrelu",
    "backreferences_dir": "generated/backreferences",
    "reference_url": {"skrelu": None},
    "show_memory": False,
    "thumbnail_size": (640, 400),
    "abort_on_example_error": True,
}
# plt.show() has nothing to show on a screen while the documentation is built.
warnings.filterwarnings("ignore", message=".*non-interactive.*")

html_theme = "pydata_sphinx_theme"
html_title = "skrelu"
html_baseurl = "https://skrelu.github.io/skrelu/"
html_static_path = ["_static"]
html_css_files = ["skrelu.css"]
html_show_sourcelink = False
html_context = {
    "github_user": "skrelu",
    "github_repo": "skrelu",
    "github_version": "main",
    "doc_path": "docs",
}
html_theme_options = {
    "github_url": "https://github.com/skrelu/skrelu",
    "logo": {"text": "skrelu"},
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "back_to_top_button": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": []}
