//go:build cgo

#define _GNU_SOURCE
#include "lte_mpi.h"

#include <mpi.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static MPI_Comm world = MPI_COMM_NULL; // a duplicate that returns errors instead of ending the job
static int sleepy = 1;                 // ranks outnumber cores: whoever waits gives its core away
static int apart = 0;                  // not all ranks share memory

enum { US = 1000, MS = 1000 * US }; // in ns

static void nap(long ns) {
	struct timespec t = {0, ns};
	nanosleep(&t, NULL);
}

// ---- signals

static struct sigaction saved[NSIG];
static int known[NSIG];

void lte_signals_save(void) {
	for (int s = 1; s < NSIG; s++)
		known[s] = sigaction(s, NULL, &saved[s]) == 0;
}

void lte_signals_restore(void) {
	for (int s = 1; s < NSIG; s++)
		if (known[s])
			sigaction(s, &saved[s], NULL);
}

// ---- abort

static atomic_int abort_code; // 0 while nobody asked

void lte_abort_ask(int code) {
	int none = 0;
	atomic_compare_exchange_strong(&abort_code, &none, code); // the first code stays
}

void lte_abort_if_asked(void) {
	int code = atomic_load_explicit(&abort_code, memory_order_relaxed);
	if (code != 0) {
		nap(300 * MS); // hydra drops what it has not yet read of this rank's last words
		MPI_Abort(MPI_COMM_WORLD, code);
	}
}

// ---- waiting

static long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// lte_wait polls until the request is done. Sleeping ranks start with naps of `from` ns, half as long again each time up to
// `to`; ranks that own a core spin, and after a millisecond yield between polls.
static int lte_wait(MPI_Request *request, long from, long to) {
	long long spin_until = 0;
	for (int polls = 0;; polls++) {
		int done = 0;
		int code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
		if (code != MPI_SUCCESS || done)
			return code;
		lte_abort_if_asked();
		if (sleepy) {
			nap(from);
			from += from / 2;
			if (from > to)
				from = to;
		} else if (polls % 64 == 63) {
			if (spin_until == 0)
				spin_until = now() + MS;
			else if (now() > spin_until)
				sched_yield();
		}
	}
}

#define TRY(name, expression)                        \
	do {                                         \
		int code_ = (expression);            \
		if (code_ != MPI_SUCCESS)            \
			return (lte_result){code_, name}; \
	} while (0)

static const lte_result ok = {MPI_SUCCESS, ""};

lte_result lte_barrier(void) {
	MPI_Request request;
	TRY("MPI_Ibarrier", MPI_Ibarrier(world, &request));
	TRY("MPI_Ibarrier", lte_wait(&request, 50 * US, MS));
	return ok;
}

// Stragglers are waited for in a barrier, with long naps; once all are there the data itself moves with short ones. A rank with
// a core of its own needs no such help.
static lte_result gather_round(void) {
	return sleepy ? lte_barrier() : ok;
}

lte_result lte_allgather(void *dst, const void *src, int bytes) {
	lte_result r = gather_round();
	if (r.code != MPI_SUCCESS)
		return r;
	MPI_Request request;
	TRY("MPI_Iallgather", MPI_Iallgather(src, bytes, MPI_BYTE, dst, bytes, MPI_BYTE, world, &request));
	TRY("MPI_Iallgather", lte_wait(&request, 20 * US, 20 * US));
	return ok;
}

lte_result lte_alltoall(void *dst, const void *src, int bytes) {
	lte_result r = gather_round();
	if (r.code != MPI_SUCCESS)
		return r;
	MPI_Request request;
	TRY("MPI_Ialltoall", MPI_Ialltoall(src, bytes, MPI_BYTE, dst, bytes, MPI_BYTE, world, &request));
	TRY("MPI_Ialltoall", lte_wait(&request, 20 * US, 20 * US));
	return ok;
}

// ---- start and end

