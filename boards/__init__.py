"""Board tops, host link, boot from flash, toolchain, builds, programming."""
