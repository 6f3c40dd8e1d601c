// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A thread that moves when somebody asks: at check_migrate(), which tells it so, or at any migration point, which doesn't.
 *
 *	make && POPCORN_NODES=2 ./asked & sleep 1; kill -35 $!
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <popcorn/migrate.h>

static volatile unsigned long sum;

static void arrived(void *arg)
{
	printf("moved by check_migrate() in round %d\n", *(int *)arg);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 20, at = current_nid(), round, i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("process %d on node %d\n", (int)getpid(), at);
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < 50000000; i++)
			sum += i;
		check_migrate(arrived, &round);
		if (current_nid() != at)
			printf("round %d: node %d\n", round, at = current_nid());
	}
	return 0;
}
