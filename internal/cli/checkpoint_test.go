package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lte/checkpoint"
	"lte/internal/quote"
	"lte/internal/session"
)

// Fails if text of a checkpoint begins a line of its own or reaches a terminal as anything but text, or if one that is not valid is not
// said to be, or leaves the exit code 0.
func TestInspectOfAnyCheckpoint(t *testing.T) {
	const odd = "odd\nlte: \x1b[2J\u202e"
	dir := t.TempDir()
	s := checkpoint.Open(dir, 9, false)
	var x int
	shared, err := s.WriteShared(5, []checkpoint.Tensor{checkpoint.Int(odd, &x)})
	if err != nil {
		t.Fatal(err)
	}
	own, err := s.WriteRank(5, 0, []checkpoint.Tensor{checkpoint.Int("x", &x)})
	if err != nil {
		t.Fatal(err)
	}
	m := checkpoint.Manifest{Version: odd, Step: 5, Ranks: 1, Run: []byte(`{"method": "odd\nlte: \u001b[2J", "seconds": 1e9}`), Config: "seed = 1\n# \x1b[2J\n", Parts: []checkpoint.File{shared, own}}
	if err := s.Commit(m, true); err != nil {
		t.Fatal(err)
	}
	inspect := func(want int) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := run([]string{"checkpoint", "inspect", dir, "--tensors", "--config"}, &stdout, &stderr); code != want {
			t.Errorf("exit code %d, want %d: %s%s", code, want, stdout.String(), stderr.String())
		}
		for line := range strings.Lines(stdout.String()) {
			if line = strings.TrimSuffix(line, "\n"); quote.Text(line) != line || strings.HasPrefix(line, "lte: ") {
				t.Errorf("a line is %q", line)
			}
		}
		return stdout.String()
	}
	text := inspect(0)
	for _, want := range []string{": valid (latest, best)\n", `by version odd\nlte: \x1b[2J\u202e` + "\n", `  odd\nlte: \x1b[2J, `, `    odd\nlte: \x1b[2J\u202e`, "1 tensors, valid\n", "\nseed = 1\n# \\x1b[2J\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	m.Ranks = 1 << 40
	if err := s.Commit(m, false); err != nil {
		t.Fatal(err)
	}
	if text := inspect(session.ExitFailed); !strings.Contains(text, ": INVALID (latest, best)\n  manifest.json: 1099511627776 ranks and 2 parts: expected ") {
		t.Error(text)
	}
	m.Ranks, m.Run = 1, []byte(`{"heads": -1}`)
	if err := s.Commit(m, false); err != nil {
		t.Fatal(err)
	}
	if text := inspect(session.ExitFailed); !strings.Contains(text, ": INVALID (latest, best)\n  reading the description of the run in the checkpoint of step 5: \"heads\" is -1: ") {
		t.Error(text)
	}
	if err := os.Truncate(filepath.Join(s.Path(5), "shared.safetensors"), 9); err != nil {
		t.Fatal(err)
	}
	if text := inspect(session.ExitFailed); !strings.Contains(text, `"heads" is -1`) || !strings.Contains(text, "shared.safetensors has 9 bytes, and ") {
		t.Error(text)
	}
}
