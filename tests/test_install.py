# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""make install: the files, what DKMS makes of them, and `modprobe msg_rdma` on a guest."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone

TOP = Path(__file__).resolve().parent.parent
VERSION = re.search(r'POPCORN_VERSION "(.*)"',
                    (TOP / "include/popcorn/version.h").read_text())[1]
SRC = f"usr/src/popcorn-rdma-{VERSION}"
MODULES = ("popcorn", "msg_rdma", "msg_socket", "popcorn_bench", "floor_verbs", "floor_tcp")


def make(*args):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    subprocess.run(["make", "-s", "-C", TOP, *map(str, args)], check=True, timeout=120, env=env)


def install(dest):
    make("install", f"DESTDIR={dest}", "PREFIX=/usr")


def files(root):
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def dest(tmp_path_factory):
    d = tmp_path_factory.mktemp("dest")
    install(d)
    return d


def test_files(dest):
    got = files(dest)
    for name in ("usr/bin/popcorn", "usr/bin/popcorn-bench-dsm",
                 "usr/bin/popcorn-dsm-report", "usr/lib/libpopcorn.a",
                 "usr/include/popcorn/popcorn.h", "usr/share/man/man3/popcorn.3",
                 "usr/share/man/man1/popcorn.1", "usr/share/man/man4/popcorn.4",
                 "usr/share/man/man5/popcorn-nodes.5", "usr/lib/systemd/system/popcorn.service",
                 "usr/lib/systemd/system/popcorn-rxe@.service",
                 "usr/lib/modules-load.d/popcorn.conf", "etc/modprobe.d/popcorn.conf", "etc/popcorn/nodes", f"{SRC}/dkms.conf",
                 f"{SRC}/Kbuild", f"{SRC}/kernel/main.c", f"{SRC}/include/popcorn/wire.h"):
        assert name in got
    for page in (p for p in got if re.fullmatch(r"usr/share/man/man[13]/popcorn[-_](?!cc|check).*", p)):
        text = (dest / page).read_text()
        assert text == f".so {Path(page).parent.name}/popcorn{Path(page).suffix}\n"
    assert {"usr/share/man/man3/popcorn_map.3", "usr/share/man/man1/popcorn-bench-dsm.1"} <= got
    assert "@" not in (dest / SRC / "dkms.conf").read_text()
    out = subprocess.run([dest / "usr/bin/popcorn", "--version"], capture_output=True, text=True)
    assert out.stdout == f"popcorn {VERSION}\n"


def test_every_header_is_there(dest):
    """Every file that an installed source includes by its path is installed, too."""
    for f in (dest / SRC).rglob("*.[ch]"):
        for name in re.findall(r'#include "(.*)"', f.read_text()):
            assert (f.parent / name).exists() or (dest / SRC / name).exists(), f"{f}: {name}"


def test_configuration_is_kept(tmp_path):
    install(tmp_path)
    nodes = tmp_path / "etc/popcorn/nodes"
    nodes.write_text("10.9.0.1\n")
    install(tmp_path)
    assert nodes.read_text() == "10.9.0.1\n"
    make("uninstall", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    assert files(tmp_path) == {"etc/popcorn/nodes", "etc/modprobe.d/popcorn.conf"}


def test_units(dest, tmp_path):
    unit = dest / "usr/lib/systemd/system"
    for name in ("popcorn.service", "popcorn-rxe@eth0.service"):
        copy = tmp_path / name
        shutil.copy(unit / name.replace("eth0", ""), copy)
        r = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True,
                           text=True, timeout=60)
        ours = [ln for ln in r.stderr.splitlines() if str(copy) in ln]
        assert not ours, ours


FAKE = """#!/bin/sh
echo "$@" >>{log}
[ "$1" = status ] && cat {status}
exit 0
"""


