"""A table of a model's layers: output shapes, parameters, floating-point operations."""

from jaxdl.summary.table import Row as Row, Summary as Summary, summarize as summarize
