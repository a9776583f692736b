// What package mpi asks of MPI beyond gompi. Every function but lte_abort_ask and lte_library runs on the MPI thread.
#ifndef LTE_MPI_H
#define LTE_MPI_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// An MPI return code (0 is success) and the name of the call that gave it.
typedef struct {
	int code;
	const char *call;
} lte_result;

// Where this rank is. Ranks of a node follow one another.
typedef struct {
	int rank, size;
	int node_rank, node_size, nodes;
} lte_place;

// Where a node's ranks meet: its shared memory, all 0 at first.
typedef struct {
	_Atomic unsigned arrived; // at the present barrier
	_Atomic unsigned round;   // barriers passed
	char board[1 << 20];      // for small messages of all
} lte_hall;

void lte_signals_save(void);
void lte_signals_restore(void);

lte_result lte_start(lte_place *dst);
void lte_enter(lte_hall *hall); // from now on ranks of a node meet there
void lte_separate(void);        // from now on every rank is a node of its own
void lte_waiting(bool sleepy, bool gathering); // sleepy on this machine, gathering alike on all ranks; true before it is called
int lte_affinity(uint64_t *dst, int words);    // a bit for each core of this process; the number of words, 0 if unknown
lte_result lte_leave(void); // all ranks; MPI_Finalize comes next
lte_result lte_barrier(void);
lte_result lte_allgather(void *dst, const void *src, int bytes);
lte_result lte_alltoall(void *dst, const void *src, int bytes); // of a block
lte_result lte_allgather_shared(void *dst, const void *src, int bytes); // dst is memory of the node
lte_result lte_alltoall_shared(void *comes, const void *rows, int bytes); // both are memory of the node
lte_result lte_node_barrier(void);
lte_result lte_node_allgather(void *dst, const void *src, int bytes); // among a node's ranks

void lte_abort_ask(int code);  // any thread
void lte_abort_if_asked(void); // ends the job when lte_abort_ask came before

void lte_error_text(int code, char *dst, size_t size);
void lte_library(char *dst, size_t size); // also before MPI_Init

#endif