def script(tmp_path, *args, status=""):
    """Run packaging/dkms with a DKMS that only writes down what it was asked."""
    log = tmp_path / "log"
    (tmp_path / "status").write_text(status)
    log.write_text("")
    fake = tmp_path / "dkms"
    fake.write_text(FAKE.format(log=log, status=tmp_path / "status"))
    fake.chmod(0o755)
    r = subprocess.run([TOP / "packaging/dkms", *args], capture_output=True, text=True, timeout=60,
                       env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    return r, log.read_text().splitlines()


def test_script_builds_for_each_kernel_with_headers(tmp_path):
    r, log = script(tmp_path, "add", VERSION)
    name = f"popcorn-rdma/{VERSION}"
    kernels = [k.name for k in Path("/lib/modules").glob("*")
               if (k / "build").exists() and re.match(r"6\.(1|12)\.", k.name)]
    assert log == [f"status {name}", f"add {name}"] + [f"install {name} -k {k}"
                                                       for k in sorted(kernels)]
    assert r.returncode == (0 if kernels else 1)
    if not kernels:
        assert "built for no kernel" in r.stderr


def test_script_replaces_an_older_build(tmp_path):
    r, log = script(tmp_path, "remove", VERSION, status=f"popcorn-rdma/{VERSION}: added\n")
    assert r.returncode == 0
    assert log[-1] == f"remove popcorn-rdma/{VERSION} --all"


def test_script_without_dkms(tmp_path):
    for tool in ("sh", "uname"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    r = subprocess.run([TOP / "packaging/dkms", "add", VERSION], capture_output=True, text=True,
                       env={"PATH": str(tmp_path)}, timeout=60)
    assert r.returncode == 1
    assert "apt install dkms" in r.stderr


def unit(dest, name, key):
    """Commands of an installed unit, as systemd would run them; guests have none."""
    base, _, instance = name.partition("@")
    text = (dest / "usr/lib/systemd/system" /
            f"{base}{'@' if instance else ''}.service").read_text()
    found = re.findall(rf"(?m)^{key}=(.*)$", text)
    assert found
    return " && ".join(found).replace("%i", instance)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_dkms_and_modprobe(dest, tmp_path, cluster, version):
    """DKMS builds the installed sources; the guest's modprobe does the rest from /etc."""
    c = cluster(2, fresh=True, kernel=version)
    kernel = TOP / f"build/kernels/{version}-amd64"
    release = (kernel / "release").read_text().strip()
    (tmp_path / "tree").mkdir()
    r = subprocess.run(["dkms", "--dkmstree", tmp_path / "tree", "--sourcetree", dest / "usr/src",
                        "--kernelsourcedir", kernel / "headers", "-k", f"{release}/x86_64",
                        "build", f"popcorn-rdma/{VERSION}"], capture_output=True, text=True,
                       timeout=300)
    logs = "".join(p.read_text() for p in (tmp_path / "tree").rglob("make.log"))
    assert r.returncode == 0, r.stdout + r.stderr + logs
    built = {p.stem: p for p in (tmp_path / "tree").rglob("*.ko")}
    assert set(built) == set(MODULES)

    for n in c:
        n.sh(f"mkdir -p /lib/modules/{release}/updates/dkms /etc/modprobe.d /etc/popcorn")
        for name, path in built.items():
            n.put(path, f"/lib/modules/{release}/updates/dkms/{name}.ko")
        n.put(dest / "etc/modprobe.d/popcorn.conf", "/etc/modprobe.d/popcorn.conf")
        n.sh("cat >/etc/popcorn/nodes",
             stdin="".join(f"{m.addr}  # node\n" for m in c).encode())
        n.sh("depmod 2>/dev/null")
        n.sh(unit(dest, "popcorn", "ExecStart"))
    for n in c:
        n.wait_for("popcorn peers | grep -q ' up .* rdma'")
        assert "msg_socket" in n.sh("lsmod"), "the softdep brings the fallback"
        doctor = n.run("popcorn doctor").stdout
        assert "FAIL" not in doctor, doctor
        assert "/etc/popcorn/nodes: 2 nodes" in doctor
    for n in c:
        n.sh(unit(dest, "popcorn", "ExecStop"))
        assert not n.run("rmmod popcorn").status
    n.sh("ln -s /bin/kmod /sbin/modprobe; modprobe dummy numdummies=0; ip link add wire0 type dummy && ip link set wire0 up")
    for _ in range(2):  # a device that is there already is no failure
        n.sh(unit(dest, "popcorn-rxe@wire0", "ExecStart"))
        assert "netdev wire0" in n.sh("rdma link show rxe_wire0/1")
    n.sh(unit(dest, "popcorn-rxe@wire0", "ExecStop"))
    assert n.run("rdma link show rxe_wire0/1").status
