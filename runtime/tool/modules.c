// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Checks of what this machine runs: kernel, modules, their signatures, the key, the clock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>

#include <popcorn/version.h>

#include "tool.h"

#define KEY_MIN	16
#define KEY_MAX	4096
#define SECURE_BOOT "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

static const char *const modules[] = { "popcorn", "msg_rdma", "msg_socket" };
#define DRIVERS	1	/* they begin there */

static char *release(void)
{
	char *r = slurp("/proc/sys/kernel/osrelease");

	return r ? r : xprintf("unknown");
}

bool loaded(const char *module)
{
	return exists("/sys/module/%s/initstate", module) || exists("/sys/module/%s/parameters", module);
}

/* From "options MODULE ... NAME=VALUE ..." of modprobe's configuration. */
static char *configured(const char *module, const char *name)
{
	static char *config;
	char *line, *next, *value = NULL;
	size_t len = strlen(module);

	if (!config)
		config = output("modprobe -c");
	for (line = config; line && *line; line = next) {
		char *end = strchrnul(line, '\n'), *at;
		char *key = xprintf(" %s=", name);

		next = *end ? end + 1 : end;
		if (!strncmp(line, "options ", 8) && !strncmp(line + 8, module, len) &&
		    line[8 + len] == ' ') {
			at = memmem(line, end - line, key, strlen(key));
			if (at) {
				at += strlen(key);
				free(value);
				value = strndup(at, strcspn(at, " \n"));
			}
		}
		free(key);
	}
	return value;
}

/* Value of a parameter: the loaded module's, else the configured one; NULL: neither. */
char *param(const char *module, const char *name)
{
	char *s = slurp("/sys/module/%s/parameters/%s", module, name);

	if (!s)
		return loaded(module) ? NULL : configured(module, name);
	if (!*s || !strcmp(s, "(null)")) {
		free(s);
		return NULL;
	}
	return s;
}

long number(const char *module, const char *name, long dflt)
{
	char *s = param(module, name);
	long n = s ? strtol(s, NULL, 0) : dflt;

	if (s && (*s == 'Y' || *s == 'N'))
		n = *s == 'Y';
	free(s);
	return n;
}

#define BOOT	"boot Debian's 6.1 or 6.12 (apt install linux-image-amd64, or -arm64)"

static bool supported(const char *r)
{
	return !strncmp(r, "6.1.", 4) || !strncmp(r, "6.12.", 5);
}

void check_kernel(void)
{
	char *r = release();

	if (!supported(r))
		verdict(WARN, "kernel", BOOT, "%s: the modules are made for 6.1 and 6.12", r);
	else
		verdict(OK, "kernel", NULL, "%s", r);
	free(r);
}

static void check_loaded(const char *m)
{
	char *version = slurp("/sys/module/%s/version", m);
	char *here = slurp("/sys/module/%s/srcversion", m);
	char *disk = output("modinfo -F srcversion %s", m);

	if (!version || strcmp(version, POPCORN_VERSION))
		verdict(FAIL, "modules", "popcorn and the modules must be of one release: make install,"
			" rmmod msg_rdma msg_socket popcorn, modprobe msg_rdma",
			"%s is version %s, this tool is " POPCORN_VERSION, m,
			version ? version : "unknown");
	else if (here && disk && *disk && strcmp(here, disk))
		verdict(WARN, "modules", "rmmod msg_rdma msg_socket popcorn; modprobe msg_rdma",
			"%s is loaded, but another build of it is installed", m);
	else
		verdict(OK, "modules", NULL, "%s %s is loaded", m, version);
	free(version);
	free(here);
	free(disk);
}

static bool is_source(const char *name, void *arg)
{
	(void)arg;
	return !strncmp(name, "popcorn-rdma-", 13);
}

static void check_installed(const char *m, enum level missing)
{
	char *r = release(), *dep = slurp("/lib/modules/%s/modules.dep", r);
	char *file = xprintf("/%s.ko", m), *magic, *mend;

	if (!dep || !strstr(dep, file)) {
		if (!each_name("/usr/src", is_source, NULL))
			mend = xprintf("make install, in the source tree");
		else if (!supported(r))
			mend = xprintf(BOOT);
		else if (!exists("/lib/modules/%s/build", r))
			mend = xprintf("apt install linux-headers-%s; dkms autoinstall", r);
		else
			mend = xprintf("dkms autoinstall -k %s (its log says why not)", r);
		verdict(missing, "modules", mend, "%s is not installed for kernel %s", m, r);
		free(mend);
		goto out;
	}
	magic = output("modinfo -F vermagic %s", m);
	if (magic && strncmp(magic, r, strcspn(magic, " "))) {
		mend = xprintf("dkms install --force popcorn-rdma/" POPCORN_VERSION " -k %s", r);
		verdict(FAIL, "modules", mend, "%s was built for kernel %.*s, not for %s", m,
			(int)strcspn(magic, " "), magic, r);
		free(mend);
	} else {
		mend = xprintf("modprobe %s", strcmp(m, "popcorn") ? m : "msg_rdma (or msg_socket)");
		verdict(missing, "modules", mend, "%s is installed, but not loaded", m);
		free(mend);
	}
	free(magic);
out:
	free(file);
	free(dep);
	free(r);
}

