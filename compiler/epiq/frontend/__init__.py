"""Between torch's FX graphs and graph-level IR: import, export, capture."""