// The cores that a node's ranks may use together: a launcher that binds each rank to one core has not made the node smaller.
static lte_result count_cores(MPI_Comm node, int *cores) {
	static uint64_t mine[1024], all[1024]; // 65,536 CPUs, more than cpu_set_t has
	MPI_Request request;
	if (sched_getaffinity(0, sizeof mine, (cpu_set_t *)mine) != 0)
		memset(mine, 0, sizeof mine);
	TRY("MPI_Iallreduce", MPI_Iallreduce(mine, all, 1024, MPI_UINT64_T, MPI_BOR, node, &request));
	TRY("MPI_Iallreduce", lte_wait(&request, 50 * US, MS));
	*cores = 0;
	for (int i = 0; i < 1024; i++)
		*cores += __builtin_popcountll(all[i]);
	if (*cores == 0) // no affinity to be had: take it that every rank has its core
		MPI_Comm_size(node, cores);
	return ok;
}

lte_result lte_start(lte_node *out) {
	MPI_Comm node;
	TRY("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
	TRY("MPI_Comm_dup", MPI_Comm_dup(MPI_COMM_WORLD, &world));
	TRY("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN));
	TRY("MPI_Comm_split_type", MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
	TRY("MPI_Comm_rank", MPI_Comm_rank(node, &out->node_rank));
	TRY("MPI_Comm_size", MPI_Comm_size(node, &out->node_size));
	lte_result r = count_cores(node, &out->node_cores);
	if (r.code != MPI_SUCCESS)
		return r;
	TRY("MPI_Comm_free", MPI_Comm_free(&node));
	sleepy = out->node_size > out->node_cores;
	int size;
	TRY("MPI_Comm_size", MPI_Comm_size(world, &size));
	apart = out->node_size < size;
	return ok;
}

// A barrier comes before MPI_Finalize, where no abort could be noticed any more and a wait would spin. It is of a kind that lets
// MPICH end where ranks talk TCP through UCX 1.12 or later, whose MPI_Finalize may hang: a rank asks those to whom it has sent to
// confirm what came, answers such questions itself until it has its own answers, and then answers nobody. So
//
//   - whoever was sent something sends something back, for its own question keeps it there until the other can answer, and so has
//     asked: every way in which collectives send, to a rank ±2ᵏ away, is taken here in both directions;
//   - nobody enters while another still waits, and would answer without having asked: all let go of MPI for a while.
lte_result lte_leave(void) {
	int rank, size;
	TRY("MPI_Comm_rank", MPI_Comm_rank(world, &rank));
	TRY("MPI_Comm_size", MPI_Comm_size(world, &size));
	for (int step = 1; step < size; step *= 2) {
		int above = (rank + step) % size, below = (rank - step + size) % size;
		MPI_Request requests[4];
		char got[2], sent = 0;
		TRY("MPI_Irecv", MPI_Irecv(&got[0], 1, MPI_BYTE, below, 0, world, &requests[0]));
		TRY("MPI_Irecv", MPI_Irecv(&got[1], 1, MPI_BYTE, above, 1, world, &requests[1]));
		TRY("MPI_Isend", MPI_Isend(&sent, 1, MPI_BYTE, above, 0, world, &requests[2]));
		TRY("MPI_Isend", MPI_Isend(&sent, 1, MPI_BYTE, below, 1, world, &requests[3]));
		for (int i = 0; i < 4; i++)
			TRY("MPI_Isend, MPI_Irecv", lte_wait(&requests[i], 50 * US, MS));
	}
	TRY("MPI_Comm_free", MPI_Comm_free(&world));
#ifdef MPICH_VERSION
	if (apart)
		nap(250 * MS);
#endif
	return ok;
}

void lte_error_text(int code, char *dst, size_t size) {
	char text[MPI_MAX_ERROR_STRING] = "";
	int n = 0;
	if (MPI_Error_string(code, text, &n) != MPI_SUCCESS || text[0] == 0)
		snprintf(text, sizeof text, "MPI error %d", code);
	snprintf(dst, size, "%s", text);
}

void lte_library(char *dst, size_t size) {
	char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
	int n = 0;
	MPI_Get_library_version(text, &n);
	snprintf(dst, size, "%s", text);
}
