"""The merge methods, one file each: the formula, the paper, a pure function and its contract.

A method that stands in `METHODS` is known to `mergekit-yaml`, `wise-merge merge` and, if it is elementwise, to
`wise-merge sweep`. Nothing here imports torch before a kernel is called.
"""

from wise_merge.methods import bang, fisher, uniform_soup, weight_signature, widen, wise_ft
from wise_merge.methods.contract import Base, Kernel, Method, Parameter, Scope, Switch, TensorFile

#: By the name that recipes call them.
METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD for module in (wise_ft, bang, uniform_soup, fisher, widen, weight_signature)
}

__all__ = ["METHODS", "Base", "Kernel", "Method", "Parameter", "Scope", "Switch", "TensorFile"]
