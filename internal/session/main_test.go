package session_test

import (
	"os"
	"testing"

	"lte/internal/ltetest"
	"lte/internal/session"
	"lte/mpi"
)

const panics = "LTE_TEST_PANIC" // in the ranks of TestPanicEndsTheJob

// TestMain is also a process that holds a lock, a rank that panics, and lte.
func TestMain(m *testing.M) {
	session.HoldLock()
	if os.Getenv(panics) != "" {
		os.Exit(session.Launch(os.Stderr, panicOnRank1))
	}
	ltetest.Main(m)
}

// panicOnRank1 leaves the other ranks waiting in a barrier.
func panicOnRank1(w *mpi.World) error {
	if w.Rank() == 1 {
		var none []int
		_ = none[w.Rank()]
	}
	return w.Barrier()
}
