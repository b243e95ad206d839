"""Measurements: `make bench`. Each prints one JSON object a line; none is part of `make test`."""
