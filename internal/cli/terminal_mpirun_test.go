//go:build mpirun

package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lte/internal/ltetest"
)

// inTerminal makes later launches of the test happen in a terminal of so many columns; more goes to the launcher's command line.
func inTerminal(t *testing.T, columns int, more string) {
	t.Helper()
	wrapper := filepath.Join(t.TempDir(), "terminal")
	text := fmt.Sprintf("#!/bin/sh\nSHELL=/bin/sh exec script -qec \"stty cols %d; exec $* %s\" /dev/null </dev/null\n", columns, more)
	if err := os.WriteFile(wrapper, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	mpirun := os.Getenv("LTE_MPIRUN")
	if mpirun == "" {
		mpirun = "mpirun"
	}
	t.Setenv("LTE_MPIRUN", wrapper+" "+mpirun)
}

// frames are what the bar's line held, one after another; of the other lines there are none that tell of progress. Fails if there is
// not one such line.
func frames(t *testing.T, out string, columns int) []string {
	t.Helper()
	var bars [][]string
	for line := range strings.Lines(out) {
		shown := strings.Split(strings.Trim(line, "\r\n"), "\r")
		for _, frame := range shown {
			if n := len([]rune(frame)); strings.Contains(frame, "|") && n >= columns {
				t.Errorf("%d of %d columns: %q", n, columns, frame)
			}
		}
		switch {
		case strings.HasPrefix(line, "step "):
			t.Errorf("a line beside the bar: %q", line)
		case slices.ContainsFunc(shown, func(s string) bool { return strings.Contains(s, "%") && strings.Contains(s, "|") }):
			bars = append(bars, shown)
		}
	}
	if len(bars) != 1 {
		t.Fatalf("%d lines with a bar:\n%q", len(bars), out)
	}
	return bars[0]
}

// A launcher in a terminal shows the bar of its ranks: one line, changed in place, that fits. Fails if ranks look at their own
// standard error alone, which is a pipe.
func TestProgressUnderALauncherInATerminal(t *testing.T) {
	for _, columns := range []int{64, 120} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			inTerminal(t, columns, "")
			out, code := ltetest.Run(t, 2, ltetest.Quick("--run-dir", filepath.Join(t.TempDir(), "run"))...)
			if code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			bar := frames(t, out, columns)
			if last := bar[len(bar)-1]; len(bar) < 3 || !strings.Contains(last, "100%") || !strings.Contains(last, "(40/40)") {
				t.Errorf("%d frames, the last one %q", len(bar), last)
			}
			if !strings.Contains(out, "run directory") {
				t.Errorf("no table:\n%s", out)
			}
		})
	}
}

// Where the launcher's standard error goes elsewhere there are lines, as there are where they are asked for.
func TestProgressIsLinesElsewhere(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	for name, c := range map[string]struct {
		terminal bool
		more     string // of the launcher's command line
		args     []string
		file     string
	}{
		"a file":                {true, "2>" + log, nil, log},
		"a pipe":                {false, "", nil, ""},
		"asked for":             {true, "", []string{"--progress", "lines"}, ""},
		"a pipe and asked for":  {false, "", []string{"--progress", "lines"}, ""},
		"a file, but not auto":  {true, "2>" + log, []string{"--progress", "bar"}, ""},
		"a pipe, but not auto":  {false, "", []string{"--progress", "bar"}, ""},
		"a terminal, but quiet": {true, "", []string{"--quiet"}, ""},
		"a terminal, but none":  {true, "", []string{"--progress", "none"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.terminal {
				inTerminal(t, 100, c.more)
			}
			args := ltetest.Quick(append(c.args, "--set", "compute.threads=1", "--run-dir", filepath.Join(t.TempDir(), "run"))...)
			out, code := ltetest.Run(t, 1, args...)
			if code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			if c.more != "" {
				text, err := os.ReadFile(log)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(out, "images/s  top-1") {
					t.Errorf("progress in the terminal:\n%q", out)
				}
				out = string(text)
			}
			lines, bars := strings.Contains(out, "step 40/40  loss "), strings.Contains(out, "40/40) [")
			silent := slices.Contains(c.args, "--quiet") || slices.Contains(c.args, "none")
			forced := slices.Contains(c.args, "bar")
			if lines != !silent && !forced || bars != forced {
				t.Errorf("lines %v, a bar %v:\n%q", lines, bars, out)
			}
		})
	}
}
