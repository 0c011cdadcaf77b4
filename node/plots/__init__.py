"""Pictures of simulated runs and of experiments: PNG and SVG by matplotlib (the extra `plots`), the same bytes for the
same figures. Nothing here opens a window or keeps a state between pictures."""
