"""Choose by hand which samples go into each training batch, and see what the choice does.

The small core, in the order in which to read it: ``samplers.base``, ``parameters``,
``samplers.uniform``, ``samplers.balanced``, ``samplers.weighted``, ``loaders``, ``loops.eager``,
``loops.step``, ``loops.runner``, ``history``. What one enters when one needs it: the other
``samplers``, ``audit`` (is this sampler, this loader, this ``fit`` what it says it is?), ``figures``
and ``lab`` (pictures, the live panel), ``comparison`` (strategies against each other, fairly).

All public names can be imported from here; ``__init__.pyi`` lists them. Each is imported when first
used: importing a sampler must not import TensorFlow, which takes seconds.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
