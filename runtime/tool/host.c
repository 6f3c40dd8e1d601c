// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Reading the system: files below the root, names in a directory, commands' output.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

const char *root = "";

static void *need(void *p)
{
	if (!p) {
		fprintf(stderr, "popcorn: out of memory\n");
		exit(EXIT_FAILED);
	}
	return p;
}

/* Room for one more element; doubles when @n is a power of two. */
void *grow(void *array, size_t n, size_t size)
{
	return n & (n - 1) ? array : need(realloc(array, (n ? 2 * n : 1) * size));
}

char *xprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = need(NULL);
	va_end(ap);
	return s;
}

static char *path_of(const char *fmt, va_list ap)
{
	char *name, *path;

	if (vasprintf(&name, fmt, ap) < 0)
		need(NULL);
	path = xprintf("%s%s", root, name);
	free(name);
	return path;
}

static char *read_all(FILE *f)
{
	size_t n = 0, room = 4096;
	char *s = need(malloc(room));

	for (;;) {
		n += fread(s + n, 1, room - n - 1, f);
		if (n < room - 1)
			break;
		room *= 2;
		s = need(realloc(s, room));
	}
	while (n && s[n - 1] == '\n')
		n--;
	s[n] = 0;
	return s;
}

/* A file's text without newlines at its end, or NULL with errno set. */
char *slurp(const char *fmt, ...)
{
	va_list ap;
	char *path, *s;
	FILE *f;

	va_start(ap, fmt);
	path = path_of(fmt, ap);
	va_end(ap);
	f = fopen(path, "re");
	free(path);
	if (!f)
		return NULL;
	s = read_all(f);
	if (ferror(f)) {
		free(s);
		s = NULL;
	}
	fclose(f);
	return s;
}

bool exists(const char *fmt, ...)
{
	va_list ap;
	char *path;
	bool there;

	va_start(ap, fmt);
	path = path_of(fmt, ap);
	va_end(ap);
	there = !access(path, F_OK);
	free(path);
	return there;
}

/* What a command prints, or NULL if it fails. Only fixed words and checked names go in. */
char *output(const char *fmt, ...)
{
	va_list ap;
	char *cmd, *all, *s;
	FILE *f;

	va_start(ap, fmt);
	if (vasprintf(&cmd, fmt, ap) < 0)
		need(NULL);
	va_end(ap);
	all = xprintf("{ %s; } 2>/dev/null", cmd);
	free(cmd);
	f = popen(all, "re");
	free(all);
	if (!f)
		return NULL;
	s = read_all(f);
	if (pclose(f)) {
		free(s);
		return NULL;
	}
	return s;
}

bool each_name(const char *dir, bool (*fn)(const char *name, void *arg), void *arg)
{
	char *path = xprintf("%s%s", root, dir);
	struct dirent **list;
	int i, n = scandir(path, &list, NULL, versionsort);
	bool found = false;

	free(path);
	for (i = 0; i < n; i++) {
		if (!found && list[i]->d_name[0] != '.')
			found = fn(list[i]->d_name, arg);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	return found;
}

void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++)
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < ' ')
			printf("\\u%04x", *s);
		else
			putchar(*s);
	putchar('"');
}
