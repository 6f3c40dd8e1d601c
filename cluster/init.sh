#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
# First script of a test guest; ends as its agent. The kernel command line sets its variables:
# node (number), rdma (rxe or none), mtu, link (netem options, commas for blanks), and in
# place of eth0, icount (how many nodes share this kernel, over dummy0).

export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
busybox mount -t proc proc /proc
busybox --install -s /usr/bin 2>/dev/null
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts /tmp /run /share /build
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t devpts devpts /dev/pts
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
ulimit -l unlimited
ulimit -n 65536
hostname "node$node"

for m in virtio_pci virtio_net virtio_console 9pnet_virtio 9p; do
	modprobe -q $m
done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none share /share
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=mmap,ro build /build

echo 40 >/proc/sys/kernel/hung_task_timeout_secs
ip link set lo up
if [ "${icount:-0}" -gt 0 ]; then
	dev=dummy0
	modprobe dummy numdummies=1
	ip link set dummy0 mtu "$mtu" up
	i=1
	while [ $i -le "$icount" ]; do
		ip addr add 10.77.1.$i/24 dev dummy0
		ip -6 addr add fd77:1::$i/64 dev dummy0 nodad
		i=$((i + 1))
	done
else
	dev=eth0
	ip addr add 10.77.0.$node/24 dev eth0
	ip -6 addr add fd77::$(printf %x "$node")/64 dev eth0 nodad
	ip link set eth0 mtu "$mtu" up
fi
if [ -n "$link" ]; then
	modprobe -q sch_netem
	tc qdisc add dev $dev root netem limit 10000 $(echo "$link" | tr , ' ')
fi
if [ "$rdma" = rxe ]; then
	# rdma_rxe does not ask for crc32 by itself
	for m in crc32_generic rdma_rxe ib_uverbs rdma_ucm; do
		modprobe $m
	done
	rdma link add rxe0 type rxe netdev $dev
fi

PATH=$PATH:/build/bin$([ "$(uname -m)" = aarch64 ] && echo -arm64)
for p in /sys/class/virtio-ports/*; do
	[ "$(cat $p/name)" = agent ] && exec agent /dev/${p##*/}
done
echo "init: no port for the agent" >/dev/console
