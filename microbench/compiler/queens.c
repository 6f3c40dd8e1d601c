// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Recursion with arrays: queens by back-tracking, and sudoku-like filling. */
#include <stdio.h>
#include <stdlib.h>

struct board { int n, count; int at[16]; };

static int fits(const struct board *b, int row, int col)
{
	for (int i = 0; i < row; i++) {
		int d = b->at[i] - col;

		if (!d || d == row - i || d == i - row)
			return 0;
	}
	return 1;
}

static void place(struct board *b, int row)
{
	if (row == b->n) {
		b->count++;
		return;
	}
	for (int col = 0; col < b->n; col++)
		if (fits(b, row, col)) {
			b->at[row] = col;
			place(b, row + 1);
		}
}

int main(int argc, char **argv)
{
	struct board b = { argc > 1 ? atoi(argv[1]) : 9, 0, { 0 } };

	place(&b, 0);
	printf("%d\n", b.count);
	return 0;
}
