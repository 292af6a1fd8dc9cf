"""What the start-up file runs: let mergekit and lm-eval find this package by themselves.

mergekit 0.1.5 and lm-eval 0.4.13 have no plugin discovery. Python runs
`install` when it starts; it puts one finder on `sys.meta_path` that waits for
two modules of theirs and adds our merge methods or our task directory once the
host itself imports them. A process that never imports a host is left as it was.

This runs in every interpreter of the environment, so: no import beyond `sys`
and `os` (which Python has loaded already), and nothing here may raise.
"""

import os
import sys

MERGEKIT_REGISTRY = "mergekit.merge_methods.registry"
LM_EVAL_TASKS = "lm_eval.tasks.manager"


def install() -> None:
    """Put the finder in place, unless WISE_MERGE_AUTOLOAD=0 or it is there already."""
    if os.environ.get("WISE_MERGE_AUTOLOAD") == "0":
        return
    if not any(type(finder) is _HostFinder for finder in sys.meta_path):
        sys.meta_path.insert(0, _HostFinder())


def uninstall() -> None:
    """Take the finder away again; what a host has loaded already stays."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not _HostFinder]


class _HostFinder:
    """Hands the two modules on to the finders behind it and acts after their code has run."""

    def find_spec(self, name, path=None, target=None):
        if name != MERGEKIT_REGISTRY and name != LM_EVAL_TASKS:
            return None
        for finder in sys.meta_path:
            # Others may stand before us, and an editable host brings a finder of its own.
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            spec = find_spec and find_spec(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _ThenRegister(spec.loader)
                return spec
        return None


class _ThenRegister:
    """The host's own loader, followed by our registration."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        # The module carries its real loader from here on: nobody who inspects it meets us.
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        try:
            _register(module)
        except Exception as cause:
            host = module.__name__.partition(".")[0]
            reason = " ".join(str(cause).split())  # some explain a failed import in paragraphs
            print(
                f"wise-merge: could not register with {host} ({type(cause).__name__}: {reason}). "
                f"{host} goes on without it; `wise-merge doctor` tells more.",
                file=sys.stderr,
            )


def _register(module) -> None:
    if module.__name__ == MERGEKIT_REGISTRY:
        from wise_merge.hosts.mergekit import methods

        # Whoever imports our module first has it import mergekit half way down: it registers at its end then.
        if hasattr(methods, "register"):
            methods.register()
    else:
        from wise_merge.hosts.lm_eval import registration

        registration.register(module)
