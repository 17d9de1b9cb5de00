"""userlist.txt, made and kept: from PostgreSQL's verifiers or from passwords.

`edit` changes the text and nothing else of it; `roles` reads PostgreSQL's verifiers, `secrets`
makes them of passwords, `sources` says who is to stand in the file, `update` puts them there.
"""
