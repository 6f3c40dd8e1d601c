// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Hash tables: open addressing and chains, growing, with strings as keys. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node { struct node *next; uint32_t hash; int count; char key[]; };
struct table { struct node **slot; uint32_t size, used; };

static uint32_t hash_of(const char *s)
{
	uint32_t h = 2166136261u;

	while (*s)
		h = (h ^ (unsigned char)*s++) * 16777619;
	return h;
}

static void grow(struct table *t)
{
	uint32_t size = t->size * 2;
	struct node **slot = calloc(size, sizeof(*slot));

	if (!slot)
		exit(1);
	for (uint32_t i = 0; i < t->size; i++)
		for (struct node *n = t->slot[i], *next; n; n = next) {
			next = n->next;
			n->next = slot[n->hash & (size - 1)];
			slot[n->hash & (size - 1)] = n;
		}
	free(t->slot);
	t->slot = slot;
	t->size = size;
}

static struct node *get(struct table *t, const char *key)
{
	uint32_t h = hash_of(key);
	struct node *n;

	for (n = t->slot[h & (t->size - 1)]; n; n = n->next)
		if (n->hash == h && !strcmp(n->key, key))
			return n;
	if (++t->used > t->size)
		grow(t);
	n = malloc(sizeof(*n) + strlen(key) + 1);
	if (!n)
		exit(1);
	n->hash = h;
	n->count = 0;
	strcpy(n->key, key);
	n->next = t->slot[h & (t->size - 1)];
	t->slot[h & (t->size - 1)] = n;
	return n;
}

#define OPEN (1 << 15)

static uint64_t keys[OPEN];
static int values[OPEN];

static int *open_get(uint64_t k)
{
	uint32_t i = k * 0x9e3779b97f4a7c15u >> 49;

	while (keys[i] && keys[i] != k)
		i = (i + 1) & (OPEN - 1);
	keys[i] = k;
	return &values[i];
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 150000;
	struct table t = { calloc(64, sizeof(struct node *)), 64, 0 };
	uint64_t x = 88172645463325252u, sum = 0;
	char key[24];

	for (int i = 0; i < n; i++) {
		uint32_t v;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		v = x % 6000;
		key[0] = 'k';
		for (int k = 1; k < 9; k++) {
			key[k] = 'a' + v % 7;
			v /= 3;
		}
		key[9] = 0;
		get(&t, key)->count++;
		++*open_get(x % 20000 + 1);
	}
	for (uint32_t i = 0; i < t.size; i++)
		for (struct node *p = t.slot[i]; p; p = p->next)
			sum = sum * 31 + p->count * (i + 1);
	for (int i = 0; i < OPEN; i++)
		sum = sum * 31 + values[i];
	printf("%u %llx\n", t.used, (unsigned long long)sum);
	return 0;
}
