"""A PyTorch model and its Flax twin side by side: where do they part, and why?

    report = compare(torch_net, flax_net, images, steps=10)
    print(report)

PyTorch is imported where a PyTorch module is given, and not before.
"""

from jaxdl.parity.comparison import assert_parity as assert_parity, compare as compare
from jaxdl.parity.report import Cause as Cause, Report as Report, Row as Row
