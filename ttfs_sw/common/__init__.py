"""What every room may use: errors, whole files, progress, pictures. Imports none of the others."""
