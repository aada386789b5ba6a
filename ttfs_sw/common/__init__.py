"""What every room may use: errors, files, reports, progress, plots. Imports none of the others."""
