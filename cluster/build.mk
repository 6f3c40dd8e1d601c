# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Programs of the test clusters: the guests' agent for each architecture, the switch for the host.

.PHONY: guest
guest: build/guest/agent-amd64 build/guest/agent-arm64 build/guest/cluster-switch

build/guest/agent-%: cluster/agent.c
	@mkdir -p $(@D)
	$(CROSS_$*)gcc -std=gnu11 -O2 $(WARN) -static -o $@ $<

build/guest/cluster-switch: cluster/switch.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 $(WARN) -o $@ $<
