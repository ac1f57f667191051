"""What the panel shows, from the figure down to the page.

``picture`` and ``microscope`` arrange ``stage`` and ``charts`` on a figure, in ``layers`` (what
stays, what moves); ``recorder`` writes down what matplotlib draws, and ``screen`` shows that on the
page's canvas (``canvas.js``), or as a PNG where there is none.
"""
