"""Cost against size, measured: `./run bench scaling`. See `benchmarks.scaling.curve` for what a curve says."""
