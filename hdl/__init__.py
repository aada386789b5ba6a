"""The synthesisable core in Amaranth: integers and streams, no torch, no files, no argparse."""
