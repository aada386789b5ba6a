"""Published methods beside ours: theory, neighbours, experiments. Nothing else imports it."""
