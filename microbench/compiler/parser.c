// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A recursive-descent parser of nested text into allocated values, and a walk over them. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum type { NUMBER, TEXT, LIST, MAP };
struct value { enum type type; double n; char *s; struct value **items; int count, room; };

static const char *at;

static struct value *parse(void);

static void space(void)
{
	while (isspace((unsigned char)*at))
		at++;
}

static struct value *make(enum type type)
{
	struct value *v = calloc(1, sizeof(*v));

	if (!v)
		exit(1);
	v->type = type;
	return v;
}

static void add(struct value *v, struct value *item)
{
	if (v->count == v->room) {
		v->room = v->room * 2 + 4;
		v->items = realloc(v->items, v->room * sizeof(*v->items));
		if (!v->items)
			exit(1);
	}
	v->items[v->count++] = item;
}

static struct value *text(void)
{
	struct value *v = make(TEXT);
	const char *end = strchr(++at, '"');

	v->s = malloc(end - at + 1);
	memcpy(v->s, at, end - at);
	v->s[end - at] = 0;
	at = end + 1;
	return v;
}

static struct value *list(enum type type, char close)
{
	struct value *v = make(type);

	for (at++, space(); *at != close; space()) {
		add(v, parse());
		space();
		if (*at == ',' || *at == ':')
			at++;
	}
	at++;
	return v;
}

static struct value *parse(void)
{
	struct value *v;
	char *end;

	space();
	switch (*at) {
	case '"': return text();
	case '[': return list(LIST, ']');
	case '{': return list(MAP, '}');
	}
	v = make(NUMBER);
	v->n = strtod(at, &end);
	at = end;
	return v;
}

static double walk(struct value *v, int depth)
{
	double r = v->type == TEXT ? strlen(v->s) : v->n;

	for (int i = 0; i < v->count; i++)
		r += walk(v->items[i], depth + 1) * (depth + 1);
	free(v->items);
	free(v->s);
	free(v);
	return r;
}

static char doc[60000];

static char *write(char *p, int depth, int i)
{
	if (!depth)
		return p + sprintf(p, i & 1 ? "%d.25" : "\"item %d\"", i * 7);
	p += sprintf(p, i & 1 ? "[ " : "{\"key\": 5");
	for (int k = 0; k < 5; k++) {
		if (k || !(i & 1))
			p += sprintf(p, i & 1 || !(k & 1) ? ", " : ": ");
		p = write(p, depth - 1, i + k);
	}
	return p + sprintf(p, i & 1 ? " ]" : "}");
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 25;
	double r = 0;

	write(doc, 5, 3);
	for (int i = 0; i < rounds; i++) {
		at = doc;
		r += walk(parse(), 1);
	}
	printf("%.2f %d\n", r, (int)strlen(doc));
	return 0;
}
