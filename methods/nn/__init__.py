"""Networks and their training, without any knowledge of posteriors."""
