"""How many API pods there should be, by the sockets that they hold."""
