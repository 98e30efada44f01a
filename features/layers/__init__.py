"""Keras layers that turn packed model inputs into dense vectors, shared by the towers and the rankers.

Conventions: B rows; codes int32 [B, categories] and lists int32 [B, sum of lengths] as in `ModelInputs` (0 = padding
or missing, its vector is zero; 1 = not in the vocabulary); numbers float32 [B, F] with NaN = missing. Every layer
uses operations that convert to ONNX only. A layer is a file of its own.
"""
