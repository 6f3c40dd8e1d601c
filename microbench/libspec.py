# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Where the nodes are: local:N, qemu:N[:arch], icount:N, hosts:FILE."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ARCHES = ("amd64", "arm64", "mixed")
HELP = "local:N, qemu:N[:amd64|arm64|mixed], icount:N or hosts:FILE"


class SpecError(Exception):
    """A SPEC or host file that can't be used; one line for the user."""


@dataclass
class Host:
    name: str
    address: str
    ssh: list = field(default_factory=list)


@dataclass
class Spec:
    text: str
    kind: str
    nodes: int
    arch: str = "amd64"
    hosts: list = field(default_factory=list)


def read_hosts(path):
    """Lines "name address [ssh options]": ssh goes to name, address is the node's in ip=.

    # starts a comment; the first host is node 0.
    """
    hosts = []
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise SpecError(f"{path}: {getattr(e, 'strerror', None) or 'not text'}") from e
    for n, line in enumerate(lines, 1):
        line = line.split("#", 1)[0]
        try:
            words = shlex.split(line)
        except ValueError as e:
            raise SpecError(f"{path}:{n}: {e}") from e
        if not words:
            continue
        if len(words) < 2 or not re.fullmatch(r"[\w.:%-]+", words[1]):
            raise SpecError(f"{path}:{n}: a line is 'name address [ssh options]'")
        hosts.append(Host(words[0], words[1], words[2:]))
    if len(hosts) < 2:
        raise SpecError(f"{path}: at least two hosts are needed, it has {len(hosts)}")
    if len({h.address for h in hosts}) < len(hosts):
        raise SpecError(f"{path}: an address is there twice")
    return hosts


def parse(text):
    kind, _, rest = text.partition(":")
    if kind == "hosts":
        if not rest:
            raise SpecError("hosts: needs a file: hosts:FILE")
        hosts = read_hosts(rest)
        return Spec(text, kind, len(hosts), hosts=hosts)
    number, _, arch = rest.partition(":")
    if kind not in ("local", "qemu", "icount") or not number.isdecimal() or (
            arch and kind != "qemu"):
        raise SpecError(f"bad SPEC '{text}': {HELP}")
    if arch and arch not in ARCHES:
        raise SpecError(f"bad SPEC '{text}': architecture is {', '.join(ARCHES)}")
    nodes = int(number)
    if not 2 <= nodes <= 64:
        raise SpecError(f"bad SPEC '{text}': 2 to 64 nodes")
    return Spec(text, kind, nodes, arch or "amd64")


def transports(spec, wanted, link):
    """Those to measure: what is wanted, or all that the nodes have and, with a link, has a wire."""
    local = spec.kind == "local"
    has = ["tcp", "shm"] if local else ["rdma", "tcp"]
    if wanted and wanted not in has:
        raise SpecError(f"{spec.kind}: has no {wanted}, which is for "
                        f"{'kernel' if local else 'user'} mode: use {'icount:2 or qemu:2' if local else 'local:2'}")
    if link and spec.kind == "hosts":
        raise SpecError("--link is for qemu:N, icount:N and local:N")
    if link and spec.kind != "qemu":    # shm has no wire, and rxe hands its own device what it sends
        has = ["tcp"]
        if wanted and wanted not in has:
            raise SpecError(f"{spec.kind}: has no wire under {wanted} for --link: "
                            "use --transport tcp, or qemu:2")
    return [wanted] if wanted else has
