//go:build mpirun

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lte/internal/ltetest"
	"lte/internal/session"
)

// The experiment shares its heads out among the ranks, and repeats nothing.
func TestExperimentOnRanks(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	args := []string{"experiment", "observations", "--out", dir, "--quiet", "--heads", "4", "--batch", "16", "--rank", "4", "--images", "64",
		"--set", "model.depth=1", "--set", "model.width=16", "--set", "model.mlp=16", "--set", "train.eval_batch=360", "--only", "full,lte"}
	out, code := ltetest.Run(t, 2, args...)
	if code != 0 || strings.Count(out, "/9, ") != 4 || !strings.Contains(out, "5   not measured:") {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	if s := ltetest.Summary(t, filepath.Join(dir, "lte-1")); s.Heads != 4 || s.Ranks != 2 || s.Images != 64 || s.BytesSentPerRank == 0 {
		t.Errorf("%+v", s)
	}
	if out, code := ltetest.Run(t, 2, args...); code != 0 || strings.Count(out, "already finished") != 2 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	for want, wrong := range map[string][]string{
		"--heads 3 cannot be shared out among 2 ranks":  {"--heads", "3"},
		"holds a finished run of another configuration": {"--set", "optimizer.beta1=0.5"},
	} {
		if out, code := ltetest.Run(t, 2, append(args, wrong...)...); code != session.ExitUsage || strings.Count(out, want) != 1 {
			t.Errorf("exit code %d, want %d and once %q\n%s", code, session.ExitUsage, want, out)
		}
	}
}

// A search for a learning rate tries neighbouring rates until the best has a worse one on both sides, on images of the training split, and repeats
// nothing. Fails if the test images are evaluated on, a rate is tried twice, or ranks disagree on the next one.
func TestRatesOnRanks(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	args := append([]string{"experiment", "rates", "--out", dir, "--quiet", "--factor", "1000"}, ltetest.Quick("--set", "optimizer.lr=0.01", "--set", "train.steps=300")...)
	out, code := ltetest.Run(t, 2, args...)
	if code != 0 || strings.Count(out, ": 300 steps") != 3 || strings.Count(out, "best: optimizer.lr=0.01, ") != 1 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "rates.csv"))
	if lines := strings.Split(string(text), "\n"); err != nil || len(lines) != 5 || !strings.HasPrefix(lines[2], "10,1,") || !strings.HasSuffix(lines[3], ",false,lr-1e-05-1") {
		t.Errorf("%v: %s", err, text)
	}
	config, err := os.ReadFile(filepath.Join(dir, "lr-0.01-1", "config.toml"))
	if err != nil || !strings.Contains(string(config), "\nvalidation_fraction = 0.1") {
		t.Errorf("%v: not on validation images:\n%s", err, config)
	}
	again, code := ltetest.Run(t, 2, args...)
	if code != 0 || strings.Count(again, "already finished") != 3 {
		t.Errorf("exit code %d\n%s", code, again)
	}
	for want, wrong := range map[string][]string{
		"--factor must be above 1":                      {"--factor", "1"},
		"holds a finished run of another configuration": {"--set", "optimizer.beta1=0.5"},
	} {
		if out, code := ltetest.Run(t, 2, append(args, wrong...)...); code != session.ExitUsage || strings.Count(out, want) != 1 {
			t.Errorf("exit code %d, want %d and once %q\n%s", code, session.ExitUsage, want, out)
		}
	}
}

// Bad input is answered once, not once a rank, with its own exit code, and leaves nothing behind. Fails if every rank prints, or if the run
// directory is made before the data are open.
func TestBadInputOnRanks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	used := filepath.Join(dir, "used")
	if err := os.Mkdir(used, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(used, "metrics.jsonl"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "x.tar")
	if err := os.WriteFile(damaged, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		text string
	}{
		"unknown key":   {[]string{"--set", "lora.rnk=3"}, session.ExitUsage, `unknown key "lora.rnk"; did you mean "lora.rank"?`},
		"width":         {[]string{"--set", "model.width=65"}, session.ExitUsage, "model.width must be a multiple of model.heads"},
		"patch":         {[]string{"--set", "model.patch=9"}, session.ExitUsage, "model.patch = 9 is larger than the images"},
		"batch":         {[]string{"--set", "train.batch=0"}, session.ExitUsage, "train.batch must be at least 1"},
		"rank":          {[]string{"--set", "lora.rank=65"}, session.ExitUsage, "lora rank 65 is larger than layer"},
		"flag":          {[]string{"--nonsense"}, session.ExitUsage, "unknown flag --nonsense"},
		"progress":      {[]string{"--quiet", "--progress", "bar"}, session.ExitUsage, "--quiet and --progress bar contradict each other"},
		"run directory": {[]string{"--run-dir", used}, session.ExitUsage, "holds a run already"},
		"no folder":     {[]string{"--run-dir", "/dev/null/x"}, session.ExitUsage, "cannot make the run directory"},
		"damaged data":  {[]string{"--run-dir", filepath.Join(dir, "none"), "--set", "data.path=" + damaged}, session.ExitFailed, `x.tar": an empty file`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, code := ltetest.Run(t, 2, ltetest.Quick(c.args...)...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if n := strings.Count(out, c.text); n != 1 {
				t.Errorf("%q is printed %d times, want once:\n%s", c.text, n, out)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("a run directory without a run")
	}
}
