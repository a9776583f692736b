//go:build mpirun

package session_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lte/internal/ltetest"
	"lte/internal/session"
	"lte/mpi/mpitest"

	"github.com/nlpodyssey/safetensors"
)

// The same seed gives the same weights, another seed others; a run is repeated by its own config.toml; both methods
// write a whole run directory. Fails if anything in a run depends on the clock or on timing.
func TestRunsOnRanks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	sized := ltetest.Quick("--set", "model.width=64", "--set", "model.mlp=256", "--set", "lora.rank=16")
	ltetest.Train(t, 2, at("first"), sized...)
	ltetest.Train(t, 2, at("other"), append(sized, "--seed", "2")...)
	ltetest.Train(t, 2, at("full"), append(sized, "--set", "method=full")...)
	ltetest.Train(t, 2, at("repeat"), "--config", at("first/config.toml"))
	first, other, full, repeat := ltetest.Summary(t, at("first")), ltetest.Summary(t, at("other")), ltetest.Summary(t, at("full")), ltetest.Summary(t, at("repeat"))
	if first.WeightsDigest != repeat.WeightsDigest || first.WeightsDigest == other.WeightsDigest {
		t.Errorf("digests: first %s, the same again %s, another seed %s", first.WeightsDigest, repeat.WeightsDigest, other.WeightsDigest)
	}
	if first.Merges != 4 || first.Heads != 2 || first.Ranks != 2 || first.Images != 40*16*2 || first.LoRAAlpha != 32*2 || full.Merges != 0 {
		t.Errorf("summary: %+v", first)
	}
	if first.BytesSentPerRank <= 0 || first.BytesSentPerRank*4 > full.BytesSentPerRank {
		t.Errorf("lte sent %d bytes, full %d", first.BytesSentPerRank, full.BytesSentPerRank)
	}
	// Of full, gradient averaging is nearly all that is sent.
	if ratio := float64(full.BytesSentPerRank) / float64(full.DDPBytesPerRank); ratio < 1 || ratio > 1.02 {
		t.Errorf("full sent %d bytes, gradient averaging alone is %d", full.BytesSentPerRank, full.DDPBytesPerRank)
	}
	for _, file := range []string{"config.toml", "metrics.jsonl", "summary.json", "model.safetensors", "events.out.tfevents.*"} {
		if found, _ := filepath.Glob(at("full/" + file)); len(found) != 1 {
			t.Errorf("full run directory: %d × %s", len(found), file)
		}
	}
}

// A loss that is not finite stops the run, names step and rank once, and leaves the weights of the last merge.
func TestNonFiniteOnRanks(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"lte", "full"} {
		dir := filepath.Join(t.TempDir(), "run")
		out, code := ltetest.Run(t, 2, ltetest.Quick("--run-dir", dir, "--set", "method="+method, "--set", "optimizer.lr=1e30",
			"--set", "optimizer.name=sgd", "--set", "optimizer.clip_norm=0")...)
		if code != session.ExitFailed {
			t.Errorf("%s: exit code %d, want %d\n%s", method, code, session.ExitFailed, out)
		}
		if n := len(regexp.MustCompile(`not finite at step \d+ on rank \[0`).FindAllString(out, -1)); n != 1 {
			t.Errorf("%s: the cause is printed %d times, want once:\n%s", method, n, out)
		}
		file, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		tensors, err := safetensors.Deserialize(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range tensors.Names() {
			view, _ := tensors.Tensor(name)
			for b := view.Data(); len(b) > 0; b = b[4:] {
				if b[3]&0x7f == 0x7f && b[2]&0x80 != 0 { // exponent all ones
					t.Fatalf("%s: %s was saved with a number that is not finite", method, name)
				}
			}
		}
	}
}

// A panic in one rank ends the others, which wait in a barrier: the cause and the rank are printed. Fails, by time,
// if Launch does not abort the job.
func TestPanicEndsTheJob(t *testing.T) {
	t.Parallel()
	out, err := mpitest.Launch(t, 3, []string{panics + "=1"}, os.Args[0])
	if err == nil {
		t.Error("exit code 0")
	}
	if !strings.Contains(out, "rank 1/3 ") || !strings.Contains(out, "index out of range") {
		t.Errorf("rank and cause are missing:\n%s", out)
	}
}
