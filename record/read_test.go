package record

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"lte/internal/file"
	"lte/internal/quote"
)

// Fails if a null or missing number, of a run that diverged or of an older version, reads as 0.
func TestNullAndMissingNumbersAreNaN(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"summary.json":  `{"steps": 3, "test_top1": 0.1, "test_loss": null, "images": 7}`,
		"metrics.jsonl": `{"step": 1, "train_loss": null, "lr": 0.5, "test_top1": null}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := ReadSummary(dir)
	if err != nil || s.TestTop1 != 0.1 || !math.IsNaN(s.TestLoss) || !math.IsNaN(s.TrainLoss) || s.Images != 7 {
		t.Errorf("%v, %+v", err, s)
	}
	got, skipped, err := ReadMetrics(dir)
	if err != nil || skipped != nil || len(got) != 1 || !math.IsNaN(got[0].TrainLoss) || got[0].LR != 0.5 || got[0].TestTop1 != nil {
		t.Errorf("%v, %+v", err, got)
	}
}

// runOf makes a run directory of these files and valid ones for those that they lack.
func runOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{SummaryFile: `{"method": "full", "steps": 30}`, MetricsFile: `{"step": 10}` + "\n" + `{"step": 30}` + "\n"}
	maps.Copy(all, files)
	for name, text := range all {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// read reads both files of a run directory.
func read(dir string) (s Summary, records []Record, skipped []string, err error) {
	if s, err = ReadSummary(dir); err == nil {
		records, skipped, err = ReadMetrics(dir)
	}
	return s, records, skipped, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Fails if an invalid line becomes a record, takes others with it, or is not named.
func TestInvalidLinesAreSkippedAndNamed(t *testing.T) {
	for line, want := range map[string]string{
		`{"step": 20, "images": 9007199254740993}`:             `"images" is 9007199254740993: expected 0 to 9007199254740992`,
		`{"step": 20, "images": -1}`:                           `"images" is -1`,
		`{"step": 20, "images": 1e300}`:                        "expected a",
		`{"step": 20, "images": 18446744073709551616}`:         "expected a",
		`{"step": 20, "seconds": 1e308}`:                       `"seconds" is 1e+308: expected at most 1e+09`,
		`{"step": 20, "seconds": -0.5}`:                        `"seconds" is -0.5: expected at least 0`,
		`{"step": 20, "seconds": 1e999}`:                       "expected a",
		`{"step": 20, "data_wait": 1e10}`:                      `"data_wait"`,
		`{"step": 20, "test_top1": 1.5}`:                       `"test_top1" is 1.5: expected at most 1`,
		`{"step": 20, "ema_test_top1": -0.1}`:                  `"ema_test_top1"`,
		`{"step": 20, "alignment": 2}`:                         `"alignment"`,
		`{"step": 20, "gradient_rank": -1}`:                    `"gradient_rank"`,
		`{"step": 20, "merges": -1}`:                           `"merges"`,
		`{"step": 20, "traffic": {"merge": {"received": -1}}}`: `"traffic": "merge": "received" is -1`,
		`{"step": 20, "train_loss": "NaN"}`:                    "expected a",
		`{"step": 10}`:                                         `"step" is 10: expected more than 10`,
		`{"step": 0}`:                                          `"step" is 0`,
		`{"step": -9223372036854775808}`:                       `"step" is -9223372036854775808`,
		`{"step": 9223372036854775807}`:                        `"step" is 9223372036854775807`,
		`{}`:                                                   `"step" is 0`,
		`null`:                                                 `"step" is 0`,
		`[]`:                                                   "expected a",
		``:                                                     "unexpected end",
		"\x00\xff\x1b[2J":                                      `\x00`,
		`{"step": 20`:                                          "unexpected end",
		`{"step": 20}{"step": 21}`:                             "after top-level value",
		`{"step": 20, "x": "` + strings.Repeat("y", 1<<20) + `"`: fmt.Sprintf("more than the %d that a record may have", maxLine),
		strings.Repeat(`{"x":`, 12000):                           "exceeded max depth",
	} {
		dir := runOf(t, map[string]string{"metrics.jsonl": `{"step": 10}` + "\n" + line + "\n" + `{"step": 30, "train_loss": -1e308}` + "\n"})
		_, records, skipped, err := read(dir)
		if err != nil || len(records) != 2 || records[1].Step != 30 || records[1].TrainLoss != -1e308 {
			t.Errorf("%.60q: %+v, %v", line, records, err)
		}
		if len(skipped) != 1 || !strings.Contains(skipped[0], "metrics.jsonl: line 2 is skipped: ") || !strings.Contains(skipped[0], want) || quote.Text(skipped[0]) != skipped[0] || len(skipped[0]) > 300+len(dir) {
			t.Errorf("%.60q: %q, want %q", line, skipped, want)
		}
	}
}

// Fails if a file of invalid lines is read to its end, or if there is a warning for each of them.
func TestInvalidLinesAreBounded(t *testing.T) {
	const bad = 100
	_, records, skipped, err := read(runOf(t, map[string]string{"metrics.jsonl": strings.Repeat("{\n", bad) + `{"step": 1}`}))
	if err != nil || len(records) != 1 || len(skipped) != maxWarned+1 || !strings.HasSuffix(skipped[maxWarned], fmt.Sprintf(": %d more lines are skipped", bad-maxWarned)) {
		t.Errorf("%v, %q", err, skipped)
	}
	for text, want := range map[string]string{
		strings.Repeat("\n", maxSkipped+1):                            fmt.Sprintf("line %d: more than %d lines are not valid", maxSkipped+1, maxSkipped),
		strings.Repeat(strings.Repeat("x", 99)+"\n", 10*maxSkipped+1): fmt.Sprintf("line %d: ", maxSkipped+1),
	} {
		if _, _, _, err := read(runOf(t, map[string]string{"metrics.jsonl": text})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, records, skipped, err := read(runOf(t, map[string]string{"metrics.jsonl": ""})); err != nil || records != nil || skipped != nil {
		t.Errorf("an empty file: %+v, %q, %v", records, skipped, err)
	}
	large := runOf(t, nil) // sparse
	must(t, os.Truncate(filepath.Join(large, MetricsFile), maxMetrics+1))
	if _, _, _, err := read(large); !errors.Is(err, file.ErrTooLarge) {
		t.Errorf("%v, want %v", err, file.ErrTooLarge)
	}
}

// Fails if a long line is held in memory.
func TestLongLinesAreNotHeld(t *testing.T) {
	dir := runOf(t, nil)
	must(t, os.Truncate(filepath.Join(dir, MetricsFile), 1<<28)) // sparse
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, records, skipped, err := read(dir)
	runtime.ReadMemStats(&after)
	if err != nil || len(records) != 2 || len(skipped) != 1 || !strings.Contains(skipped[0], "line 3 is skipped: it has ") {
		t.Errorf("%v, %+v, %q", err, records, skipped)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<25 {
		t.Errorf("%d bytes were allocated", took)
	}
}

// Fails if an invalid summary is accepted.
func TestInvalidSummaries(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "unexpected end",
		"null":                           `"steps" is 0`,
		`{"steps": -1}`:                  `"steps" is -1`,
		`{"steps": 1e3}`:                 "expected a",
		`{"steps": 9007199254740993}`:    `"steps" is 9007199254740993`,
		`{"steps": 1, "seconds": 1e308}`: `"seconds" is 1e+308`,
		`{"steps": 1, "images": -1}`:     `"images" is -1`,
		`{"steps": 1, "test_top1": 2}`:   `"test_top1" is 2`,
		`{"steps": 1, "peak_memory": -9223372036854775808}`:              `"peak_memory"`,
		`{"steps": 1, "traffic": {"control": {"sent": -1}}}`:             `"traffic": "control": "sent" is -1`,
		`{"steps": 1, "dataset": "` + strings.Repeat("d", 1000) + `"}`:   `"dataset" has 1000 bytes`,
		`{"steps": 1, "x": "` + strings.Repeat("x", maxSummary) + `"}`:   file.ErrTooLarge.Error(),
		`{"steps": 1, "transports": ` + strings.Repeat("[", 20000):       "exceeded max depth",
		`{"steps": 1, "network": {"latency": -1}}`:                       `"network": "latency" is -1`,
		`{"steps": 1, "network": {"latency": null, "allgather": 1e999}}`: "expected a",
	} {
		dir := runOf(t, map[string]string{"summary.json": text})
		if _, _, _, err := read(dir); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "summary.json: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
	s, _, _, err := read(runOf(t, map[string]string{"summary.json": `{"steps": 1, "dataset": "a\nb\u001b[2J"}`}))
	if err != nil || s.Dataset != `a\nb\x1b[2J` {
		t.Errorf("%q, %v", s.Dataset, err)
	}
}

// Fails if a file that is not regular blocks, is read, or counts as missing.
func TestOnlyRegularFilesOfARun(t *testing.T) {
	for _, name := range []string{"summary.json", "metrics.jsonl"} {
		for kind, make := range map[string]func(path string) error{
			"a FIFO":          func(path string) error { return syscall.Mkfifo(path, 0o644) },
			"a device":        func(path string) error { return os.Symlink("/dev/zero", path) },
			"a folder":        func(path string) error { return os.Mkdir(path, 0o755) },
			"too many levels": func(path string) error { return os.Symlink(path, path) },
		} {
			dir := runOf(t, nil)
			must(t, os.Remove(filepath.Join(dir, name)))
			must(t, make(filepath.Join(dir, name)))
			if _, _, _, err := read(dir); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), kind) {
				t.Errorf("%s is %s: %v", name, kind, err)
			}
		}
	}
}
