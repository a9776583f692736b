//go:build mpirun

package cli_test

import (
	"path/filepath"
	"strings"
	"testing"

	"lte/internal/ltetest"
	"lte/internal/session"
)

// A run that does not fit is refused once, by all ranks, with the memory of the machine shared out among them. Fails if a rank is left
// waiting, or the others' part of the memory counts as free.
func TestWhatDoesNotFitIsRefusedOnRanks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		text string
	}{
		"train":      {[]string{"--run-dir", filepath.Join(t.TempDir(), "run"), "--set", "train.batch=1048576"}, "train.batch = 1048576 needs "},
		"merge":      {[]string{"bench", "merge", "--model", "", "--image", "32", "--set", "model.width=65536"}, "model.width = 65536 needs "},
		"plan":       {[]string{"plan", "--set", "model.width=65536"}, "model.width = 65536 needs "},
		"experiment": {[]string{"experiment", "observations", "--only", "full", "--set", "model.width=65536", "--out", filepath.Join(t.TempDir(), "out")}, "model.width = 65536 needs "},
		"threads":    {[]string{"--set", "compute.threads=4096"}, "compute.threads = 4096: at most"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, code := ltetest.Run(t, 2, c.args...)
			if code != session.ExitUsage || strings.Count(out, c.text) != 1 {
				t.Errorf("exit code %d, want %d, and %q once:\n%s", code, session.ExitUsage, c.text, out)
			}
			if name != "threads" && (!strings.Contains(out, " on each of 2 ranks (") || !strings.Contains(out, " is available to each (")) {
				t.Errorf("not of each rank:\n%s", out)
			}
		})
	}
}
