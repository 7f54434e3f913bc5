"""Speed and memory as ratios: against the vendor's injector and against the limit, in one run."""
