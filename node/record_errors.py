"""What can go wrong with a store of records, by whose fault it is. A damaged file is `ledger.errors.CorruptStore`."""


class RecordStoreError(Exception):
    """The caller asked for what the store cannot do: other records than declared, a period out of order, too many."""


class RecordStoreFull(RecordStoreError):
    """The disk, or a limit on file sizes, took no more. Nothing that was in the store is lost; make room and retry."""


class RecordStoreLocked(RecordStoreError):
    """Another process holds the file's write lock for longer than `LOCK_WAIT_S`."""
