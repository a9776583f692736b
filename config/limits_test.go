package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// numbers calls f with every numeric key, those of tables in lists included.
func numbers(all []field, under string, f func(name string, key field)) {
	for _, key := range all {
		switch key.kind {
		case reflect.Int, reflect.Float64:
			f(under+key.Name, key)
		case reflect.Slice:
			numbers(key.item.keys, key.Name+"[].", f)
		}
	}
}

// Fails if a key allows numbers of any size, or an integer's bound is one at which a float rounds.
func TestEveryNumberIsBounded(t *testing.T) {
	seen := 0
	numbers(fields, "", func(name string, key field) {
		seen++
		low, high := max(key.min, key.above), min(key.max, key.below)
		if math.IsInf(low, -1) || math.IsInf(high, 1) {
			t.Errorf("%s is %s: expected a bound on either side", name, key.Allowed)
		}
		if key.kind == reflect.Int && (low < -1<<52 || high > 1<<52) {
			t.Errorf("%s is %s: too far from 0 to compare as a float", name, key.Allowed)
		}
	})
	if seen < 60 {
		t.Errorf("%d numbers in %d keys", seen, len(fields))
	}
}

// Fails if a number beyond its bounds is accepted, also by rounding, or refused without naming key and bounds.
func TestNumbersBeyondTheirBounds(t *testing.T) {
	for _, x := range []float64{math.MaxInt64, -math.MaxInt64, 1 << 62, 1e15, 1e308, -1e308} {
		numbers(fields, "", func(name string, key field) {
			v := reflect.New(reflect.TypeFor[float64]()).Elem()
			v.SetFloat(x)
			if key.kind == reflect.Int {
				if v = reflect.New(reflect.TypeFor[int]()).Elem(); math.Abs(x) > 1e19 {
					return
				}
				v.SetInt(int64(x))
				if x == math.MaxInt64 {
					v.SetInt(math.MaxInt64)
				}
			}
			if key.kind == reflect.Float64 && math.Abs(x) < 1e300 {
				return
			}
			if err := key.check(v); err == nil || !strings.Contains(err.Error(), key.Name+" must be "+key.Allowed) {
				t.Errorf("%s = %v: %v", name, v, err)
			}
		})
	}
}

func TestLimitsOfKeys(t *testing.T) {
	for want, set := range map[string]string{
		"train.batch must be at least 1 and at most 1048576, not 9223372036854775807":         "train.batch=9223372036854775807",
		"model.depth must be at least 1 and at most 1024, not 100000000":                      "model.depth=100000000",
		"compute.threads must be at least 0 and at most 4096, not 1000000000":                 "compute.threads=1000000000",
		"checkpoint.grace must be above 0 and at most 1e6, not 1e+308":                        "checkpoint.grace=1e308",
		"run.watchdog must be 0 (off) or at least 0.1, not 1e-300":                            "run.watchdog=1e-300",
		"optimizer.eps must be at least 1e-30 and at most 1, not 1e-300":                      "optimizer.eps=1e-300", // 0 in float32
		"data.keep must be at least 0.01 and at most 1, not 1e-300":                           "data.keep=1e-300",
		"lora.layers must have at most 256 items, not 300":                                    "lora.layers=[" + strings.Repeat("{match='*'},", 300) + "]",
		"replicas.train must have at most 256 items, not 257":                                 "replicas.train=[" + strings.Repeat("'*',", 257) + "]",
		"merge.schedule[0].every must be at least 1 and at most 1e9, not 4611686018427387904": "merge.schedule=[{until=1, every=4611686018427387904}]",
		"seed: expected an integer, 0 or more, got \"18446744073709551616\"":                  "seed=18446744073709551616",
	} {
		if _, err := Load("", []string{set}); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%.60s:\n got %v\nwant %s", set, err, want)
		}
	}
}

// soon fails the test unless f returns within a few seconds; without limits, reading such a file takes far longer.
func soon(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: no end", what)
		return nil
	}
}

// Fails if a configuration that is not a regular file, or too large, is waited for, read, or not named in the error.
func TestOnlySmallRegularFiles(t *testing.T) {
	dir := t.TempDir()
	fifo, socket, huge := filepath.Join(dir, "fifo"), filepath.Join(dir, "socket"), filepath.Join(dir, "huge")
	must(t, syscall.Mkfifo(fifo, 0o644))
	l, err := net.Listen("unix", socket)
	must(t, err)
	defer l.Close()
	must(t, os.WriteFile(huge, nil, 0o644))
	must(t, os.Truncate(huge, 10<<30))
	for path, want := range map[string]string{fifo: "a FIFO", socket: "a socket", "/dev/zero": "a device", dir: "a folder", huge: "too large"} {
		based := filepath.Join(t.TempDir(), "based.toml")
		must(t, os.WriteFile(based, fmt.Appendf(nil, "base = %q\n", path), 0o644))
		for _, at := range []string{path, based} {
			err := soon(t, at, func() error { _, err := Load(at, nil); return err })
			if !errors.As(err, new(*Error)) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v, want %q", at, err, want)
			}
		}
	}
}

