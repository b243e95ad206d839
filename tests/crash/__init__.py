"""Kill each service at each await on a port, and see that nothing is lost, doubled or left."""
