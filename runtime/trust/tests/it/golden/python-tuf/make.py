"""Makes the files in this folder with python-tuf: metadata that no line of Cask has written.

    pip install tuf==7.0.0 cryptography && python make.py

The keys are made anew and thrown away, so every run gives other bytes; the test reads whatever is here.
Root version 2 replaces the root key, wants two of two, and writes a field that Cask does not know.
"""

import hashlib
import pathlib
from datetime import datetime, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

HERE = pathlib.Path(__file__).parent
EXPIRES = datetime(2100, 1, 1, tzinfo=timezone.utc)
MANIFEST = b'{"name":"digits","number":7}'


def write(name, metadata, *signers):
    for signer in signers:
        metadata.sign(signer, append=True)
    data = metadata.to_bytes()
    (HERE / name).write_bytes(data)
    return data


def described(metadata, data):
    return MetaFile(metadata.signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def main():
    old, new, second, release, deploy, limited = (CryptoSigner.generate_ed25519() for _ in range(6))

    root = Root(version=1, expires=EXPIRES, consistent_snapshot=False)
    root.add_key(old.public_key, "root")
    for role, signer in [("targets", release), ("snapshot", deploy), ("timestamp", deploy)]:
        root.add_key(signer.public_key, role)
    write("1.root.json", Metadata(root), old)
    root.version = 2
    root.revoke_key(old.public_key.keyid, "root")
    root.add_key(new.public_key, "root")
    root.add_key(second.public_key, "root")
    root.roles["root"].threshold = 2
    root.unrecognized_fields["note"] = {"text": "Grüße, \"quoted\" \\ and\ttabbed", "list": [1, -2, None, True]}
    write("2.root.json", Metadata(root), old, new, second)

    digest = hashlib.sha256(MANIFEST).hexdigest()
    path = f"digits/{digest}"
    entry = TargetFile(len(MANIFEST), {"sha256": digest, "sha512": hashlib.sha512(MANIFEST).hexdigest()}, path)
    entry.unrecognized_fields["custom"] = {"number": 7, "version": "1.2.3"}
    digits = Metadata(Targets(version=4, expires=EXPIRES, targets={path: entry}))
    digits.signed.unrecognized_fields["cask"] = {"floor": 5, "denied": [hashlib.sha256(b"denied").hexdigest()]}
    digits_data = write("digits.json", digits, limited)

    role = DelegatedRole("digits", [limited.public_key.keyid], 1, True, paths=["digits/*"])
    delegations = Delegations({limited.public_key.keyid: limited.public_key}, {"digits": role})
    targets = Metadata(Targets(version=3, expires=EXPIRES, delegations=delegations))
    targets_data = write("targets.json", targets, release)

    meta = {"targets.json": described(targets, targets_data), "digits.json": described(digits, digits_data)}
    snapshot = Metadata(Snapshot(version=8, expires=EXPIRES, meta=meta))
    snapshot_data = write("snapshot.json", snapshot, deploy)
    timestamp = Metadata(Timestamp(version=9, expires=EXPIRES, snapshot_meta=described(snapshot, snapshot_data)))
    write("timestamp.json", timestamp, deploy)


if __name__ == "__main__":
    main()
