#!/usr/bin/python3
"""Run in the guest as root: asks a slot's writer for a job, as the station would, and prints each of its words.

    ask_writer.py SLOT DISK IMAGE [--dry-run]
"""
import hashlib
import json
import os
import secrets
import socket
import sys

slot, disk, image = sys.argv[1:4]
content = open(image, "rb").read()
whole = disk if os.path.exists(f"/sys/block/{disk}") else os.path.basename(os.path.dirname(
    os.path.realpath(f"/sys/class/block/{disk}")))
request = {
    "version": 1,
    "jobID": secrets.token_hex(16),
    "disk": disk,
    "deviceSequence": int(open(f"/sys/block/{whole}/diskseq").read()),
    "content": {"byteCount": len(content), "sha256": hashlib.sha256(content).hexdigest(), "patches": []},
    "condition": {"none": {}},
    "isDryRun": "--dry-run" in sys.argv,
    "mayUpdate": False,
}
writer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
writer.connect(f"/run/flashing-station/writer/{slot}")
socket.send_fds(writer, [json.dumps(request).encode()], [os.open(image, os.O_RDONLY)])
while words := writer.recv(1 << 20):
    print(words.decode(), flush=True)
