"""Networks and their training; nothing here knows a posterior."""
