//go:build cgo

#define _GNU_SOURCE
#include "lte_mpi.h"

#include <limits.h>
#include <linux/futex.h>
#include <mpi.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static MPI_Comm world = MPI_COMM_NULL;   // all ranks, node after node; returns errors instead of ending the job
static MPI_Comm node = MPI_COMM_NULL;    // those of this node, who share memory
static MPI_Comm leaders = MPI_COMM_NULL; // the first of every node, on these alone
static lte_place place;
static int *ranks_of, *first_of; // (nodes): how many a node has, and which is its first; on leaders alone
static int here;                 // this node's number; on leaders alone
static bool sleepy = true;             // ranks outnumber this machine's cores, or compute meanwhile: whoever waits gives its core away
static bool gathering = true;          // ranks outnumber the cores of some machine

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

#define RETURN_UNLESS_OK(call)                  \
	do {                                    \
		lte_result result_ = (call);    \
		if (result_.code != MPI_SUCCESS) \
			return result_;         \
	} while (0)

static const lte_result ok = {MPI_SUCCESS, ""};

static lte_result barrier(MPI_Comm comm) {
	MPI_Request request;
	TRY("MPI_Ibarrier", MPI_Ibarrier(comm, &request));
	TRY("MPI_Ibarrier", lte_wait(&request, 50 * US, MS));
	return ok;
}

// ---- memory of a node

static lte_hall *hall; // of this node's ranks; NULL: not yet

void lte_enter(lte_hall *h) { hall = h; }

void lte_separate(void) {
	place.node_rank = 0;
	place.node_size = 1;
	place.nodes = place.size;
}

// progress lets MPI go on with what it has begun for others: a message may still lie here that was sent long ago.
static int progress(void) {
	int flag;
	return MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, world, &flag, MPI_STATUS_IGNORE);
}

