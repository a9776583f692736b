package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lte/internal/ltetest"
	"lte/internal/session"
)

// Fails if what no memory holds is begun, or refused by anything but one line that names the key, what is needed and what is there, or
// not at once.
func TestWhatDoesNotFitIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	train := func(set ...string) []string {
		args := []string{"train", "--run-dir", dir}
		for _, s := range set {
			args = append(args, "--set", s)
		}
		return args
	}
	big := "model.width=65536"
	for _, c := range []struct {
		args []string
		want string // the beginning of the line
		end  string // of it
	}{
		{train("train.batch=1048576"), "train.batch = 1048576 needs ", "lower train.batch or raise train.accumulate"},
		{train("train.eval_batch=1048576"), "train.eval_batch = 1048576 needs ", "lower train.eval_batch"},
		{train(big), "model.width = 65536 needs ", "lower model.width"},
		{train(big, "method=full"), "model.width = 65536 needs ", "lower model.width"},
		{train(big, "model.depth=1024", "model.mlp=262144"), "model.", ""},
		{train("model.depth=1024", big), "model.", ""},
		{train("lora.heads=1048576"), "lora.heads = 1048576 needs ", "lower lora.heads"},
		{train("method=mhlora", "lora.heads=1048576"), "lora.heads = 1048576 needs ", "lower lora.heads"},
		{train("data.path=nowhere", "data.size=16384"), "data.size = 16384 needs ", ""}, // before the data set is opened
		{train("data.kind=synthetic", "model.patch=32", "synthetic.height=16384", "synthetic.width=16384"), "synthetic.height and synthetic.width = 16384 needs ", ""},
		{train("data.kind=synthetic", "model.patch=32", "model.width=1024", "synthetic.classes=1000000", "train.batch=16384"), "", ""},
		{[]string{"bench", "gemm", "--batch", "1000000"}, "--batch 1000000 needs ", ""},
		{[]string{"bench", "step", "--batch", "1000000"}, "--batch 1000000 needs ", ""},
		{[]string{"bench", "step", "--image", "16384"}, "--image 16384 needs ", ""},
		{[]string{"bench", "merge", "--model", "", "--image", "32", "--set", big}, "model.width = 65536 needs ", ""},
		{[]string{"bench", "data", "--batch", "1000000"}, "--batch 1000000 needs ", ""},
		{[]string{"bench", "data", "--batch", "1000000", "--steps", "0"}, "--batch 1000000 needs ", ""},
		{[]string{"plan", "--set", big}, "model.width = 65536 needs ", "set the speed of a rank with --images-per-second"},
		{[]string{"experiment", "observations", "--out", dir, "--only", "full", "--set", big}, dir + "/full-1: model.width = 65536 needs ", ""},
	} {
		cmd := ltetest.Command(c.args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		began := time.Now()
		_ = cmd.Run() // the exit code tells
		line, more, _ := strings.Cut(stderr.String(), "\n")
		if code := cmd.ProcessState.ExitCode(); code != session.ExitUsage || more != "" || !strings.HasPrefix(line, "lte: "+c.want) || !strings.HasSuffix(line, c.end) ||
			!strings.Contains(line, " is available (") {
			t.Errorf("lte %q: exit code %d, %q; want %q … %q", c.args, code, stderr.String(), c.want, c.end)
		}
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("lte %q: %v", c.args, d)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Fatalf("lte %q has made its run directory", c.args)
		}
	}
}

// Flags and variables that ask for more than there can be. Fails if one is heard.
func TestSizesOfFlags(t *testing.T) {
	for _, c := range []struct {
		env, want string
		args      []string
	}{
		{"", "compute.threads must be at least 0 and at most 4096, not 1000000000", []string{"--set", "compute.threads=1000000000"}},
		{"", "compute.threads must be at least 0 and at most 4096, not 1000000000", []string{"bench", "step", "--threads", "1000000000"}},
		{"", "compute.threads = 4096: at most", []string{"--set", "compute.threads=4096"}},
		{"", "--threads 4096: at most", []string{"bench", "gemm", "--threads", "4096"}},
		{"OMP_NUM_THREADS=1000000000", "OMP_NUM_THREADS=1000000000: at most", []string{"--set", "train.steps=100"}},
		{"", "--image must be at least 1 and at most 16384", []string{"bench", "step", "--image", "100000000000"}},
		{"", "--classes must be at least 1 and at most 1000000", []string{"bench", "step", "--classes", "4611686018427387904"}},
		{"", "--steps must be at least 1 and at most 1000000000", []string{"bench", "step", "--steps", "4611686018427387904"}},
		{"", "--warmup must be at least 0", []string{"bench", "step", "--warmup=-1"}},
		{"", "--steps must be at least 0", []string{"bench", "data", "--steps=-1"}},
		{"", "--images must be at least 0", []string{"bench", "data", "--images", "4611686018427387904"}},
		{"", "train.batch must be at least 1 and at most 1048576", []string{"bench", "step", "--batch", "4000000000000"}},
		{"", "--bytes must be at least 4 and at most 1073741824", []string{"bench", "wait", "--bytes", "1000000000000"}},
		{"", "--work must be at least 1ns and at most 1h0m0s", []string{"bench", "wait", "--work", "1000000h"}},
		{"", "--rounds must be at least 1 and at most 1000000", []string{"bench", "wait", "--rounds", "1000000000000"}},
		{"", "--blocks must be at least 1 and at most 1073741824", []string{"bench", "messages", "--blocks", "8,1000000000000"}},
		{"", "--rounds must be at least 1 and at most 1000000", []string{"bench", "messages", "--rounds", "1000000000000"}},
		{"", "--seeds must be at least 1 and at most 100", []string{"experiment", "observations", "--list", "--seeds", "1000000000000"}},
		{"", "--images must be at least 1 and at most", []string{"experiment", "observations", "--list", "--images", "4611686018427387904"}},
		{"", "--ranks must be at least 1 and at most 1048576", []string{"experiment", "observations", "--list", "--ranks", "4611686018427387904"}},
		{"", "run.time_limit must be at least 0 and at most 1e7", []string{"--time-limit", "2000000h"}},
	} {
		cmd := ltetest.Command(c.args...)
		cmd.Env = append(cmd.Env, c.env)
		out, _ := cmd.CombinedOutput() // the exit code tells
		if code := cmd.ProcessState.ExitCode(); code != session.ExitUsage || !strings.Contains(string(out), c.want) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s lte %q: exit code %d, %q; want %q", c.env, c.args, code, out, c.want)
		}
	}
}
