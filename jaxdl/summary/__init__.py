"""A table of a model's layers: output shapes, parameters, floating-point operations."""

from jaxdl.summary.table import Row as Row
from jaxdl.summary.table import Summary as Summary
from jaxdl.summary.table import summarize as summarize
