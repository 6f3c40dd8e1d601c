// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* malloc's patterns: growing, many sizes, aligned, freed by others, and mappings made, cut, moved and protected. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#include "try.h"

struct node { struct node *next; size_t n; unsigned char data[]; };

static NOINLINE struct node *push(struct node *head, size_t n)
{
	struct node *p = malloc(sizeof(*p) + n);

	if (!p)
		exit(1);
	p->next = head;
	p->n = n;
	memset(p->data, n * 7, n);
	return p;
}

static NOINLINE int check(const struct node *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->data[i] != (unsigned char)(p->n * 7))
			return 1;
	return 0;
}

static NOINLINE uint64_t churn(int rounds, uint64_t seed)
{
	struct node *slot[32] = { 0 };
	uint64_t s = seed, bad = 0;

	for (int i = 0; i < rounds; i++) {
		unsigned int k, size;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		k = seed >> 59;
		size = (seed >> 40) & ((seed >> 30) % 13 == 0 ? 0xffff : 0x3ff);
		if (slot[k]) {
			bad += check(slot[k]);
			s = try_mix(s, slot[k]->n);
			free(slot[k]);
			slot[k] = NULL;
		} else {
			slot[k] = push(NULL, size);
		}
	}
	for (int k = 0; k < 32; k++)
		free(slot[k]);
	return s + bad;
}

static NOINLINE void grow(void)
{
	size_t n = 0, size = 1;
	int *v = NULL, bad = 0;

	for (int i = 0; i < 3000; i++) {
		if (n == size / sizeof(int) || !v) {
			size = size * 3 / 2 + 16;
			v = realloc(v, size);
		}
		v[n++] = i * 3;
	}
	for (size_t i = 0; i < n; i++)
		bad += v[i] != (int)i * 3;
	v = realloc(v, 100);
	printf("grown %zu bad %d kept %d\n", n, bad, v[24]);
	free(v);
}

static void *give(void *arg)
{
	struct node *head = NULL;

	for (int i = 0; i < 60; i++)
		head = push(head, i * *(int *)arg);
	return head;
}

static NOINLINE void given(void)
{
	int by[] = { 3, 50, 700 }, bad = 0, n = 0;
	pthread_t t[3];
	void *r;

	for (int i = 0; i < 3; i++)
		if (pthread_create(&t[i], NULL, give, &by[i]))
			exit(1);
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], &r);
		for (struct node *p = r, *next; p; p = next) {
			next = p->next;
			bad += check(p);
			n++;
			free(p);
		}
	}
	printf("given %d bad %d\n", n, bad);
}

static NOINLINE void maps(void)
{
	size_t page = 65536;
	char *p = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *q;

	for (int i = 0; i < 8; i++)
		snprintf(p + i * page, 20, "page %d", i);
	mprotect(p + page, page, PROT_READ);
	munmap(p + 2 * page, page);
	q = mremap(p + 4 * page, 4 * page, 9 * page, MREMAP_MAYMOVE);
	snprintf(q + 8 * page, 20, "grown");
	printf("%s %s %s %s %s\n", p, p + page, q, q + 3 * page, q + 8 * page);
	q = mremap(q, 9 * page, page, 0);
	printf("%s %d\n", q, madvise(p, page, MADV_DONTNEED));
	printf("%d\n", p[0]);
	munmap(q, page);
	munmap(p, 2 * page);
	munmap(p + 3 * page, page);
}

int main(void)
{
	void *volatile none;
	void *a, *b;
	int *z;

	grow();
	try_say("churn", churn(HIDE(1500), 11));
	given();
	for (size_t al = 16; al <= 65536; al *= 4) {
		a = aligned_alloc(al, al * 2);
		if (posix_memalign(&b, al, 100))
			return 1;
		printf("%d%d ", ((uintptr_t)a & (al - 1)) == 0, ((uintptr_t)b & (al - 1)) == 0);
		free(a);
		free(b);
	}
	z = calloc(5000, sizeof(*z));
	for (int i = 0; i < 5000; i++)
		z[i]++;
	printf("%d %d\n", z[0] + z[4999], malloc_usable_size(z) >= 20000);
	free(z);
	none = malloc(SIZE_MAX / 2 - (size_t)try_zero);
	printf("%d\n", none == NULL);
	maps();
	return 0;
}
