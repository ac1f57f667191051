"""How samples are drawn, whatever the strategy.

``epochs`` makes batches of single draws, ``stream`` has the random numbers and orders of an epoch,
``words`` those of many generators at once, ``permutation`` is a random order, stored or computed;
``inversion`` draws by fixed weights, ``sumtree`` by weights that change all the time, ``decks`` group
by group without repeats; ``state`` is where a sampler stands, as JSON, and ``built`` what it was
built with.
"""
