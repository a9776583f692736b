// What package mpi needs of MPI beyond gompi. Every function but lte_request_abort and lte_library runs on the MPI thread.
#ifndef LTE_MPI_H
#define LTE_MPI_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

// An MPI return code (0 is success) and the name of the call that returned it.
typedef struct {
	int code;
	const char *call;
} lte_result;

// This rank's position. The ranks of a node have consecutive numbers.
typedef struct {
	int rank, size;
	int node_rank, node_size, nodes;
} lte_topology;

// Shared memory by which the ranks of a node synchronize; all 0 at first.
typedef struct {
	_Atomic unsigned arrived; // ranks that have reached the current barrier
	_Atomic unsigned round;   // barriers completed
	char staging[1 << 20];    // buffer of small collectives
} lte_node_sync;

void lte_signals_save(void);
void lte_signals_restore(void);

lte_result lte_start(lte_topology *dst);
void lte_use_node_sync(lte_node_sync *node_sync); // later collectives use it
void lte_unshare_node(void);                      // later collectives treat every rank as a node
void lte_set_waiting(bool yield, bool barrier);   // yield may differ by machine, barrier not; both are true before the first call
lte_result lte_finish(void);                      // called by all ranks before MPI_Finalize
lte_result lte_barrier(void);
lte_result lte_allgather(void *dst, const void *src, int bytes);
lte_result lte_alltoall(void *dst, const void *src, int bytes);           // bytes of a block
lte_result lte_allgather_shared(void *dst, const void *src, int bytes);   // dst is shared memory of the node
lte_result lte_alltoall_shared(void *recv, const void *send, int bytes); // both are shared memory of the node
lte_result lte_node_barrier(void);
lte_result lte_node_allgather(void *dst, const void *src, int bytes); // among the ranks of the node

void lte_request_abort(int code);  // any thread
void lte_abort_if_requested(void); // ends the job after lte_request_abort

void lte_error_text(int code, char *dst, size_t size);
void lte_library(char *dst, size_t size); // also before MPI_Init

#endif
