package report

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"lte/config"
	"lte/train"
)

// What is written is read again; a run without its end, or no run, does not exist; a damaged one names its place.
func TestRead(t *testing.T) {
	c := config.Default()
	c.Run.Dir = filepath.Join(t.TempDir(), "run")
	if _, _, _, err := Read(c.Run.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	dir, err := CreateRunDir(c, "digits", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, r := range records() {
		if err := f.Record(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no summary: %v", err)
	}
	if steps, ok := Finished(dir); ok || !HoldsRun(dir) || HoldsRun(t.TempDir()) {
		t.Errorf("no summary: %d steps are finished; a run: %t", steps, HoldsRun(dir))
	}
	want := train.Summary{Method: "full", Steps: 300, TestTop1: 0.5}
	if err := WriteSummary(dir, want); err != nil {
		t.Fatal(err)
	}
	gotConfig, s, got, err := Read(dir)
	if err != nil || !reflect.DeepEqual(s, want) || !reflect.DeepEqual(gotConfig, c) || !reflect.DeepEqual(got, records()) {
		t.Errorf("%v, %+v, %+v", err, s, got)
	}
	if steps, ok := Finished(dir); !ok || steps != 300 {
		t.Errorf("finished %t, %d steps", ok, steps)
	}
	if err := os.WriteFile(filepath.Join(dir, "metrics.jsonl"), []byte("{}\n{\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "metrics.jsonl: line 2:") {
		t.Errorf("damaged: %v", err)
	}
}

// A run that diverged, or one of a version that did not write a number yet, has none: fails if it reads as 0, the best of all losses.
func TestReadOfNoNumber(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"summary.json":  `{"steps": 3, "test_top1": 0.1, "test_loss": null, "images": 7}`,
		"metrics.jsonl": `{"step": 1, "train_loss": null, "lr": 0.5, "test_top1": null}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := readSummary(dir)
	if err != nil || s.TestTop1 != 0.1 || !math.IsNaN(s.TestLoss) || !math.IsNaN(s.TrainLoss) || s.Images != 7 {
		t.Errorf("%v, %+v", err, s)
	}
	got, err := Records(dir)
	if err != nil || len(got) != 1 || !math.IsNaN(got[0].TrainLoss) || got[0].LR != 0.5 || got[0].TestTop1 != nil {
		t.Errorf("%v, %+v", err, got)
	}
}
