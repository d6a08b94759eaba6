"""Every provider of IJobStore keeps its promises."""

from __future__ import annotations

from harpcaller.store.filestore import FileJobStore
from harpcaller.store.sizes import Sizes
from harpcaller.testing.store import MemoryJobStore
from tests.store import contract
from tests.store.fakes import file_store


class MemoryTests(contract.ContractMixin):
    """The store in memory keeps the contract."""

    def make(self) -> MemoryJobStore:
        return MemoryJobStore()


class FileTests(contract.ContractMixin):
    """The store on disk keeps the contract."""

    def make(self) -> FileJobStore:
        return file_store(self.mktemp(), self.clock)


class RestlessFileTests(contract.ContractMixin):
    """It does so when every line is filed at once and checkpoints never end."""

    def make(self) -> FileJobStore:
        return file_store(self.mktemp(), self.clock, sizes=Sizes(job_tail=0, segment=2000))


class EndDurableFileTests(contract.ContractMixin):
    """It does so when records aren't waited for."""

    def make(self) -> FileJobStore:
        return file_store(self.mktemp(), self.clock, durability="end")


class UnsyncedFileTests(contract.ContractMixin):
    """It does so when nothing is synced."""

    def make(self) -> FileJobStore:
        return file_store(self.mktemp(), self.clock, durability="none")
