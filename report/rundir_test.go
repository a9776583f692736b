package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"lte/config"
	"lte/record"
)

func TestCreateRunDirNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := config.Default()
	c.LoRA.Rank = 7
	for _, want := range []string{"runs/lte-digits-20260102-030405", "runs/lte-digits-20260102-030405-2", "runs/lte-digits-20260102-030405-3"} {
		dir, err := CreateRunDir(c, "digits", now)
		if err != nil || filepath.ToSlash(dir) != want {
			t.Fatalf("got %s, %v; want %s", dir, err, want)
		}
		if got, err := config.Load(filepath.Join(dir, "config.toml"), nil); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("config.toml: %+v, %v", got, err)
		}
	}
}

func TestCreateRunDirGiven(t *testing.T) {
	t.Chdir(t.TempDir())
	c := config.Default()
	c.Run.Dir = "a/b"
	if dir, err := CreateRunDir(c, "digits", time.Now()); err != nil || dir != "a/b" {
		t.Fatalf("%s, %v", dir, err)
	}
	for _, found := range []string{"config.toml", "metrics.jsonl", "summary.json", "checkpoints", "model.safetensors", "model_ema.safetensors"} {
		dir := "with-" + found
		c.Run.Dir = dir
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, found), []byte("kept"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := CreateRunDir(c, "digits", time.Now())
		want := dir + ": the run directory holds a run already (" + found + "), which stays as it is; resume it with --resume, or choose another --run-dir"
		var e *config.Error
		if err == nil || err.Error() != want || !errors.As(err, &e) {
			t.Errorf("\n got %v\nwant %s", err, want)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 || read(t, dir, found) != "kept" {
			t.Errorf("%s was touched: %v", dir, entries)
		}
	}
	c.Run.Dir = "a/b/config.toml/c" // under a file
	if _, err := CreateRunDir(c, "digits", time.Now()); err == nil || !strings.Contains(err.Error(), "choose another --run-dir") {
		t.Errorf("under a file: %v", err)
	}
}

// Fails if two of many concurrent callers get the same directory.
func TestCreateRunDirOnce(t *testing.T) {
	for round := range 20 {
		c := config.Default()
		c.Run.Dir = filepath.Join(t.TempDir(), fmt.Sprint(round))
		errs := make([]error, 8)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				<-start
				_, errs[i] = CreateRunDir(c, "digits", time.Now())
			})
		}
		close(start)
		wg.Wait()
		got := 0
		for _, err := range errs {
			var e *config.Error
			if err == nil {
				got++
			} else if !errors.As(err, &e) {
				t.Error(err)
			}
		}
		if got != 1 {
			t.Fatalf("round %d: %d got it", round, got)
		}
	}
}

// A run resumes from a checkpoint after its second record. Fails if a later record stays, or a half one; if an earlier record is lost,
// or is reported as lost when it is not; if the old summary stays; or if config.toml is not the new one.
func TestResumeRunDir(t *testing.T) {
	const first, second, third, half = `{"step":1}` + "\n", `{"step":2}` + "\n", `{"step":3}` + "\n", `{"st`
	for _, c := range []struct {
		metrics, want string
		lost          int
	}{
		{first + second, first + second, 0},
		{first + second + third, first + second, 0},
		{first + second + half, first + second, 0},
		{first + half, first, 1},
		{"", "", 2},
	} {
		t.Chdir(t.TempDir())
		old := config.Default()
		old.Run.Dir = "run"
		dir, err := CreateRunDir(old, "digits", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"metrics.jsonl": c.metrics, "summary.json": "{}", "model.safetensors": "kept"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		longer := old
		longer.Train.Steps = 2000
		lost, err := ResumeRunDir(longer, 2)
		if err != nil || lost != c.lost || read(t, dir, "metrics.jsonl") != c.want {
			t.Errorf("%q becomes %q, %d lost, %v; want %q, %d lost", c.metrics, read(t, dir, "metrics.jsonl"), lost, err, c.want, c.lost)
		}
		if now, err := config.Load(ConfigPath(dir), nil); err != nil || !reflect.DeepEqual(now, longer) {
			t.Errorf("config.toml: %+v, %v", now, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 3 { // those two, and the model
			t.Errorf("in the directory: %v", entries)
		}
	}
	// A run that stopped before its first record has no metrics; one without a directory cannot be resumed.
	c := config.Default()
	c.Run.Dir = t.TempDir()
	if lost, err := ResumeRunDir(c, 1); err != nil || lost != 1 {
		t.Errorf("without metrics: %d lost, %v", lost, err)
	}
	c.Run.Dir = filepath.Join(c.Run.Dir, "none")
	if _, err := ResumeRunDir(c, 0); err == nil || !strings.Contains(err.Error(), "cannot resume in the run directory "+c.Run.Dir) {
		t.Errorf("without a directory: %v", err)
	}
}

// Fails if docs/run-directory.md lacks a JSON key in its section, or a TensorBoard tag.
func TestRunDirectoryPage(t *testing.T) {
	page, err := os.ReadFile("../docs/run-directory.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(page), "\n## ")[1:] {
		title, text, _ := strings.Cut(s, "\n")
		sections[title] = text
	}
	for title, typ := range map[string]reflect.Type{
		"metrics.jsonl": reflect.TypeFor[record.Record](),
		"summary.json":  reflect.TypeFor[record.Summary](),
	} {
		for i := range typ.NumField() {
			key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if !strings.Contains(sections[title], "\n| `"+key+"` |") {
				t.Errorf("section %s has no row for %s", title, key)
			}
		}
		if rows := strings.Count(sections[title], "\n| `"); rows != typ.NumField() {
			t.Errorf("section %s has %d rows for %d keys", title, rows, typ.NumField())
		}
	}
	for _, r := range records() {
		for _, s := range scalarsOf(r) {
			if !strings.Contains(sections["TensorBoard events"], "| `"+s.tag+"` |") {
				t.Errorf("the page lacks the tag %s", s.tag)
			}
		}
	}
}
