// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Strings: the libc's functions on short and long ones, and searching by hand. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT 20000

static char text[TEXT + 1], out[TEXT * 2 + 100];

static int find(const char *s, const char *what)
{
	int n = 0;
	size_t len = strlen(what);

	while ((s = strchr(s, what[0])) != NULL) {
		if (!strncmp(s, what, len))
			n++;
		s++;
	}
	return n;
}

static int words(const char *s)
{
	int n = 0, in = 0;

	for (; *s; s++) {
		int a = isalpha((unsigned char)*s) != 0;

		n += a && !in;
		in = a;
	}
	return n;
}

static int reverse(char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n / 2; i++) {
		char c = s[i];

		s[i] = s[n - 1 - i];
		s[n - 1 - i] = c;
	}
	return n;
}

int main(int argc, char **argv)
{
	static const char *const parts[] = { "the ", "quick ", "brown ", "fox, ", "jumps ", "over ", "lazy ", "dogs. " };
	int rounds = argc > 1 ? atoi(argv[1]) : 60;
	unsigned int x = 7, sum = 0;
	size_t n = 0;

	while (n < TEXT - 10) {
		x = x * 1103515245 + 12345;
		n += strlen(strcpy(text + n, parts[x >> 16 & 7]));
	}
	for (int r = 0; r < rounds; r++) {
		char *save = NULL, *p = out;

		sum = sum * 31 + find(text, "brown") + find(text, "over") + words(text);
		memcpy(out, text, n + 1);
		for (p = strtok_r(out, " ,.", &save); p; p = strtok_r(NULL, " ,.", &save))
			sum += reverse(p) * (strcmp(p, "xof") == 0 ? 3 : 1);
		sum += strlen(text) + (strstr(text, "lazy fox, quick dogs. the") != NULL);
		for (int i = 0; i < 200; i++) {
			char buf[40] = "";

			strcat(buf, parts[i & 7]);
			strcat(buf, parts[(i * 3 + r) & 7]);
			sum += (memcmp(buf, text + i, 6) > 0) + strlen(buf);
		}
	}
	printf("%u\n", sum);
	return 0;
}
