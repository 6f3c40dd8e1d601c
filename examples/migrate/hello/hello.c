// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A thread visits every node and comes back. Its stack, its heap and its open files come with it.
 *
 *	make && POPCORN_NODES=3 ./hello
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <popcorn/migrate.h>

static void go(int nid, const char *greeting)
{
	int err = migrate(nid, NULL, NULL);

	if (err) {
		fprintf(stderr, "hello: no way to node %d: %s\n", nid, migrate_reason());
		exit(1);
	}
	printf("%s from node %d\n", greeting, current_nid());
}

int main(int argc, char **argv)
{
	int nodes = argc > 1 ? atoi(argv[1]) : 2, home = current_nid(), nid;
	char *greeting = strdup("hello");

	for (nid = 0; nid < nodes; nid++)
		go((home + 1 + nid) % nodes, greeting);
	free(greeting);
	return 0;
}
