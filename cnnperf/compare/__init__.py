"""Judge two records: is the new one slower or less accurate?

The package can be called, because `from cnnperf import compare` is the function of that name.
"""

import sys

from cnnperf import CallableRoom

sys.modules[__name__].__class__ = CallableRoom
