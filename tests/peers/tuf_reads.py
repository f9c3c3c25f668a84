#!/usr/bin/env python3
"""Reads a fleet's metadata with python-tuf, as an independent TUF 1.0 client.

    tuf_reads.py FOLDER

FOLDER holds root.json, timestamp.json, snapshot.json, targets.json and one <name>.json for each artifact
that the snapshot lists. Every signature, threshold, version, length, hash and expiry is checked by
python-tuf's own client workflow. Exit code 0: all of it is trusted; 1: the reason is on stderr; 2: usage.

Needs `pip install tuf`.
"""

import json
import pathlib
import sys

from tuf.api.metadata import Metadata, Root, Targets
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType


def read(folder: pathlib.Path) -> list[str]:
    """Returns one line for each artifact; raises what python-tuf raises."""
    data = {path.name: path.read_bytes() for path in folder.glob("*.json")}

    # The public API alone first: it parses, and root signs itself.
    root = Metadata[Root].from_bytes(data["root.json"])
    root.verify_delegate("root", root)
    for role in ("timestamp", "snapshot", "targets"):
        root.verify_delegate(role, Metadata.from_bytes(data[f"{role}.json"]))

    # Then the client's workflow, which also checks versions, lengths, hashes and expiry.
    trusted = TrustedMetadataSet(data["root.json"], EnvelopeType.METADATA)
    trusted.update_timestamp(data["timestamp.json"])
    trusted.update_snapshot(data["snapshot.json"])
    trusted.update_targets(data["targets.json"])
    timestamp = trusted.timestamp.unrecognized_fields["cask"]
    if not isinstance(timestamp["issued"], int):
        raise ValueError(f"timestamp.json: cask.issued is {timestamp['issued']!r}, expected an integer")

    lines = []
    for file in sorted(trusted.snapshot.meta):
        if file == "targets.json":
            continue
        name = file.removesuffix(".json")
        targets: Targets = trusted.update_delegated_targets(data[file], name, "targets")
        delegated = trusted.targets.delegations.roles[name]
        for path, target in targets.targets.items():
            if not delegated.is_delegated_path(path):
                raise ValueError(f"{file}: {path} is not delegated to {name}")
            custom = target.custom
            if path != f"{name}/{target.hashes['sha256']}" or not isinstance(custom["number"], int):
                raise ValueError(f"{file}: {path} does not have its form")
        extra = targets.unrecognized_fields["cask"]
        lines.append(f"{name}: {len(targets.targets)} allowed, floor {extra['floor']}, {len(extra['denied'])} denied")
        # What is written back is what was signed: no field was lost.
        again = Metadata.from_bytes(data[file])
        trusted.targets.verify_delegate(name, again.signed_bytes, again.signatures)
        if json.loads(again.to_bytes()) != json.loads(data[file]):
            raise ValueError(f"{file}: python-tuf writes it back differently")
    if not lines:
        raise ValueError("snapshot.json lists no artifact")
    return lines


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = pathlib.Path(sys.argv[1])
    try:
        lines = read(folder)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        print(f"python-tuf does not trust {folder}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
