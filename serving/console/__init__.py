"""The console: the service and the desk in a browser, for people who decide and people who look after it."""
