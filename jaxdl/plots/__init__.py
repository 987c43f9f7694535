"""Figures of runs and of what models see.

Each function returns a matplotlib `Figure` of its own, which no window or global state
knows of: save it with `figure.savefig(path)`, or show it in a notebook by naming it.
"""

from jaxdl.plots.charts import (
    COLOURS as COLOURS,
    curves as curves,
    draw_lines as draw_lines,
    line_chart as line_chart,
)
from jaxdl.plots.images import (
    RIGHT as RIGHT,
    WRONG as WRONG,
    show_arrays as show_arrays,
    show_confusion as show_confusion,
    show_images as show_images,
)
from jaxdl.plots.sweeps import sweep_figure as sweep_figure
