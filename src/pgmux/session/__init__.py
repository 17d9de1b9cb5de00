"""Conversations, one client's or one server's, and the pooler that has them all."""
