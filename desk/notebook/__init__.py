"""The desk as ipywidgets, for JupyterLab and Voila."""
