"""One file a process: data, training, evaluation, export, serving, and the `value-model` command."""
