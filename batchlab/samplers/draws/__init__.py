"""How samples are drawn, whatever the strategy: orders, inversion, trees, decks, and their state.

``permutation`` is a random order, stored or computed; ``inversion`` draws by fixed weights,
``sumtree`` by weights that change all the time, ``decks`` group by group without repeats; ``state``
writes their arrays as JSON.
"""
