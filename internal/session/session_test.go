package session

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/record"
	"lte/report"
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

// Fails if a record is not shown because it cannot be written, or not written, or if the console misses a step, a note or a warning.
func TestOutputShowsAndStoresRecords(t *testing.T) {
	dir := t.TempDir()
	files, err := report.NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	var o record.Observer = &output{report.NewConsole(&shown, report.Bar, func() int { return 80 }, 9), dir, files}
	o.Note("listen")
	o.Warn("beware")
	o.Progress(3, 1)
	if err := o.Record(record.Record{Step: 3, TestTop1: new(0.25)}); err != nil {
		t.Error(err)
	}
	if err := files.Close(); err != nil {
		t.Error(err)
	}
	if err := o.Record(record.Record{Step: 4, TestTop1: new(0.75)}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a file that is closed: %v", err)
	}
	for _, part := range []string{"listen", "beware", "(3/9)", "25.0 %", "75.0 %"} {
		if !strings.Contains(shown.String(), part) {
			t.Errorf("%q lacks %q", shown.String(), part)
		}
	}
	if records, _, err := record.ReadMetrics(dir); err != nil || len(records) != 1 || records[0].Step != 3 {
		t.Errorf("stored are %+v, %v", records, err)
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