func TestChainsOfBasesEnd(t *testing.T) {
	dir := t.TempDir()
	for i := range 100 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.toml", i)), fmt.Appendf(nil, "base = \"%d.toml\"\n", i+1), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(dir, "100.toml"), nil, 0o644))
	if _, err := Load(filepath.Join(dir, "84.toml"), nil); err != nil {
		t.Errorf("a chain of 16: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "0.toml"), nil); err == nil || !strings.Contains(err.Error(), "16.toml:1: base") || !strings.Contains(err.Error(), "a chain of more than 16 base files") {
		t.Errorf("a chain of 100: %v", err)
	}
	link := filepath.Join(dir, "link.toml") // a circle whose names never repeat
	must(t, os.MkdirAll(filepath.Join(dir, "d"), 0o755))
	must(t, os.Symlink(".", filepath.Join(dir, "d", "d")))
	must(t, os.WriteFile(filepath.Join(dir, "d", "a.toml"), []byte("base = \"d/a.toml\"\n"), 0o644))
	must(t, os.Symlink("d/a.toml", link))
	if _, err := Load(link, nil); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a circle by links: %v", err)
	}
}

// bombs are texts that take long, or much memory, to parse.
var bombs = map[string]string{
	"nested arrays":          "a = " + strings.Repeat("[", 500000) + strings.Repeat("]", 500000),
	"open arrays":            "a = " + strings.Repeat("[", 1000000),
	"nested tables":          "a = " + strings.Repeat("{a=", 250000) + "1" + strings.Repeat("}", 250000),
	"behind strings":         "a = " + strings.Repeat(`["]",`, 200000),
	"behind a quoted quote":  `b = """"""""` + "\na = " + strings.Repeat("[", 500000),
	"behind a comment":       "# '\na = " + strings.Repeat("[", 500000),
	"a dotted key":           strings.Repeat("a.", 400000) + "a = 1",
	"a dotted header":        "[" + strings.Repeat("a.", 400000) + "a]",
	"many keys":              numbered("k%d=1\n", 90000),
	"keys, and a long text":  "#" + strings.Repeat("x", 900000) + numbered("\nk%d=1", 8000),
	"many sections":          numbered("[a%d]\n", 90000),
	"many headers":           strings.Repeat("[[a]]\n", 170000),
	"many keys of a section": "[run]\n" + numbered("k%d=1\n", 90000),
	"a long key":             strings.Repeat("k", 1000000) + " = 1",
	"a long value":           `method = "` + strings.Repeat("k", 1000000) + `"`,
	"a long list":            "[replicas]\ntrain = [" + strings.Repeat(`"a",`, 200000) + "]",
	"many rules":             "[lora]\nlayers = [" + strings.Repeat(`{match="a"},`, 80000) + "]",
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// Fails, by time or memory, if a text beyond the limits is parsed, and if the error is not one short line.
func TestTextsThatAreLongToParse(t *testing.T) {
	for name, text := range bombs {
		began := time.Now()
		_, err := Read("run.toml", text)
		if !errors.As(err, new(*Error)) || strings.Contains(fmt.Sprint(err), "\n") || len(err.Error()) > 2*maxText {
			t.Errorf("%s: %.500v", name, err)
		}
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("%s: %v", name, d)
		}
		if _, err := Load("", []string{"lora.rank=" + text[:min(len(text), 1<<17)]}); !errors.As(err, new(*Error)) {
			t.Errorf("--set of %s: %.500v", name, err)
		}
	}
}

// Fails if the limits refuse a valid configuration.
func TestLargestConfiguration(t *testing.T) {
	c := Default()
	for i := range maxItems {
		c.LoRA.Layers = append(c.LoRA.Layers, LayerRule{Match: fmt.Sprintf("*%d[a-c].\"'*", i), Rank: 1, Alpha: 0.5, Skip: true})
		c.Merge.Schedule = append(c.Merge.Schedule, Interval{Until: i + 1, Every: 1})
		c.Replicas.Train = append(c.Replicas.Train, strings.Repeat("[a]", 100))
	}
	var text strings.Builder
	must(t, c.Write(&text))
	if got, err := Read("", text.String()); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%d bytes: %v", text.Len(), err)
	}
}

// Fails if quoted input can break an error's line, or reach the terminal as a control sequence.
func TestErrorsAreOnePrintableLine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a\nb\x1b[31m.toml")
	for _, text := range []string{"x", "[lora]\nrank = 0", "\"a\\nb\" = 1", "method = \"\\u001b[31m\\n\"", "base = \"x\\n\\u001b.toml\"", "[[a.\"\\n\"]]\nx=1"} {
		must(t, os.WriteFile(path, []byte(text), 0o644))
		if _, err := Load(path, nil); err == nil || strings.ContainsAny(err.Error(), "\n\x1b") || !strings.Contains(err.Error(), `a\nb\x1b[31m.toml`) {
			t.Errorf("%q: %q", text, err)
		}
	}
	if _, err := Load(filepath.Join(dir, "none\n"), []string{"a\x1b=1"}); err == nil || strings.ContainsAny(err.Error(), "\n\x1b") {
		t.Errorf("%q", err)
	}
	if _, err := Load("", []string{"a\x1b\n=1"}); err == nil || strings.ContainsAny(err.Error(), "\n\x1b") {
		t.Errorf("%q", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Any text is a configuration or an *Error of one line. Run with go test -fuzz FuzzRead ./config.
func FuzzRead(f *testing.F) {
	var text strings.Builder
	if err := Default().Write(&text); err != nil {
		f.Fatal(err)
	}
	f.Add(text.String())
	f.Add("\x1b") // whose place the library gives as -1
	for _, bad := range badInputs {
		f.Add(bad.file)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := Read("run.toml", text); err != nil && (!errors.As(err, new(*Error)) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
