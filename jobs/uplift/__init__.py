"""The job `value-model uplift`: who gains by a treatment, and who is worth treating."""