void check_modules(void)
{
	bool driver = false;
	size_t i;

	for (i = 0; i < sizeof(modules) / sizeof(*modules); i++) {
		if (loaded(modules[i])) {
			check_loaded(modules[i]);
			driver |= i >= DRIVERS;
		} else if (i < DRIVERS) {
			check_installed(modules[i], FAIL);
		}
	}
	for (i = DRIVERS; i < sizeof(modules) / sizeof(*modules) && loaded("popcorn"); i++)
		if (!loaded(modules[i]))
			check_installed(modules[i], driver ? WARN : FAIL);
}

void check_signing(void)
{
	char *enforce = slurp("/sys/module/module/parameters/sig_enforce");
	char *lockdown = slurp("/sys/kernel/security/lockdown");
	char *boot = slurp(SECURE_BOOT);	/* four bytes of attributes, then 0 or 1 */
	char *signer = NULL;
	char mode[32] = "none";
	bool secure = false;
	FILE *f;

	if (lockdown && strchr(lockdown, '['))
		sscanf(strchr(lockdown, '['), "[%31[^]]", mode);
	if (boot) {
		char *path = xprintf("%s%s", root, SECURE_BOOT);
		unsigned char var[5] = { 0 };

		f = fopen(path, "re");
		secure = f && fread(var, 1, 5, f) == 5 && var[4];
		if (f)
			fclose(f);
		free(path);
	}
	if ((!enforce || *enforce != 'Y') && !strcmp(mode, "none")) {
		verdict(OK, "signing", NULL, "not needed: Secure Boot is %s, lockdown none",
			secure ? "on" : "off");
	} else if (loaded("popcorn")) {
		verdict(OK, "signing", NULL, "the kernel wants signatures (lockdown %s) and took ours",
			mode);
	} else {
		signer = output("modinfo -F signer popcorn");
		if (signer && *signer)
			verdict(WARN, "signing", "if loading says \"Key was rejected\": mokutil --import"
				" /var/lib/dkms/mok.pub, reboot, choose \"Enroll MOK\"",
				"the kernel wants signatures (lockdown %s); popcorn.ko is signed by %s",
				mode, signer);
		else
			verdict(FAIL, "signing", "mokutil --import /var/lib/dkms/mok.pub, reboot, choose"
				" \"Enroll MOK\"; dkms install --force popcorn-rdma/" POPCORN_VERSION,
				"the kernel wants signatures (lockdown %s), popcorn.ko has none", mode);
	}
	free(enforce);
	free(lockdown);
	free(boot);
	free(signer);
}

void check_key(void)
{
	char *file = NULL, *path, *mend;
	struct stat st;
	size_t i;

	for (i = DRIVERS; i < sizeof(modules) / sizeof(*modules) && !file; i++)
		file = param(modules[i], "keyfile");
	if (!file) {
		verdict(OK, "key", NULL, "none: peers are believed by their address");
		return;
	}
	path = xprintf("%s%s", root, file);
	mend = xprintf("head -c 32 /dev/urandom >%s; chown root %s; chmod 600 %s; copy it to all nodes",
		       file, file, file);
	if (lstat(path, &st))
		verdict(FAIL, "key", mend, "%s: %s", file, strerror(errno));
	else if (!S_ISREG(st.st_mode) || st.st_mode & 0177 || st.st_uid)
		verdict(FAIL, "key", mend, "%s must be a regular file of root's with mode 0600", file);
	else if (st.st_size < KEY_MIN || st.st_size > KEY_MAX)
		verdict(FAIL, "key", mend, "%s must hold %d to %d bytes, it has %lld", file, KEY_MIN,
			KEY_MAX, (long long)st.st_size);
	else
		verdict(OK, "key", NULL, "%s", file);
	free(mend);
	free(path);
	free(file);
}

/*
 * A node's incarnation is the time when it was made: after a restart with an
 * earlier clock its peers take it for one that was declared dead.
 */
void check_clock(void)
{
	struct timex tx = { 0 };
	struct stat st;
	time_t now = time(NULL);
	char date[16];

	strftime(date, sizeof(date), "%F", gmtime(&now));
	if (!stat("/proc/self/exe", &st) && now < st.st_mtime - 86400)
		verdict(FAIL, "clock", "date -s ..., or apt install systemd-timesyncd",
			"it says %s, before this program was installed", date);
	else if (adjtimex(&tx) == TIME_ERROR || tx.status & STA_UNSYNC)
		verdict(WARN, "clock", "apt install systemd-timesyncd",
			"not synchronised; a node that restarts with an earlier clock is refused as dead");
	else
		verdict(OK, "clock", NULL, "synchronised, %s", date);
}
