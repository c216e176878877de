"""Members of classes: which of them a page shows, and links to them from their bare names."""

import importlib
import inspect

from sphinx.util.nodes import make_refnode

# Where a bare name in prose leads: the first of these that has it.
OWNERS = (
    "skrelu.ExponentialReLURegressor",
    "skrelu.ExponentialReLUClassifier",
    "skrelu",
    "skrelu.nn",
    "skrelu.regions",
    "skrelu.optimize",
)


def _object(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


# What scikit-learn, torch and the package itself call, and users do not.
HIDDEN = {
    "check_peaks",
    "extra_repr",
    "form",
    "forward",
    "on_fit_task_begin",
    "on_fit_task_end",
    "released",
    "setup",
    "teardown",
}


def shown(modules):
    """Return the names of the members that the pages of all public classes show."""
    names = [f"{module}.{key}" for module in modules for key in _public(module)]
    return {name: _own_members(name) for name in names if inspect.isclass(_object(name))}


def _public(module):
    return importlib.import_module(module).__all__


def _own_members(name):
    return [
        key
        for key, member in inspect.getmembers(_object(name))
        if (not key.startswith("_") or (key == "__call__" and inspect.isfunction(member)))
        and key not in HIDDEN
        and _module(member).startswith("skrelu")
    ]


def _module(member):
    function = member.fget if isinstance(member, property) else getattr(member, "func", member)
    return str(getattr(inspect.unwrap(function), "__module__", None))


def _resolve(app, env, node, content):
    """Link the bare name of a member, as `predict`, to the page of the estimators."""
    name = node.get("reftarget", "").removesuffix("()")
    if node.get("reftype") not in {"obj", "meth", "attr"} or not name.isidentifier():
        return None
    domain = env.get_domain("py")
    for owner in OWNERS:
        entry = domain.objects.get(f"{owner}.{name}")
        if entry is not None:
            return make_refnode(
                app.builder, node["refdoc"], entry.docname, entry.node_id, content, entry.objtype
            )
    return _attribute(app, node, content, name, domain)


def _attribute(app, node, content, name, domain):
    """Link a parameter or a fitted attribute to its description on the page of a class."""
    for owner in OWNERS[:2]:
        entry = domain.objects.get(owner)
        described = _object(owner).__doc__ or ""
        if entry is not None and f"\n    {name} : " in described:
            return make_refnode(
                app.builder, node["refdoc"], entry.docname, entry.node_id, content, entry.objtype
            )
    return None


def setup(app):
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
