"""Our stores behind Feast's interfaces. What is here imports Feast; nothing else imports it unasked."""
