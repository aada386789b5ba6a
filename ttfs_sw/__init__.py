"""Training, quantisation, the golden model, the artifact, the host client and the CLI."""
