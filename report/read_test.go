package report

import (
	"errors"
	"io/fs"
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
	want := train.Summary{Method: "full", TestTop1: 0.5}
	if err := WriteSummary(dir, want); err != nil {
		t.Fatal(err)
	}
	gotConfig, s, got, err := Read(dir)
	if err != nil || !reflect.DeepEqual(s, want) || !reflect.DeepEqual(gotConfig, c) || !reflect.DeepEqual(got, records()) {
		t.Errorf("%v, %+v, %+v", err, s, got)
	}
	if err := os.WriteFile(filepath.Join(dir, "metrics.jsonl"), []byte("{}\n{\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := Read(dir); err == nil || !strings.Contains(err.Error(), "metrics.jsonl: line 2:") {
		t.Errorf("damaged: %v", err)
	}
}
