package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lte/config"
	"lte/mpi"
	"lte/mpi/mpitest"
)

// The test binary is lte itself when asMain is set: the tests run the real program, on real ranks in mpirun_test.go.
const asMain = "LTE_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	switch os.Getenv(asMain) {
	case "train":
		prepareFaults()
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	case "panic":
		os.Exit(launch(os.Stderr, panicOnRank1))
	}
	mpitest.Main(m)
}

// panicOnRank1 leaves the other ranks waiting in a barrier.
func panicOnRank1(w *mpi.World) error {
	if w.Rank() == 1 {
		var none []int
		_ = none[w.Rank()]
	}
	return w.Barrier()
}

// A command that needs no ranks: exit code, and what is on standard output and standard error.
func TestCommands(t *testing.T) {
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string // a part of it
	}{
		{[]string{"version"}, 0, "compute: ", ""},
		{[]string{"config", "--set", "lora.rank=7"}, 0, "rank = 7", ""},
		{[]string{"config", "--seed", "5"}, 0, "seed = 5", ""},
		{[]string{"config", "--set", "lora.rnk=7"}, usage, "", `unknown key "lora.rnk"; did you mean "lora.rank"?`},
		{[]string{"config", "--config", "nowhere.toml"}, usage, "", "nowhere.toml: no such file"},
		{[]string{"--nonsense"}, usage, "", "unknown flag --nonsense"},
		{[]string{"bench", "gemm", "--model", "", "--image", "8", "--steps", "1", "--json"}, 0, `{"kind":"roofline","model":"vit-64x4/2",`, ""},
		{[]string{"bench", "gemm", "--steps", "0"}, usage, "", "--steps must be at least 1 and at most 1000000000, not 0"},
		{[]string{"bench", "step", "--rank", "0"}, usage, "", "lora.rank must be at least 1 and at most 65536, not 0"},
		{[]string{"bench", "merge", "--model", "vit-x/32"}, usage, "", "model.preset must be one of"},
		{[]string{"bench", "gemm", "--dtype", "f16"}, usage, "", `compute.dtype must be one of "f32", "bf16"`},
		{[]string{"bench", "messages", "--blocks", "8,1000", "--rounds", "1", "--json"}, 0, `{"kind":"messages","ranks":1,"node_size":1,"block":1000,`, ""},
		{[]string{"data", "info", "--sheet", filepath.Join(t.TempDir(), "sheet.png")}, 0, "training    1,437 images, 139 to 146 a class", ""},
		{[]string{"data", "info", "--json", "--look", "0"}, 0, `"per_class":[142,146,`, ""},
		{[]string{"data", "info", "nowhere"}, failed, "", "nowhere: no such file or directory; correct data.path"},
		{[]string{"data", "fetch", "imagenet"}, usage, "", "register at https://image-net.org"},
		{[]string{"train", "--help"}, 0, "Usage: lte train", ""},
		{[]string{"train", "--progress", "loud"}, usage, "", `--progress must be one of "auto","bar","lines","none" but got "loud"`},
		{[]string{"report", "nowhere"}, usage, "", "nowhere: cannot read runs there"},
		{[]string{"report", t.TempDir()}, usage, "", "holds no run; expected a run directory"},
		{[]string{"report", "--expect", "nowhere", "."}, usage, "", "nowhere: cannot read the list of expected runs"},
		{[]string{"experiment", "observations", "--help"}, 0, "Train these alone (full, lora,", ""},
		{[]string{"experiment", "observations", "--list", "--ranks", "2", "--only", "lte"}, 0, "lte-1\trun.log_every=18\t", ""},
		{[]string{"experiment", "observations", "--list", "--ranks", "0"}, usage, "", "--ranks must be at least 1 and at most 1048576, not 0"},
		{[]string{"experiment", "observations", "--lr", "full"}, usage, "", `--lr`},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(c.args, &stdout, &stderr); code != c.code {
			t.Errorf("lte %v: exit code %d, want %d", c.args, code, c.code)
		}
		if !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("lte %v printed %q and %q, want %q and %q in them", c.args, stdout.String(), stderr.String(), c.stdout, c.stderr)
		}
		if c.code != 0 && strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("lte %v: an error is one line, not %q", c.args, stderr.String())
		}
	}
}

// Fails if lte train --help leaves a key out.
func TestHelpHasEveryKey(t *testing.T) {
	var out bytes.Buffer
	run([]string{"train", "--help"}, &out, &out)
	for _, k := range config.Keys() {
		name := k.Name[strings.LastIndex(k.Name, ".")+1:]
		if !strings.Contains(out.String(), name) {
			t.Errorf("lte train --help does not name %s", k.Name)
		}
	}
}

// Ranks may be 8 times the cores; beyond that the warning names both, and what the method has to offer instead.
func TestTooManyRanks(t *testing.T) {
	c := config.Default()
	c.LoRA.Heads = 200
	full := c
	full.Method = "full"
	for _, test := range []struct {
		ranks, cores int
		c            config.Config
		want         []string
	}{
		{8, 1, c, nil}, {16, 2, c, nil}, {1, 1, c, nil}, {0, 1, c, nil},
		{9, 1, c, []string{"machine: 9;", "use: 1;", "lora.heads = 200"}},
		{200, 2, c, []string{"machine: 200;", "use: 2;", "lora.heads = 200"}},
		{17, 2, full, []string{"machine: 17;", "use: 2;", "train.batch"}},
	} {
		got := tooMany(test.ranks, test.cores, test.c)
		if (got == "") != (test.want == nil) || strings.Contains(got, "\n") {
			t.Errorf("%d ranks, %d cores: %q", test.ranks, test.cores, got)
		}
		for _, part := range test.want {
			if !strings.Contains(got, part) {
				t.Errorf("%d ranks, %d cores: %q lacks %q", test.ranks, test.cores, got, part)
			}
		}
	}
}