// A barrier of MPI's takes a message for every doubling of the ranks, and each is noticed only when its receiver next polls: a few
// naps in all. Here the last to come wakes the others, who use no core until then. What a rank has written before it is seen by the
// node's others after it.
lte_result lte_node_barrier(void) {
	if (hall == NULL)
		return barrier(node);
	unsigned round = atomic_load(&hall->round);
	if (atomic_fetch_add(&hall->arrived, 1) + 1 == (unsigned)place.node_size) {
		atomic_store(&hall->arrived, 0);
		atomic_store(&hall->round, round + 1);
		syscall(SYS_futex, &hall->round, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
		return ok;
	}
	long long yield_from = now() + MS;
	struct timespec most = {0, MS};
	for (int polls = 1; atomic_load(&hall->round) == round; polls++) {
		if (sleepy) { // to look after MPI now and then
			syscall(SYS_futex, &hall->round, FUTEX_WAIT, round, &most, NULL, 0);
			if (most.tv_nsec < 16 * MS)
				most.tv_nsec *= 2;
		} else if (polls % 64 != 0) {
			continue;
		} else if (now() > yield_from) {
			sched_yield();
		}
		lte_abort_if_asked();
		TRY("MPI_Iprobe", progress());
	}
	return ok;
}

// A barrier of all: of every node, of the nodes' first ranks, and of every node again.
lte_result lte_barrier(void) {
	if (place.nodes == place.size)
		return barrier(world);
	RETURN_UNLESS_OK(lte_node_barrier());
	if (place.nodes == 1)
		return ok;
	if (place.node_rank == 0)
		RETURN_UNLESS_OK(barrier(leaders));
	return lte_node_barrier();
}

// ---- collectives

// Stragglers are waited for in a barrier, with long naps; once all are there the data itself moves with short ones. All ranks take
// part in it, also those of a machine that is not crowded.
static lte_result gather_round(void) { return gathering ? lte_barrier() : ok; }

lte_result lte_allgather(void *dst, const void *src, int bytes) {
	size_t all = (size_t)bytes * place.size;
	if (hall != NULL && place.nodes < place.size && all <= sizeof hall->board) {
		RETURN_UNLESS_OK(lte_allgather_shared(hall->board, src, bytes));
		memcpy(dst, hall->board, all);
		return ok;
	}
	RETURN_UNLESS_OK(gather_round());
	MPI_Request request;
	TRY("MPI_Iallgather", MPI_Iallgather(src, bytes, MPI_BYTE, dst, bytes, MPI_BYTE, world, &request));
	TRY("MPI_Iallgather", lte_wait(&request, 20 * US, 20 * US));
	return ok;
}

// A leader sends to one while it receives from another. It sends first: the other way round, MPICH over TCP does one after the other,
// as it does in its Iallgatherv, and Open MPI in its Iallgather.
static lte_result leaders_swap(const void *src, int sends, MPI_Datatype sent, int to, void *dst, int receives, MPI_Datatype received, int from) {
	MPI_Request out, in;
	TRY("MPI_Isend", MPI_Isend(src, sends, sent, to, 0, leaders, &out));
	TRY("MPI_Irecv", MPI_Irecv(dst, receives, received, from, 0, leaders, &in));
	TRY("MPI_Irecv", lte_wait(&in, 20 * US, 20 * US));
	TRY("MPI_Isend", lte_wait(&out, 20 * US, 20 * US));
	return ok;
}

// Leaders alone cross the network, with all of their node's blocks: node after node, so they lie as they are to lie.
static lte_result leaders_allgather(char *dst, int bytes) {
	enum { LARGE = 512 << 10 };
	int me = here, n = place.node_size;
	MPI_Datatype block; // counted in blocks, an int goes further than 2 GB
	TRY("MPI_Type_contiguous", MPI_Type_contiguous(bytes, MPI_BYTE, &block));
	TRY("MPI_Type_commit", MPI_Type_commit(&block));
	if (place.nodes > 2 && (size_t)bytes * place.size < LARGE) { // in fewer steps than there are nodes
		MPI_Request request;
		TRY("MPI_Iallgatherv", MPI_Iallgatherv(MPI_IN_PLACE, 0, block, dst, ranks_of, first_of, block, leaders, &request));
		TRY("MPI_Iallgatherv", lte_wait(&request, 20 * US, 20 * US));
	} else {
		for (int by = 1; by < place.nodes; by++) {
			int to = (me + by) % place.nodes, from = (me - by + place.nodes) % place.nodes;
			RETURN_UNLESS_OK(leaders_swap(dst + (size_t)first_of[me] * bytes, n, block, to,
						      dst + (size_t)first_of[from] * bytes, ranks_of[from], block, from));
		}
	}
	TRY("MPI_Type_free", MPI_Type_free(&block));
	return ok;
}

lte_result lte_allgather_shared(void *dst, const void *src, int bytes) {
	if (place.nodes == place.size)
		return lte_allgather(dst, src, bytes);
	RETURN_UNLESS_OK(lte_node_barrier()); // nobody reads what was there before
	memcpy((char *)dst + (size_t)place.rank * bytes, src, bytes);
	RETURN_UNLESS_OK(lte_node_barrier());
	if (place.nodes == 1)
		return ok;
	if (place.node_rank == 0) {
		if (gathering)
			RETURN_UNLESS_OK(barrier(leaders));
		RETURN_UNLESS_OK(leaders_allgather(dst, bytes));
	}
	return lte_node_barrier();
}

lte_result lte_node_allgather(void *dst, const void *src, int bytes) {
	MPI_Request request;
	TRY("MPI_Iallgather", MPI_Iallgather(src, bytes, MPI_BYTE, dst, bytes, MPI_BYTE, node, &request));
	TRY("MPI_Iallgather", lte_wait(&request, 50 * US, MS));
	return ok;
}

lte_result lte_alltoall(void *dst, const void *src, int bytes) {
	RETURN_UNLESS_OK(gather_round());
	MPI_Request request;
	TRY("MPI_Ialltoall", MPI_Ialltoall(src, bytes, MPI_BYTE, dst, bytes, MPI_BYTE, world, &request));
	TRY("MPI_Ialltoall", lte_wait(&request, 20 * US, 20 * US));
	return ok;
}

// What is for ranks of another node crosses the network as one message.
static lte_result leaders_alltoall(char *comes, const char *rows, int bytes) {
	int me = here, n = place.node_size;
	MPI_Datatype block, columns; // of the rows: what goes to a node
	TRY("MPI_Type_contiguous", MPI_Type_contiguous(bytes, MPI_BYTE, &block));
	TRY("MPI_Type_commit", MPI_Type_commit(&block));
	for (int by = 1; by < place.nodes; by++) {
		int to = (me + by) % place.nodes, from = (me - by + place.nodes) % place.nodes;
		TRY("MPI_Type_vector", MPI_Type_vector(n, ranks_of[to], place.size, block, &columns));
		TRY("MPI_Type_commit", MPI_Type_commit(&columns));
		RETURN_UNLESS_OK(leaders_swap(rows + (size_t)first_of[to] * bytes, 1, columns, to,
					      comes + (size_t)first_of[from] * n * bytes, n * ranks_of[from], block, from));
		TRY("MPI_Type_free", MPI_Type_free(&columns));
	}
	TRY("MPI_Type_free", MPI_Type_free(&block));
	return ok;
}

// Each rank has written its row of rows (node_size, size, bytes); comes is (size, node_size, bytes).
lte_result lte_alltoall_shared(void *comes, const void *rows, int bytes) {
	if (place.nodes == place.size)
		return lte_alltoall(comes, rows, bytes);
	RETURN_UNLESS_OK(lte_node_barrier()); // the rows are written
	if (place.nodes == 1)
		return ok;
	if (place.node_rank == 0) {
		if (gathering)
			RETURN_UNLESS_OK(barrier(leaders));
		RETURN_UNLESS_OK(leaders_alltoall(comes, rows, bytes));
	}
	return lte_node_barrier();
}

// ---- start and end

static lte_result split(MPI_Comm from, int color, int key, MPI_Comm *comm) {
	TRY("MPI_Comm_split", MPI_Comm_split(from, color, key, comm));
	if (*comm != MPI_COMM_NULL)
		TRY("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(*comm, MPI_ERRORS_RETURN));
	return ok;
}

// MPI's blocking collectives spin: where ranks outnumber cores many times, each of their rounds lasts until all ranks had their turn on a
// core. MPI_Comm_split_type is the only one that all ranks need.
lte_result lte_start(lte_place *dst) {
	MPI_Request request;
	prctl(PR_SET_TIMERSLACK, US); // of the thread that makes all calls: the kernel would add 50 µs to every nap
	TRY("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
	TRY("MPI_Comm_split_type", MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
	TRY("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN));
	TRY("MPI_Comm_rank", MPI_Comm_rank(node, &place.node_rank));
	TRY("MPI_Comm_size", MPI_Comm_size(node, &place.node_size));
	// However the launcher dealt them out, a node's ranks are numbered one after another: by its first, and in order.
	int rank, first;
	TRY("MPI_Comm_rank", MPI_Comm_rank(MPI_COMM_WORLD, &rank));
	first = rank;
	TRY("MPI_Ibcast", MPI_Ibcast(&first, 1, MPI_INT, 0, node, &request));
	TRY("MPI_Ibcast", lte_wait(&request, 50 * US, MS));
	int mine[2] = {place.node_rank == 0, rank != first + place.node_rank}, all[2]; // nodes, and ranks that need another number
	TRY("MPI_Iallreduce", MPI_Iallreduce(mine, all, 2, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &request));
	TRY("MPI_Iallreduce", lte_wait(&request, 50 * US, MS));
	place.nodes = all[0];
	if (all[1] == 0) {
		TRY("MPI_Comm_idup", MPI_Comm_idup(MPI_COMM_WORLD, &world, &request));
		TRY("MPI_Comm_idup", lte_wait(&request, 50 * US, MS));
		TRY("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN));
	} else {
		RETURN_UNLESS_OK(split(MPI_COMM_WORLD, 0, first, &world));
	}
	TRY("MPI_Comm_rank", MPI_Comm_rank(world, &place.rank));
	TRY("MPI_Comm_size", MPI_Comm_size(world, &place.size));
	if (place.nodes > 1)
		RETURN_UNLESS_OK(split(world, place.node_rank == 0 ? 0 : MPI_UNDEFINED, 0, &leaders));
	else if (place.node_rank == 0)
		RETURN_UNLESS_OK(split(MPI_COMM_SELF, 0, 0, &leaders));
	if (leaders != MPI_COMM_NULL) {
		TRY("MPI_Comm_rank", MPI_Comm_rank(leaders, &here));
		ranks_of = calloc(place.nodes, sizeof *ranks_of);
		first_of = calloc(place.nodes, sizeof *first_of);
		if (ranks_of == NULL || first_of == NULL)
			return (lte_result){MPI_ERR_NO_MEM, "calloc"};
		TRY("MPI_Allgather", MPI_Allgather(&place.node_size, 1, MPI_INT, ranks_of, 1, MPI_INT, leaders));
		for (int i = 1; i < place.nodes; i++)
			first_of[i] = first_of[i - 1] + ranks_of[i - 1];
	}
	*dst = place;
	return ok;
}

int lte_affinity(uint64_t *dst, int words) {
	memset(dst, 0, words * sizeof *dst);
	if (sched_getaffinity(0, words * sizeof *dst, (cpu_set_t *)dst) != 0)
		return 0;
	while (words > 0 && dst[words - 1] == 0)
		words--;
	return words;
}

void lte_waiting(bool sleepy_here, bool gathering_everywhere) {
	sleepy = sleepy_here;
	gathering = gathering_everywhere;
}

static lte_result confirm(MPI_Comm comm) {
	int rank, size;
	TRY("MPI_Comm_rank", MPI_Comm_rank(comm, &rank));
	TRY("MPI_Comm_size", MPI_Comm_size(comm, &size));
	for (int step = 1; step < size; step *= 2) {
		int above = (rank + step) % size, below = (rank - step + size) % size;
		MPI_Request requests[4];
		char got[2], sent = 0;
		TRY("MPI_Irecv", MPI_Irecv(&got[0], 1, MPI_BYTE, below, 0, comm, &requests[0]));
		TRY("MPI_Irecv", MPI_Irecv(&got[1], 1, MPI_BYTE, above, 1, comm, &requests[1]));
		TRY("MPI_Isend", MPI_Isend(&sent, 1, MPI_BYTE, above, 0, comm, &requests[2]));
		TRY("MPI_Isend", MPI_Isend(&sent, 1, MPI_BYTE, below, 1, comm, &requests[3]));
		for (int i = 0; i < 4; i++)
			TRY("MPI_Isend, MPI_Irecv", lte_wait(&requests[i], 50 * US, MS));
	}
	return ok;
}

// A barrier comes before MPI_Finalize, where no abort could be noticed any more and a wait would spin. It is of a kind that lets
// MPICH end where ranks talk TCP through UCX 1.12 or later, whose MPI_Finalize may hang: a rank asks those to whom it has sent to
// confirm what came, answers such questions itself until it has its own answers, and then answers nobody. So
//
//   - whoever was sent something sends something back, for its own question keeps it there until the other can answer, and so has
//     asked: every way in which collectives send, to a rank ±2ᵏ away, is taken here in both directions, among all and among leaders;
//   - nobody enters while another still waits, and would answer without having asked: all let go of MPI for a while.
lte_result lte_leave(void) {
	if (leaders != MPI_COMM_NULL) {
		RETURN_UNLESS_OK(confirm(leaders));
		TRY("MPI_Comm_free", MPI_Comm_free(&leaders));
	}
	RETURN_UNLESS_OK(confirm(world));
	TRY("MPI_Comm_free", MPI_Comm_free(&node));
	TRY("MPI_Comm_free", MPI_Comm_free(&world));
#ifdef MPICH_VERSION
	if (place.nodes > 1)
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
