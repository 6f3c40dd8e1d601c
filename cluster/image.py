# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Guest images: an initramfs for each kernel, packed from what cluster/fetch unpacked."""

import fcntl
import os
import re
import stat
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / "build"

PROGRAMS = ("""dash ip rdma tc ss kmod rping ucmatose udaddy ibv_devinfo ibv_devices ibv_rc_pingpong
            ib_send_lat ib_send_bw ib_write_lat ib_write_bw ib_read_lat ib_read_bw""").split()
LIBRARIES = ("libgcc_s.so.1", "libssl.so.3", "libpthread.so.0", "librt.so.1", "libdl.so.2")
MODULES = ("""virtio_pci virtio_net virtio_console 9p 9pnet_virtio dummy veth af_packet
           ib_core ib_cm iw_cm rdma_cm ib_uverbs rdma_ucm rdma_rxe udp_tunnel ip6_udp_tunnel
           crc32_generic crc32c_generic hmac sha256_generic sch_netem sch_ingress cls_u32
           cls_matchall act_gact sch_prio sch_fq loop""").split()
TRIPLET = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
LOADER = {"amd64": "lib64/ld-linux-x86-64.so.2", "arm64": "lib/ld-linux-aarch64.so.1"}


class Archive:
    """A cpio archive of the kind the kernel unpacks (newc), owned by root."""

    def __init__(self):
        self.parts = []
        self.seen = set()

    def add(self, name, mode, data=b"", rdev=(0, 0)):
        parent = os.path.dirname(name)
        if parent:
            self.dir(parent)
        if name in self.seen:
            return
        self.seen.add(name)
        raw = name.encode() + b"\0"
        fields = (len(self.seen), mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + raw
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]

    def dir(self, name):
        self.add(name, stat.S_IFDIR | 0o755)

    def link(self, name, target):
        self.add(name, stat.S_IFLNK | 0o777, target.encode())

    def file(self, name, path, mode=0o755):
        self.add(name, stat.S_IFREG | mode, Path(path).read_bytes())

    def text(self, name, text):
        self.add(name, stat.S_IFREG | 0o644, text.encode())

    def write(self, path):
        self.add("TRAILER!!!", 0)
        part = path.with_suffix(".part")
        part.write_bytes(b"".join(self.parts))
        part.rename(path)


def needed(path):
    out = subprocess.run(["readelf", "-d", str(path)], capture_output=True, text=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", out)


def add_userland(ar, root, arch):
    lib = f"usr/lib/{TRIPLET[arch]}"
    ar.dir("usr/lib")
    for d in ("lib", "lib64", "bin", "sbin"):
        ar.dir(f"usr/{d}")
        ar.link(d, f"usr/{d}")
    queue = list(LIBRARIES)

    def elf(name, source):
        ar.file(name, source)
        queue.extend(needed(source))

    elf(LOADER[arch], (root / LOADER[arch]).resolve())
    for program in PROGRAMS:
        source = next((root / d / program for d in ("usr/bin", "usr/sbin")
                       if (root / d / program).exists()), None)
        if source:
            elf(f"usr/bin/{program}", source)
    for driver in (root / lib / "libibverbs").glob("librxe-*.so"):
        elf(f"{lib}/libibverbs/{driver.name}", driver)
    ar.text("etc/libibverbs.d/rxe.driver", "driver rxe\n")
    while queue:
        name = queue.pop()
        source = root / lib / name
        if source.exists() and f"{lib}/{name}" not in ar.seen:
            elf(f"{lib}/{name}", source.resolve())

    ar.file("usr/bin/busybox", root / "usr/bin/busybox")
    for tool in ("modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod"):
        ar.link(f"usr/bin/{tool}", "kmod")
    ar.link("usr/bin/sh", "dash")     # busybox's shell prefers its own applets
    ar.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    ar.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
    ar.text("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n" +
            "".join(f"10.77.0.{i} node{i}\n" for i in range(1, 17)))


def add_modules(ar, kernel, release):
    base = kernel / "lib/modules" / release
    deps = {}
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        deps[path] = rest.split()
    by_name = {os.path.basename(p).split(".")[0].replace("-", "_"): p for p in deps}
    for m in MODULES:
        path = by_name.get(m)        # not there: built into this kernel
        for p in [path, *deps[path]] if path else []:
            ar.file(f"usr/lib/modules/{release}/{p}", base / p, 0o644)
    for index in base.glob("modules.*"):
        if index.name.endswith(".bin") or index.name in ("modules.dep", "modules.softdep",
                                                         "modules.builtin.modinfo"):
            ar.file(f"usr/lib/modules/{release}/{index.name}", index, 0o644)


def initramfs(kernel, arch):
    """Path of the initramfs for a kernel, made anew if one of its parts is newer."""
    name = f"{kernel}-{arch}"
    root = BUILD / "kernels" / name
    user = BUILD / "userland" / arch
    agent = BUILD / "guest" / f"agent-{arch}"
    out = BUILD / "guest" / f"{name}.cpio"
    parts = [root / "release", user, agent, TOP / "cluster/init.sh", Path(__file__)]
    with open(BUILD / ".image.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if out.exists() and all(p.stat().st_mtime <= out.stat().st_mtime for p in parts):
            return out
        ar = Archive()
        for d in ("proc", "sys", "dev", "etc", "root", "tmp", "run", "mnt", "var/tmp"):
            ar.dir(d)
        ar.add("dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1))
        add_userland(ar, user, arch)
        add_modules(ar, root, (root / "release").read_text().strip())
        ar.file("init", TOP / "cluster/init.sh")
        ar.file("usr/bin/agent", agent)
        ar.write(out)
    return out
