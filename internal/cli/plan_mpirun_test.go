//go:build mpirun

package cli_test

import (
	"strings"
	"testing"

	"lte/internal/ltetest"
)

// Ranks side by side measure, and one of them says what comes of it; without a launcher a single one does. Fails if a rank waits
// for another, or all print.
func TestPlanMeasures(t *testing.T) {
	t.Parallel()
	for _, ranks := range []int{1, 2} {
		out, code := ltetest.Run(t, ranks, "plan", "--ranks-per-node", "2", "--json")
		if code != 0 || strings.Count(out, `"kind":"plan"`) != 4 {
			t.Errorf("%d ranks: exit code %d\n%s", ranks, code, out)
		}
		if out, code := ltetest.Run(t, ranks, "plan", "--set", "exchange.transport=post"); code == 0 || strings.Count(out, "must be one of") != 1 {
			t.Errorf("%d ranks, a mistake: exit code %d\n%s", ranks, code, out)
		}
	}
}
