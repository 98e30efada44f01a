"""The log in ClickHouse: embedded (chDB, one process a folder) or a server, by the same client and the same tables."""
