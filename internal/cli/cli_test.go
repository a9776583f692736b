package cli_test

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"lte/config"
	"lte/internal/cli"
	"lte/internal/ltetest"
	"lte/internal/session"
)

func TestMain(m *testing.M) { ltetest.Main(m) }

// run executes a command line in this process.
func run(args []string, stdout, stderr io.Writer) int { return cli.Run("devel", args, stdout, stderr) }

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
		{[]string{"config", "--set", "lora.rnk=7"}, session.ExitUsage, "", `unknown key "lora.rnk"; did you mean "lora.rank"?`},
		{[]string{"config", "--recipe", "frugal"}, 0, `wire = "int2"`, ""},
		{[]string{"config", "--recipe", "frugal", "--set", "exchange.wire=int8"}, 0, `wire = "int8"`, ""},
		{[]string{"config", "--recipe", "cheap"}, session.ExitUsage, "", "--recipe cheap: no such recipe; expected one of fast, frugal, paper"},
		{[]string{"config", "--config", "nowhere.toml"}, session.ExitUsage, "", "nowhere.toml: no such file"},
		{[]string{"--nonsense"}, session.ExitUsage, "", "unknown flag --nonsense"},
		{[]string{"bench", "gemm", "--model", "", "--image", "8", "--steps", "1", "--json"}, 0, `{"kind":"roofline","model":"vit-64x4/2",`, ""},
		{[]string{"bench", "gemm", "--steps", "0"}, session.ExitUsage, "", "--steps must be at least 1 and at most 1000000000, not 0"},
		{[]string{"bench", "step", "--rank", "0"}, session.ExitUsage, "", "lora.rank must be at least 1 and at most 65536, not 0"},
		{[]string{"bench", "merge", "--model", "vit-x/32"}, session.ExitUsage, "", "model.preset must be one of"},
		{[]string{"bench", "gemm", "--dtype", "f16"}, session.ExitUsage, "", `compute.dtype must be one of "f32", "bf16"`},
		{[]string{"bench", "messages", "--blocks", "8,1000", "--rounds", "1", "--json"}, 0, `{"kind":"messages","ranks":1,"node_size":1,"block":1000,`, ""},
		{[]string{"data", "info", "--sheet", filepath.Join(t.TempDir(), "sheet.png")}, 0, "training    1,437 images, 139 to 146 a class", ""},
		{[]string{"data", "info", "--json", "--look", "0"}, 0, `"per_class":[142,146,`, ""},
		{[]string{"data", "info", "nowhere"}, session.ExitFailed, "", "nowhere: no such file or directory; correct data.path"},
		{[]string{"data", "fetch", "imagenet"}, session.ExitUsage, "", "register at https://image-net.org"},
		{[]string{"train", "--help"}, 0, "Usage: lte train", ""},
		{[]string{"train", "--progress", "loud"}, session.ExitUsage, "", `--progress must be one of "auto","bar","lines","none" but got "loud"`},
		{[]string{"report", "nowhere"}, session.ExitUsage, "", "nowhere: cannot read runs there"},
		{[]string{"report", t.TempDir()}, session.ExitUsage, "", "holds no run; expected a run directory"},
		{[]string{"report", "--expect", "nowhere", "."}, session.ExitUsage, "", "nowhere: cannot read the list of expected runs"},
		{[]string{"experiment", "observations", "--help"}, 0, "Train only these (full, lora,", ""},
		{[]string{"experiment", "observations", "--list", "--ranks", "2", "--only", "lte"}, 0, "lte-1\trun.log_every=18\t", ""},
		{[]string{"experiment", "observations", "--list", "--ranks", "0"}, session.ExitUsage, "", "--ranks must be at least 1 and at most 1048576, not 0"},
		{[]string{"experiment", "observations", "--lr", "full"}, session.ExitUsage, "", `--lr`},
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
