"""What to cite."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Something to cite.

    Attributes:
        who: authors and year.
        where: a DOI, ``arXiv:number``, or a journal with volume and page.
        why: what of the run it is the source of.
    """

    who: str
    where: str
    why: str

    @property
    def url(self) -> str:
        """Where it can be read, or "" if it has no such address."""
        if self.where.startswith("arXiv:"):
            return f"https://arxiv.org/abs/{self.where.removeprefix('arXiv:')}"
        return f"https://doi.org/{self.where}" if self.where.startswith("10.") else ""
