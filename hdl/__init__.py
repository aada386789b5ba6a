"""The synthesisable core in Amaranth. Knows integers and streams: no torch, no files, no argparse."""
