"""What is started for a `with` block and leaves nothing behind, also where its start fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Owned(ABC):
    """Started on entering, closed on leaving."""

    @abstractmethod
    def start(self) -> None:
        """Return when it is ready."""

    @abstractmethod
    def close(self) -> None:
        """End it and remove what it made; may be called twice, and after a failed `start`."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
