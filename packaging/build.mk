# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Installing: `make install` puts the modules' sources under DKMS, which builds them for every
# kernel of this machine, and the tool, the library and their pages under PREFIX. With DESTDIR nothing but files
# is laid down: that is what a package is made of.

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
VERSION := $(shell sed -n 's/.*POPCORN_VERSION "\(.*\)"/\1/p' include/popcorn/version.h)
DKMS_SRC := /usr/src/popcorn-rdma-$(VERSION)
DKMS_FILES = Kbuild $(wildcard include/popcorn/*.h kernel/*.[ch] transport/core/*.[ch] dsm-proto/core/*.[ch] \
	transport/socket/k*.[ch] rdma-kmod/*.[ch] microbench/kmod/*.[ch] \
	microbench/floor/k*.[ch])
API_HDR := include/popcorn/popcorn.h include/popcorn/uapi.h
# Each call has a page of its own name, and so have the programs behind `popcorn bench dsm` and `dsm-prof report`.
MAN_ALSO := $(patsubst %,man3/%.3,$(shell sed -n 's/^.Nm \(popcorn_[a-z]*\).*/\1/p' runtime/tool/popcorn.3)) \
	man1/popcorn-bench-dsm.1 man1/popcorn-dsm-report.1
INSTALL_CONF = [ -e '$(2)' ] || install -m $(or $(3),644) -T $(1) '$(2)'

.PHONY: install install-files uninstall
install: install-files
	$(if $(DESTDIR),,packaging/dkms add $(VERSION))

install-files: tool build/lib/libpopcorn.a build/bin/popcorn-bench-dsm
	install -d $(addprefix $(DESTDIR),$(DKMS_SRC) $(PREFIX)/bin $(PREFIX)/lib $(PREFIX)/include/popcorn \
		$(PREFIX)/share/man/man1 $(PREFIX)/share/man/man3 $(PREFIX)/share/man/man4 $(PREFIX)/share/man/man5 $(PREFIX)/lib/systemd/system \
		$(PREFIX)/lib/modules-load.d $(SYSCONFDIR)/modprobe.d $(SYSCONFDIR)/popcorn)
	rm -rf '$(DESTDIR)$(DKMS_SRC)'
	for f in $(DKMS_FILES); do install -D -m 644 $$f "$(DESTDIR)$(DKMS_SRC)/$$f" || exit; done
	sed 's/@VERSION@/$(VERSION)/' packaging/dkms.conf >'$(DESTDIR)$(DKMS_SRC)/dkms.conf'
	install build/bin/popcorn build/bin/popcorn-bench-dsm build/bin/popcorn-dsm-report '$(DESTDIR)$(PREFIX)/bin'
	install -m 644 build/lib/libpopcorn.a '$(DESTDIR)$(PREFIX)/lib'
	install -m 644 $(API_HDR) '$(DESTDIR)$(PREFIX)/include/popcorn'
	for s in 1 3 4 5; do install -m 644 runtime/tool/*.$$s '$(DESTDIR)$(PREFIX)/share/man/man'$$s || exit; done
	for p in $(MAN_ALSO); do echo ".so $${p%/*}/popcorn.$${p##*.}" >'$(DESTDIR)$(PREFIX)'/share/man/$$p || exit; done
	install -m 644 packaging/*.service '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	install -m 644 packaging/modules-load.conf '$(DESTDIR)$(PREFIX)/lib/modules-load.d/popcorn.conf'
	$(call INSTALL_CONF,packaging/modprobe.conf,$(DESTDIR)$(SYSCONFDIR)/modprobe.d/popcorn.conf)
	$(call INSTALL_CONF,packaging/nodes,$(DESTDIR)$(SYSCONFDIR)/popcorn/nodes)

# What a user may have changed in SYSCONFDIR stays.
uninstall:
	$(if $(DESTDIR),,packaging/dkms remove $(VERSION))
	rm -rf '$(DESTDIR)$(DKMS_SRC)'
	rm -f $(patsubst %,'$(DESTDIR)$(PREFIX)/%',bin/popcorn bin/popcorn-bench-dsm bin/popcorn-dsm-report lib/libpopcorn.a \
		$(API_HDR)) $(foreach s,1 3 4 5,$(patsubst runtime/tool/%,\
		'$(DESTDIR)$(PREFIX)/share/man/man$(s)/%',$(wildcard runtime/tool/*.$(s)))) \
		$(patsubst %,'$(DESTDIR)$(PREFIX)/share/man/%',$(MAN_ALSO)) \
		$(patsubst packaging/%,'$(DESTDIR)$(PREFIX)/lib/systemd/system/%',\
		$(wildcard packaging/*.service)) '$(DESTDIR)$(PREFIX)/lib/modules-load.d/popcorn.conf'
