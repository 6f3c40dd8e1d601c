// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Floor: the same rows over MPI_Send and MPI_Recv; start as two ranks with mpirun. */
#include <errno.h>
#include <mpi.h>

#include "floor.h"

static char buf[FLOOR_MAX];
static int peer;

static int mpi_send(struct floor_chan *c, size_t size)
{
	(void)c;
	return MPI_Send(buf, (int)size, MPI_CHAR, peer, 0, MPI_COMM_WORLD) ? -EIO : 0;
}

static int mpi_recv(struct floor_chan *c, size_t size)
{
	(void)c;
	return MPI_Recv(buf, (int)size, MPI_CHAR, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE) ?
		-EIO : 0;
}

int main(int argc, char **argv)
{
	struct floor_chan c = { .send = mpi_send, .recv = mpi_recv };
	struct floor_opts o;
	int rank, ranks, err;

	floor_options(argc, argv, "OpenMPI ping-pong; run with mpirun -np 2.", "busy", &o);
	if (MPI_Init(&argc, &argv))
		floor_die("MPI_Init failed", 0);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	if (ranks != 2)
		floor_die("run with mpirun -np 2", 0);
	peer = !rank;
	floor_pin(rank);
	err = floor_rows(&c, &o, rank ? FLOOR_SERVER : FLOOR_CLIENT, o.name ? o.name : "mpi");
	MPI_Finalize();
	return !!err;
}
