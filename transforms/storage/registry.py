"""The stores by the scheme of their URIs: a new one is one file beside this and one line here.

One that media can only be read from is a `Source`; what outputs are written to is a `Store`.
"""

from __future__ import annotations

from transforms.registry import Entry, Registry

STORES = Registry(
    "store",
    {
        "file": Entry("transforms.storage.local:LocalStore", "files on this machine, or on a mount"),
        "s3": Entry("transforms.storage.s3:S3Store", "S3, and stores that speak its protocol: R2, MinIO, Ceph"),
        "gs": Entry("transforms.storage.gcs:GcsStore", "Google Cloud Storage"),
    },
)
