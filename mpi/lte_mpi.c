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

static MPI_Comm world = MPI_COMM_NULL;   // all ranks, ordered by node; returns errors instead of ending the job
static MPI_Comm node = MPI_COMM_NULL;    // the ranks of this node, which share memory
static MPI_Comm leaders = MPI_COMM_NULL; // the first rank of every node; set on these only
static lte_topology topology;
static int *node_ranks, *node_first; // (nodes): number of ranks and first rank of each node; set on leaders only
static int node_index;               // this node's index; set on leaders only
static bool yielding = true;         // sleep while waiting: ranks outnumber this machine's cores, or another thread computes
static bool barrier_first = true;    // run a barrier before each collective: ranks outnumber the cores of some machine

enum { US = 1000, MS = 1000 * US }; // in ns

static void sleep_ns(long ns) {
	struct timespec t = {0, ns};
	nanosleep(&t, NULL);
}

// ---- signals

static struct sigaction saved_actions[NSIG];
static int is_saved[NSIG];

void lte_signals_save(void) {
	for (int s = 1; s < NSIG; s++)
		is_saved[s] = sigaction(s, NULL, &saved_actions[s]) == 0;
}

void lte_signals_restore(void) {
	for (int s = 1; s < NSIG; s++)
		if (is_saved[s])
			sigaction(s, &saved_actions[s], NULL);
}

// ---- abort

static atomic_int abort_code; // 0: none requested

void lte_request_abort(int code) {
	int none = 0;
	atomic_compare_exchange_strong(&abort_code, &none, code); // the first code wins
}

void lte_abort_if_requested(void) {
	int code = atomic_load_explicit(&abort_code, memory_order_relaxed);
	if (code != 0) {
		sleep_ns(300 * MS); // hydra drops output of this rank that it has not read yet
		MPI_Abort(MPI_COMM_WORLD, code);
	}
}

// ---- waiting

