"""Tests in a real browser: a package of its own, so that the browser is closed when they are over."""
