"""userlist.txt, made and kept: from PostgreSQL's verifiers or from passwords.

`roles` reads what PostgreSQL stores and says who is to stand in the file, `secrets` makes secrets
of passwords, `update` decides what becomes of each user's line, `edit` changes the text and
nothing else of it.
"""
