"""Entries of a running pooler's files: users and databases that come and go.

`ini_edit` and `texts` change the texts, `change` writes them, has the pooler RELOAD, looks whether
it did, tries a login, and puts everything back where that fails. `user` and `database` say what is
to change; `server_secret` finds the secret by which the pooler can log in to PostgreSQL.
"""
