// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* stdio on files and memory: buffering, seeking, ungetc, getline, scanning, memory streams, printing while moving. */
#define _GNU_SOURCE
#include <unistd.h>
#include "try.h"

static NOINLINE void numbers(FILE *f)
{
	double d;
	int a, n = 0, bad = 0;
	char w[20];

	for (int i = 0; i < 100; i++)
		fprintf(f, "%d %s%d %.3f\n", i, "word", i * 3, i / 7.0);
	rewind(f);
	while (fscanf(f, "%d %19s %lf", &a, w, &d) == 3) {
		bad += a != n || atoi(w + 4) != n * 3 || d - n / 7.0 > 0.001 || n / 7.0 - d > 0.001;
		n++;
	}
	printf("numbers %d bad %d eof %d\n", n, bad, !!feof(f));
}

static NOINLINE void lines(FILE *f)
{
	char *line = NULL, s[12], c;
	size_t size = 0;
	ssize_t n, total = 0;
	int count = 0;

	rewind(f);
	while ((n = getline(&line, &size, f)) > 0) {
		total += n;
		count++;
	}
	free(line);
	printf("lines %d bytes %d\n", count, (int)total);
	fseek(f, -20, SEEK_END);
	fgets(s, sizeof(s), f);
	printf("tail '%s' at %ld\n", s, ftell(f));
	fseek(f, 3, SEEK_SET);
	ungetc('Q', f);
	c = getc(f);
	printf("%c%c", c, getc(f));
	fseek(f, 0, SEEK_CUR);
	fputs("OVER", f);
	fflush(f);
	fseek(f, 0, SEEK_SET);
	fgets(s, 10, f);
	for (char *p = s; *p; p++)
		if (*p == '\n')
			*p = '/';
	printf(" %s\n", s);
}

static ssize_t cookie_write(void *c, const char *s, size_t n)
{
	uint64_t *sum = c;

	*sum = try_mix_bytes(*sum, s, n);
	return n;
}

static NOINLINE void memory(void)
{
	char *p, buf[200];
	size_t n;
	FILE *f = open_memstream(&p, &n);
	uint64_t sum = 0;

	for (int i = 0; i < 300; i++)
		fprintf(f, "%d,", i * i);
	fclose(f);
	printf("stream %d %.12s %s\n", (int)n, p, p + n - 10);
	free(p);
	f = fmemopen(buf, sizeof(buf), "w+");
	fwrite("binary\0data", 1, 11, f);
	fputc('!', f);
	fseek(f, 7, SEEK_SET);
	n = fread(buf + 100, 1, 5, f);
	printf("memory %d %c\n", (int)n, buf[104]);
	fclose(f);
	f = fopencookie(&sum, "w", (cookie_io_functions_t) { .write = cookie_write });
	setvbuf(f, NULL, _IOFBF, 64);
	for (int i = 0; i < 50; i++)
		fprintf(f, "%x %g ", i * 77, i * 0.5);
	fclose(f);
	printf("cookie %d\n", sum != 0);
}

int main(void)
{
	FILE *f = tmpfile(), *p;
	char s[40] = "";

	if (!f)
		return 1;
	numbers(f);
	lines(f);
	fclose(f);
	memory();
	setvbuf(stdout, NULL, _IOLBF, 100);
	for (int i = 0; i < 40; i++)
		printf("%d%s", i * 12345, i % 7 == 6 ? "\n" : " ");
	puts("");
	fflush(stdout);
	p = popen("echo from a child", "r");
	if (p && fgets(s, sizeof(s), p))
		printf("popen %s", s);
	printf("status %d\n", p ? pclose(p) : -1);
	fprintf(stderr, "%s", "");
	return 0;
}
