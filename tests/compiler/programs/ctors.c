// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Constructors and destructors with priorities, atexit() in and out of them, exit() from deep inside. */
#include "try.h"

static int n;

static NOINLINE int point(int k)
{
	return k ? point(k - 1) + 1 : 0;
}

static void say(const char *s)
{
	n++;
	printf("%d %s %d\n", n, s, point(3));
}

__attribute__((constructor(300))) static void third(void) { say("constructor 300"); }
__attribute__((constructor)) static void plain(void) { say("constructor"); }
__attribute__((constructor(200))) static void second(void) { say("constructor 200"); }
__attribute__((destructor(200))) static void last(void) { say("destructor 200"); }
__attribute__((destructor)) static void first(void) { say("destructor"); }
__attribute__((destructor(300))) static void before(void) { say("destructor 300"); }

static void again(void) { say("registered late"); }

static void at_exit_1(void)
{
	say("atexit 1");
	atexit(again);
}

static void at_exit_2(void) { say("atexit 2"); }

static NOINLINE void deep(int k)
{
	if (!k)
		exit(7);
	deep(k - 1);
	say("not reached");
}

int main(void)
{
	say("main");
	atexit(at_exit_1);
	atexit(at_exit_2);
	for (int i = 0; i < 40; i++)
		atexit(i == 20 ? at_exit_2 : at_exit_1);
	deep(HIDE(9));
	return 0;
}
