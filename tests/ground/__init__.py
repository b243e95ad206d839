"""Commands that show the ground: `make fresh`, `make leaks`, `make readme`; none is part of `make test`."""
