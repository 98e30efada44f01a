"""What is shown: the engine, the model bundle, its exports and the Flask service."""
