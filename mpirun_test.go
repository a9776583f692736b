//go:build mpirun

package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lte/mpi/mpitest"
	"lte/record"

	"github.com/nlpodyssey/safetensors"
)

// quick is a small run: a second on two cores.
var quick = []string{"--set", "train.steps=40", "--set", "schedule.warmup=5", "--set", "model.depth=1", "--set", "run.eval_every=0"}

// lte runs the program on n ranks and returns what it printed and the launcher's exit code.
func lte(t *testing.T, n int, mode string, args ...string) (string, int) {
	t.Helper()
	out, err := mpitest.Launch(t, n, []string{asMain + "=" + mode}, append([]string{os.Args[0]}, args...)...)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return out, exit.ExitCode()
	} else if err != nil {
		t.Fatalf("lte %v: %v\n%s", args, err, out)
	}
	return out, 0
}

func summary(t *testing.T, dir string) (s record.Summary) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "summary.json"))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The same seed gives the same weights, another seed others; a run is repeated by its own config.toml; both methods
// write a whole run directory. Fails if anything in a run depends on the clock or on timing.
func TestRunsOnRanks(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, args := range map[string][]string{
		"first": quick,
		"other": append([]string{"--seed", "2"}, quick...),
		"full":  append([]string{"--set", "method=full"}, quick...),
	} {
		if out, code := lte(t, 4, "train", append(args, "--run-dir", at(name))...); code != 0 {
			t.Fatalf("%s: exit code %d\n%s", name, code, out)
		}
	}
	if out, code := lte(t, 4, "train", "--config", at("first/config.toml"), "--run-dir", at("repeat")); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	first, other, full, repeat := summary(t, at("first")), summary(t, at("other")), summary(t, at("full")), summary(t, at("repeat"))
	if first.WeightsDigest != repeat.WeightsDigest || first.WeightsDigest == other.WeightsDigest {
		t.Errorf("digests: first %s, the same again %s, another seed %s", first.WeightsDigest, repeat.WeightsDigest, other.WeightsDigest)
	}
	if first.Merges != 4 || first.Heads != 4 || first.Ranks != 4 || first.Images != 40*16*4 || first.LoRAAlpha != 32*4 || full.Merges != 0 {
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

// The experiment shares its heads out among the ranks, and repeats nothing.
func TestExperimentOnRanks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	args := []string{"experiment", "observations", "--out", dir, "--quiet", "--heads", "4", "--batch", "16", "--rank", "4", "--images", "64",
		"--set", "model.depth=1", "--set", "model.width=16", "--set", "model.mlp=16", "--set", "train.eval_batch=360", "--only", "full,lte"}
	out, code := lte(t, 2, "train", args...)
	if code != 0 || strings.Count(out, "/9, ") != 4 || !strings.Contains(out, "5   not measured:") {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	if s := summary(t, filepath.Join(dir, "lte-1")); s.Heads != 4 || s.Ranks != 2 || s.Images != 64 || s.BytesSentPerRank == 0 {
		t.Errorf("%+v", s)
	}
	if out, code := lte(t, 2, "train", args...); code != 0 || strings.Count(out, "finished before") != 2 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	for want, wrong := range map[string][]string{
		"--heads 3 cannot be shared out among 2 ranks":  {"--heads", "3"},
		"holds a finished run of another configuration": {"--set", "optimizer.beta1=0.5"},
	} {
		if out, code := lte(t, 2, "train", append(args, wrong...)...); code != usage || strings.Count(out, want) != 1 {
			t.Errorf("exit code %d, want %d and once %q\n%s", code, usage, want, out)
		}
	}
}

// Bad input is answered once, not once a rank, with its own exit code, and leaves nothing behind. Fails if every rank prints, or if the run
// directory is made before the data are open.
func TestBadInputOnRanks(t *testing.T) {
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
		"unknown key":   {[]string{"--set", "lora.rnk=3"}, usage, `unknown key "lora.rnk"; did you mean "lora.rank"?`},
		"width":         {[]string{"--set", "model.width=65"}, usage, "model.width must be a multiple of model.heads"},
		"patch":         {[]string{"--set", "model.patch=9"}, usage, "model.patch = 9 is larger than the images"},
		"batch":         {[]string{"--set", "train.batch=0"}, usage, "train.batch must be at least 1"},
		"rank":          {[]string{"--set", "lora.rank=65"}, usage, "lora rank 65 is larger than layer"},
		"flag":          {[]string{"--nonsense"}, usage, "unknown flag --nonsense"},
		"progress":      {[]string{"--quiet", "--progress", "bar"}, usage, "--quiet and --progress bar contradict one another"},
		"run directory": {[]string{"--run-dir", used}, usage, "holds a run already"},
		"no folder":     {[]string{"--run-dir", "/dev/null/x"}, usage, "cannot make the run directory"},
		"damaged data":  {[]string{"--run-dir", filepath.Join(dir, "none"), "--set", "data.path=" + damaged}, failed, `x.tar": an empty file`},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := lte(t, 4, "train", append(c.args, quick...)...)
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

// A loss that is not finite stops the run, names step and rank once, and leaves the weights of the last merge.
func TestNonFiniteOnRanks(t *testing.T) {
	for _, method := range []string{"lte", "full"} {
		dir := filepath.Join(t.TempDir(), "run")
		out, code := lte(t, 3, "train", append([]string{"--run-dir", dir, "--set", "method=" + method, "--set", "optimizer.lr=1e30",
			"--set", "optimizer.name=sgd", "--set", "optimizer.clip_norm=0"}, quick...)...)
		if code != failed {
			t.Errorf("%s: exit code %d, want %d\n%s", method, code, failed, out)
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
// if launch does not abort the job.
func TestPanicEndsTheJob(t *testing.T) {
	out, code := lte(t, 3, "panic")
	if code == 0 {
		t.Error("exit code 0")
	}
	if !strings.Contains(out, "rank 1/3 ") || !strings.Contains(out, "index out of range") {
		t.Errorf("rank and cause are missing:\n%s", out)
	}
}