static long long now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// lte_wait polls until the request is complete. A yielding rank sleeps between polls, from `from` ns up to `to` ns, 1.5 times longer each
// time; others spin, and call sched_yield between polls after a millisecond.
static int lte_wait(MPI_Request *request, long from, long to) {
	long long spin_until = 0;
	for (int polls = 0;; polls++) {
		int done = 0;
		int code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
		if (code != MPI_SUCCESS || done)
			return code;
		lte_abort_if_requested();
		if (yielding) {
			sleep_ns(from);
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

// ---- synchronization within a node

static lte_node_sync *node_sync; // NULL: none yet

void lte_use_node_sync(lte_node_sync *s) { node_sync = s; }

void lte_unshare_node(void) {
	topology.node_rank = 0;
	topology.node_size = 1;
	topology.nodes = topology.size;
}

// poll_progress lets MPI advance pending communication: a message that was sent may still be in a local queue.
static int poll_progress(void) {
	int flag;
	return MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, world, &flag, MPI_STATUS_IGNORE);
}

// An MPI barrier takes log2(ranks) messages, and each is noticed only at its receiver's next poll, after a sleep. Here the last rank to
// arrive wakes the others by a futex, and they use no core until then. Writes before the barrier are visible to the node's ranks after it.
lte_result lte_node_barrier(void) {
	if (node_sync == NULL)
		return barrier(node);
	unsigned round = atomic_load(&node_sync->round);
	if (atomic_fetch_add(&node_sync->arrived, 1) + 1 == (unsigned)topology.node_size) {
		atomic_store(&node_sync->arrived, 0);
		atomic_store(&node_sync->round, round + 1);
		syscall(SYS_futex, &node_sync->round, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
		return ok;
	}
	long long yield_from = now() + MS;
	struct timespec most = {0, MS};
	for (int polls = 1; atomic_load(&node_sync->round) == round; polls++) {
		if (yielding) { // with a timeout, to poll MPI
			syscall(SYS_futex, &node_sync->round, FUTEX_WAIT, round, &most, NULL, 0);
			if (most.tv_nsec < 16 * MS)
				most.tv_nsec *= 2;
		} else if (polls % 64 != 0) {
			continue;
		} else if (now() > yield_from) {
			sched_yield();
		}
		lte_abort_if_requested();
		TRY("MPI_Iprobe", poll_progress());
	}
	return ok;
}

// A barrier of all ranks: of every node, of the leaders, and of every node again.
lte_result lte_barrier(void) {
	if (topology.nodes == topology.size)
		return barrier(world);
	RETURN_UNLESS_OK(lte_node_barrier());
	if (topology.nodes == 1)
		return ok;
	if (topology.node_rank == 0)
		RETURN_UNLESS_OK(barrier(leaders));
	return lte_node_barrier();
}

// ---- collectives

// Ranks wait for stragglers in a barrier, with long sleeps between polls; the collective itself then polls often. All ranks take part,
// also those of a machine that is not oversubscribed.
static lte_result wait_for_stragglers(void) { return barrier_first ? lte_barrier() : ok; }

lte_result lte_allgather(void *dst, const void *src, int bytes) {
	size_t all = (size_t)bytes * topology.size;
	if (node_sync != NULL && topology.nodes < topology.size && all <= sizeof node_sync->staging) {
		RETURN_UNLESS_OK(lte_allgather_shared(node_sync->staging, src, bytes));
		memcpy(dst, node_sync->staging, all);
		return ok;
	}
	RETURN_UNLESS_OK(wait_for_stragglers());
	MPI_Request request;
	TRY("MPI_Iallgather", MPI_Iallgather(src, bytes, MPI_BYTE, dst, bytes, MPI_BYTE, world, &request));
	TRY("MPI_Iallgather", lte_wait(&request, 20 * US, 20 * US));
	return ok;
}

// A leader sends to one leader while it receives from another. It posts the send first: with the receive first, MPICH over TCP
// serializes the two, as it does in its Iallgatherv, and Open MPI in its Iallgather.
static lte_result leaders_sendrecv(const void *src, int send_count, MPI_Datatype send_type, int to,
				   void *dst, int recv_count, MPI_Datatype recv_type, int from) {
	MPI_Request out, in;
	TRY("MPI_Isend", MPI_Isend(src, send_count, send_type, to, 0, leaders, &out));
	TRY("MPI_Irecv", MPI_Irecv(dst, recv_count, recv_type, from, 0, leaders, &in));
	TRY("MPI_Irecv", lte_wait(&in, 20 * US, 20 * US));
	TRY("MPI_Isend", lte_wait(&out, 20 * US, 20 * US));
	return ok;
}

// Only leaders communicate over the network, each with all blocks of its node. Ranks are ordered by node, so blocks arrive in rank order.
static lte_result leaders_allgather(char *dst, int bytes) {
	enum { LARGE = 512 << 10 };
	int me = node_index, n = topology.node_size;
	MPI_Datatype block; // counts of blocks fit into an int beyond 2 GB
	TRY("MPI_Type_contiguous", MPI_Type_contiguous(bytes, MPI_BYTE, &block));
	TRY("MPI_Type_commit", MPI_Type_commit(&block));
	if (topology.nodes > 2 && (size_t)bytes * topology.size < LARGE) { // Iallgatherv takes fewer steps than there are nodes
		MPI_Request request;
		TRY("MPI_Iallgatherv", MPI_Iallgatherv(MPI_IN_PLACE, 0, block, dst, node_ranks, node_first, block, leaders, &request));
		TRY("MPI_Iallgatherv", lte_wait(&request, 20 * US, 20 * US));
	} else {
		for (int by = 1; by < topology.nodes; by++) {
			int to = (me + by) % topology.nodes, from = (me - by + topology.nodes) % topology.nodes;
			RETURN_UNLESS_OK(leaders_sendrecv(dst + (size_t)node_first[me] * bytes, n, block, to,
						      dst + (size_t)node_first[from] * bytes, node_ranks[from], block, from));
		}
	}
	TRY("MPI_Type_free", MPI_Type_free(&block));
	return ok;
}

lte_result lte_allgather_shared(void *dst, const void *src, int bytes) {
	if (topology.nodes == topology.size)
		return lte_allgather(dst, src, bytes);
	RETURN_UNLESS_OK(lte_node_barrier()); // no rank still reads the old contents
	memcpy((char *)dst + (size_t)topology.rank * bytes, src, bytes);
	RETURN_UNLESS_OK(lte_node_barrier());
	if (topology.nodes == 1)
		return ok;
	if (topology.node_rank == 0) {
		if (barrier_first)
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
	RETURN_UNLESS_OK(wait_for_stragglers());
	MPI_Request request;
	TRY("MPI_Ialltoall", MPI_Ialltoall(src, bytes, MPI_BYTE, dst, bytes, MPI_BYTE, world, &request));
	TRY("MPI_Ialltoall", lte_wait(&request, 20 * US, 20 * US));
	return ok;
}

// All blocks for the ranks of one other node travel as one message.
static lte_result leaders_alltoall(char *recv, const char *send, int bytes) {
	int me = node_index, n = topology.node_size;
	MPI_Datatype block, columns; // the blocks of send for one node
	TRY("MPI_Type_contiguous", MPI_Type_contiguous(bytes, MPI_BYTE, &block));
	TRY("MPI_Type_commit", MPI_Type_commit(&block));
	for (int by = 1; by < topology.nodes; by++) {
		int to = (me + by) % topology.nodes, from = (me - by + topology.nodes) % topology.nodes;
		TRY("MPI_Type_vector", MPI_Type_vector(n, node_ranks[to], topology.size, block, &columns));
		TRY("MPI_Type_commit", MPI_Type_commit(&columns));
		RETURN_UNLESS_OK(leaders_sendrecv(send + (size_t)node_first[to] * bytes, 1, columns, to,
					      recv + (size_t)node_first[from] * n * bytes, n * node_ranks[from], block, from));
		TRY("MPI_Type_free", MPI_Type_free(&columns));
	}
	TRY("MPI_Type_free", MPI_Type_free(&block));
	return ok;
}

// Each rank has written its row of send, (node_size, size, bytes); recv is (size, node_size, bytes).
lte_result lte_alltoall_shared(void *recv, const void *send, int bytes) {
	if (topology.nodes == topology.size)
		return lte_alltoall(recv, send, bytes);
	RETURN_UNLESS_OK(lte_node_barrier()); // all rows of send are written
	if (topology.nodes == 1)
		return ok;
	if (topology.node_rank == 0) {
		if (barrier_first)
			RETURN_UNLESS_OK(barrier(leaders));
		RETURN_UNLESS_OK(leaders_alltoall(recv, send, bytes));
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

// MPI's blocking collectives spin: where ranks far outnumber cores, each of their rounds lasts until every rank has been scheduled once.
// MPI_Comm_split_type is the only blocking collective that all ranks call.
lte_result lte_start(lte_topology *dst) {
	MPI_Request request;
	prctl(PR_SET_TIMERSLACK, US); // of this thread, which makes all calls: the kernel would add 50 µs to every sleep
	TRY("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
	TRY("MPI_Comm_split_type", MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
	TRY("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN));
	TRY("MPI_Comm_rank", MPI_Comm_rank(node, &topology.node_rank));
	TRY("MPI_Comm_size", MPI_Comm_size(node, &topology.node_size));
	// However the launcher placed the ranks, those of a node get consecutive numbers; nodes are ordered by their first rank.
	int rank, first;
	TRY("MPI_Comm_rank", MPI_Comm_rank(MPI_COMM_WORLD, &rank));
	first = rank;
	TRY("MPI_Ibcast", MPI_Ibcast(&first, 1, MPI_INT, 0, node, &request));
	TRY("MPI_Ibcast", lte_wait(&request, 50 * US, MS));
	int local[2] = {topology.node_rank == 0, rank != first + topology.node_rank}, all[2]; // number of nodes, and of ranks to renumber
	TRY("MPI_Iallreduce", MPI_Iallreduce(local, all, 2, MPI_INT, MPI_SUM, MPI_COMM_WORLD, &request));
	TRY("MPI_Iallreduce", lte_wait(&request, 50 * US, MS));
	topology.nodes = all[0];
	if (all[1] == 0) {
		TRY("MPI_Comm_idup", MPI_Comm_idup(MPI_COMM_WORLD, &world, &request));
		TRY("MPI_Comm_idup", lte_wait(&request, 50 * US, MS));
		TRY("MPI_Comm_set_errhandler", MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN));
	} else {
		RETURN_UNLESS_OK(split(MPI_COMM_WORLD, 0, first, &world));
	}
	TRY("MPI_Comm_rank", MPI_Comm_rank(world, &topology.rank));
	TRY("MPI_Comm_size", MPI_Comm_size(world, &topology.size));
	if (topology.nodes > 1)
		RETURN_UNLESS_OK(split(world, topology.node_rank == 0 ? 0 : MPI_UNDEFINED, 0, &leaders));
	else if (topology.node_rank == 0)
		RETURN_UNLESS_OK(split(MPI_COMM_SELF, 0, 0, &leaders));
	if (leaders != MPI_COMM_NULL) {
		TRY("MPI_Comm_rank", MPI_Comm_rank(leaders, &node_index));
		node_ranks = calloc(topology.nodes, sizeof *node_ranks);
		node_first = calloc(topology.nodes, sizeof *node_first);
		if (node_ranks == NULL || node_first == NULL)
			return (lte_result){MPI_ERR_NO_MEM, "calloc"};
		TRY("MPI_Allgather", MPI_Allgather(&topology.node_size, 1, MPI_INT, node_ranks, 1, MPI_INT, leaders));
		for (int i = 1; i < topology.nodes; i++)
			node_first[i] = node_first[i - 1] + node_ranks[i - 1];
	}
	*dst = topology;
	return ok;
}

void lte_set_waiting(bool yield, bool barrier) {
	yielding = yield;
	barrier_first = barrier;
}

// Every rank exchanges a message with the ranks ±2ᵏ away; returns when all ranks have called it.
static lte_result exchange_acks(MPI_Comm comm) {
	int rank, size;
	TRY("MPI_Comm_rank", MPI_Comm_rank(comm, &rank));
	TRY("MPI_Comm_size", MPI_Comm_size(comm, &size));
	for (int step = 1; step < size; step *= 2) {
		int above = (rank + step) % size, below = (rank - step + size) % size;
		MPI_Request requests[4];
		char received[2], sent = 0;
		TRY("MPI_Irecv", MPI_Irecv(&received[0], 1, MPI_BYTE, below, 0, comm, &requests[0]));
		TRY("MPI_Irecv", MPI_Irecv(&received[1], 1, MPI_BYTE, above, 1, comm, &requests[1]));
		TRY("MPI_Isend", MPI_Isend(&sent, 1, MPI_BYTE, above, 0, comm, &requests[2]));
		TRY("MPI_Isend", MPI_Isend(&sent, 1, MPI_BYTE, below, 1, comm, &requests[3]));
		for (int i = 0; i < 4; i++)
			TRY("MPI_Isend, MPI_Irecv", lte_wait(&requests[i], 50 * US, MS));
	}
	return ok;
}

// A barrier before MPI_Finalize, during which an abort would go unnoticed and a wait would spin. It also works around a hang: with TCP
// through UCX 1.12 or later, MPICH's MPI_Finalize may never return. There, a rank asks every rank that it has sent to for an
// acknowledgement, answers such requests until its own are answered, and then answers no more. Therefore
//
//   - messages run in both directions between any two ranks that may have communicated (collectives send to ranks ±2ᵏ away), among all
//     ranks and among leaders: then each side has a request of its own open and keeps answering;
//   - no rank enters MPI_Finalize while another still polls in this barrier, where it would answer without having asked: all ranks leave
//     MPI alone for a moment.
lte_result lte_finish(void) {
	if (leaders != MPI_COMM_NULL) {
		RETURN_UNLESS_OK(exchange_acks(leaders));
		TRY("MPI_Comm_free", MPI_Comm_free(&leaders));
	}
	RETURN_UNLESS_OK(exchange_acks(world));
	TRY("MPI_Comm_free", MPI_Comm_free(&node));
	TRY("MPI_Comm_free", MPI_Comm_free(&world));
#ifdef MPICH_VERSION
	if (topology.nodes > 1)
		sleep_ns(250 * MS);
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
