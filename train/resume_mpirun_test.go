//go:build mpirun

package train

import (
	"os"
	"strings"
	"testing"

	"lte/collective"
	"lte/mpi"
	"lte/mpi/mpitest"
)

func TestResumeOnRanks(t *testing.T) {
	mpitest.Run(t, []int{2}, func(t *testing.T, w *mpi.World) {
		dir := commonDir(t, w)
		goOn(t, w, dir, 4, 6)
		madeLonger(t, w, dir, "lte, replicas", "lte, measured")
	})
}

// commonDir is a folder of rank 0's, on all ranks.
func commonDir(t *testing.T, w collective.Group) string {
	t.Helper()
	const length = 256
	var mine [length]byte
	if w.Rank() == 0 {
		dir := t.TempDir()
		copy(mine[:], dir)
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	all := make([]byte, length*w.Size())
	must(t, w.Allgather(all, mine[:]))
	t.Cleanup(func() { _ = w.Barrier() })
	return strings.TrimRight(string(all[:length]), "\x00")
}
