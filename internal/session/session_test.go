package session

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/data"
)

// Ranks may be 8 times the cores; beyond that the warning names both, and what the method has to offer instead.
func TestOversubscribedRanksAreWarnedOf(t *testing.T) {
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
		got := oversubscribed(test.ranks, test.cores, test.c)
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

// Fails if an option of the data set that is wrong is no usage error where all ranks have it.
func TestDataOptionsAreUsageErrors(t *testing.T) {
	for _, o := range []data.Source{{Kind: "folder"}, {Normalize: "imagenet"}, {Kind: "synthetic", Synthetic: data.Synthetic{Images: 1 << 62}}} {
		_, err := data.Open(o, SplitSeed)
		var stderr bytes.Buffer
		if code := PrintError(&stderr, &collective.Failure{Err: err}); code != ExitUsage {
			t.Errorf("%+v: exit code %d, want %d: %s", o, code, ExitUsage, stderr.String())
		}
	}
	var stderr bytes.Buffer
	if _, err := data.Open(data.Source{Path: filepath.Join(t.TempDir(), "none")}, SplitSeed); PrintError(&stderr, err) != ExitFailed {
		t.Errorf("a path that is not there: %s", stderr.String())
	}
}
