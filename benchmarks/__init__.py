"""Speed and memory as ratios, in one run: against the vendor, bare libraries, and limits."""
