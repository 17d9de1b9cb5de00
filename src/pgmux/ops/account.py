"""Who runs what must not run as root: PostgreSQL and the pooler both refuse to."""

from __future__ import annotations

import os
import pwd
from typing import TypedDict

CANDIDATES = ("postgres", "nobody")


class ProcessAccount(TypedDict, total=False):
    """The arguments of `subprocess.Popen` that make a child run as somebody else."""

    user: int
    group: int
    extra_groups: list[int]


def unprivileged_account() -> pwd.struct_passwd | None:
    """The account to become when this process is root; None when it isn't."""
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError(
        f"running as root, and none of the users {', '.join(CANDIDATES)} exists to run PostgreSQL: "
        "run this as an ordinary user"
    )


def process_account(account: pwd.struct_passwd | None) -> ProcessAccount:
    """What to pass to `subprocess.Popen`, and nothing of root's groups with it."""
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
