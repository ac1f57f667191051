"""What the panel shows, from a single chart out to the page.

1. ``charts`` are the small diagrams, ``stage`` the large one with the data: each draws into axes.
2. ``layered`` is a figure that holds such axes, and knows what of it stays and what moves.
3. ``picture`` (of the run) and ``microscope`` (of a past batch) are the two figures of that kind.
4. ``recorder`` writes down what matplotlib draws of one.
5. ``colouring`` says what the colours of points mean; where one can point at them are ``Targets`` of a
   figure, which ``pointer.js`` looks for and ``hand.js`` acts on, in the page.
6. ``screen`` is the widget that shows it: on the page's canvas (``canvas.js``), or as a PNG.
"""
