package cli_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lte/config"
	"lte/internal/session"
	"lte/record"
	"lte/report"
)

// writeRun makes the directory of a run, which is finished or not.
func writeRun(t *testing.T, dir string, finished bool) {
	t.Helper()
	c := config.Default()
	c.Run.Dir = dir
	_, err := report.CreateRunDir(c, "digits", time.Now())
	files, opened := report.NewFiles(dir)
	if err := errors.Join(err, opened); err != nil {
		t.Fatal(err)
	}
	err = errors.Join(files.Record(record.Record{Step: 20, Images: 2560}), files.Close())
	if finished {
		err = errors.Join(err, record.WriteSummary(dir, record.Summary{Method: c.Method, Model: "vit-64x4/2", Dataset: "digits", Steps: 1600}))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A report of a finished run, an interrupted one and one that never started. Fails if the missing ones are not named on standard error
// and on the page, if title or folder are wrong, or if the exit code is not 0, or is 0 with nothing to report.
func TestReportCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	writeRun(t, "sweep/lte-1", true)
	writeRun(t, "sweep/lte-2", false)
	if err := os.WriteFile("sweep/tasks", []byte("lte-1\nlte-2\nlte-3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const missing = "lte: missing: sweep/lte-2: not finished: last record at step 20 of 1600\nlte: missing: sweep/lte-3: not started\n"
	var stdout, stderr bytes.Buffer
	code := run([]string{"report", "sweep", "--expect", "sweep/tasks", "--out", "page", "--title", "Mine"}, &stdout, &stderr)
	if code != 0 || stdout.String() != "1 runs, 2 missing: "+filepath.Join("page", "report.html")+"\n" || stderr.String() != missing {
		t.Errorf("exit code %d, %q, %q", code, stdout.String(), stderr.String())
	}
	page, err := os.ReadFile("page/report.html")
	if err != nil || !strings.Contains(string(page), "<h1>Mine</h1>") || !strings.Contains(string(page), "<li><b>sweep/lte-3</b>: not started</li>") {
		t.Errorf("%v, %s", err, page)
	}
	stdout.Reset()
	if code := run([]string{"report", "sweep/lte-1"}, &stdout, &stderr); code != 0 || !strings.HasPrefix(stdout.String(), "1 runs, 0 missing: runs/report-20") {
		t.Errorf("exit code %d, %q", code, stdout.String())
	}
	stderr.Reset()
	code = run([]string{"report", "sweep/lte-2", "--out", "none"}, &stdout, &stderr)
	if _, err := os.Stat("none"); code != session.ExitUsage || err == nil || !strings.HasSuffix(stderr.String(), "none of 1 runs is finished: there is nothing to report\n") {
		t.Errorf("of nothing: exit code %d, %q, %v", code, stderr.String(), err)
	}
}

// Fails if an invalid line ends a report or is not named, or if its name is not escaped.
func TestReportNamesInvalidLines(t *testing.T) {
	t.Chdir(t.TempDir())
	const odd = "odd\nlte: \x1b[2J"
	writeRun(t, odd, true)
	writeRun(t, odd+"2", false)
	if err := os.WriteFile(filepath.Join(odd, "metrics.jsonl"), []byte(`{"step": 1, "images": 9007199254740993}`+"\n"+`{"step": 2, "seconds": 1e308}`+"\n"+`{"step": 3}`), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := run([]string{"report", ".", "--out", odd + "/out"}, &stdout, &stderr)
	const name = `odd\nlte: \x1b[2J`
	want := "lte: warning: " + name + `/metrics.jsonl: line 1 is skipped: "images" is 9007199254740993: expected 0 to 9007199254740992` + "\n" +
		"lte: warning: " + name + `/metrics.jsonl: line 2 is skipped: "seconds" is 1e+308: expected at most 1e+09` + "\n" +
		"lte: missing: " + name + "2: not finished: last record at step 20 of 1600\n"
	if code != 0 || stderr.String() != want || stdout.String() != "1 runs, 1 missing: "+name+"/out/report.html\n" {
		t.Errorf("exit code %d, %q\n got %s\nwant %s", code, stdout.String(), stderr.String(), want)
	}
}
