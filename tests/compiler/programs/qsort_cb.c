// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* qsort() and bsearch() with callbacks that recurse, count, sort again and look into frames further out. */
#define _GNU_SOURCE
#include "try.h"

struct rec { int key; double weight; char name[9]; };

static int calls;

static NOINLINE int work(int n)
{
	return n ? work(n - 1) : 0;
}

static int by_int(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	calls++;
	return (x > y) - (x < y) + work(2);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct rec *)a)->name, ((const struct rec *)b)->name);
}

static int by_weight(const void *a, const void *b)
{
	double x = ((const struct rec *)a)->weight, y = ((const struct rec *)b)->weight;

	return (x > y) - (x < y);
}

static int by_string(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Compares rows by their sorted contents, sorting in the callback. */
static int by_sorted(const void *a, const void *b)
{
	int x[5], y[5];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	qsort(x, 5, sizeof(int), by_int);
	qsort(y, 5, sizeof(int), by_int);
	for (int i = 0; i < 5; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return memcmp(a, b, sizeof(x));
}

static int by_table(const void *a, const void *b, void *table)
{
	const int *t = table;

	return t[*(const unsigned char *)a] - t[*(const unsigned char *)b];
}

static void ints(void)
{
	int v[150], found = 0;

	for (int i = 0; i < 150; i++)
		v[i] = try_random() % 400;
	qsort(v, 150, sizeof(v[0]), by_int);
	for (int i = 1; i < 150; i++)
		if (v[i - 1] > v[i])
			printf("disorder at %d\n", i);
	for (int k = 0; k < 400; k += 5)
		found += bsearch(&k, v, 150, sizeof(v[0]), by_int) != NULL;
	printf("ints %d %d %d found %d called %d\n", v[0], v[75], v[149], found, calls > 500);
}

static void records(void)
{
	struct rec r[60], *p, key = { .name = "k17" };
	uint64_t sum = 0;

	for (int i = 0; i < 60; i++) {
		r[i].key = i;
		r[i].weight = (double)(try_random() % 10000) / 16;
		snprintf(r[i].name, sizeof(r[i].name), "k%d", i);
	}
	qsort(r, 60, sizeof(r[0]), by_weight);
	for (int i = 0; i < 60; i++)
		sum = try_mix(sum, r[i].key);
	qsort(r, 60, sizeof(r[0]), by_name);
	p = bsearch(&key, r, 60, sizeof(r[0]), by_name);
	printf("record %d %.4f at %d\n", p->key, p->weight, (int)(p - r));
	try_say("order", sum);
}

int main(void)
{
	const char *words[] = { "pear", "fig", "apple", "quince", "medlar", "plum", "cherry", "date", "sloe" };
	int rows[12][5], table[256];
	unsigned char bytes[64];
	uint64_t sum = 0;

	ints();
	records();
	qsort(words, ARRAY_SIZE(words), sizeof(words[0]), by_string);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		printf("%s ", words[i]);
	for (int i = 0; i < 12; i++)
		for (int j = 0; j < 5; j++)
			rows[i][j] = try_random() % 4;
	qsort(rows, 12, sizeof(rows[0]), by_sorted);
	for (int i = 0; i < 12; i++)
		for (int j = 0; j < 5; j++)
			sum = try_mix(sum, rows[i][j]);
	try_say("\nrows", sum);
	for (int i = 0; i < 256; i++)
		table[i] = i * 97 % 256;
	for (int i = 0; i < 64; i++)
		bytes[i] = i * 3;
	qsort_r(bytes, 64, 1, by_table, table);
	try_say("bytes", try_mix_bytes(0, bytes, 64));
	return 0;
}
