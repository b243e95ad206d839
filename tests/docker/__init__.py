"""The tests on real containers: an engine of our own, two images made from what is installed, and the run."""
