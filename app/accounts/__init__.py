"""Sign-in, sessions, tokens, roles and the audit log."""
