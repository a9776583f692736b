package report

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"lte/record"
)

// at returns the time that many seconds after the start of the run.
func at(s float64) time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(s * float64(time.Second)))
}

// columns returns the width function of a terminal that wide.
func columns(n int) func() int { return func() int { return n } }

func evaluated(top1, loss float64) (a, b *float64) { return &top1, &loss }

func TestConsoleLines(t *testing.T) {
	type event struct {
		at     float64 // s
		record record.Record
		top1   float64 // of an evaluation; 0: none
	}
	record := func(step int, seconds, loss float64) record.Record {
		return record.Record{Step: step, Seconds: seconds, TrainLoss: loss, ImagesPerSecond: 1234.4}
	}
	for _, c := range []struct {
		name   string
		events []event
		want   []string // lines before Finish
		finish string   // what Finish adds
	}{
		{"nothing", nil, nil, ""},
		{"the first record", []event{{5, record(20, 5, 2.5), 0}},
			[]string{"step   20/1000  loss 2.5000  1,234 images/s  top-1 -  elapsed 5s  left 4m5s"}, ""},
		{"ten seconds apart", []event{{0, record(1, 1, 1), 0}, {9.9, record(2, 10.9, 2), 0}, {10, record(3, 11, 3), 0}, {19.9, record(4, 21, 4), 0}},
			[]string{
				"step    1/1000  loss 1.0000  1,234 images/s  top-1 -  elapsed 1s  left 16m39s",
				"step    3/1000  loss 3.0000  1,234 images/s  top-1 -  elapsed 11s  left 1h0m56s",
			}, "step    4/1000  loss 4.0000  1,234 images/s  top-1 -  elapsed 21s  left 1h27m9s\n"},
		{"evaluations two seconds apart", []event{{0, record(1, 1, 1), 0.5}, {1.9, record(2, 3, 2), 0.6}, {2, record(3, 3, 3), 0.731}, {3, record(4, 4, 4), 0}, {12, record(1000, 13, 5), 0}},
			[]string{
				"step    1/1000  loss 1.0000  1,234 images/s  top-1 50.0 %  elapsed 1s  left 16m39s",
				"step    3/1000  loss 3.0000  1,234 images/s  top-1 73.1 %  elapsed 3s  left 16m37s",
				"step 1000/1000  loss 5.0000  1,234 images/s  top-1 73.1 %  elapsed 13s  left 0s",
			}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			console := NewConsole(&out, Lines, nil, 1000)
			for _, e := range c.events {
				console.now = func() time.Time { return at(e.at) }
				console.Progress(e.record.Step, 99) // draws nothing
				if e.top1 != 0 {
					e.record.TestTop1, e.record.TestLoss = evaluated(e.top1, 1)
				}
				if err := console.Record(e.record); err != nil {
					t.Fatal(err)
				}
			}
			want := ""
			for _, line := range c.want {
				want += line + "\n"
			}
			if out.String() != want {
				t.Errorf("\ngot\n%swant\n%s", out.String(), want)
			}
			out.Reset()
			console.Finish()
			if out.String() != c.finish {
				t.Errorf("Finish: got %q, want %q", out.String(), c.finish)
			}
		})
	}
}

// The screen shows what follows the last carriage return.
func TestConsoleBar(t *testing.T) {
	var out bytes.Buffer
	console := NewConsole(&out, Bar, columns(100), 200)
	clock := 0.0
	console.now = func() time.Time { return at(clock) }
	screen := func() string {
		frames := strings.Split(strings.TrimRight(out.String(), "\n"), "\r")
		return frames[len(frames)-1]
	}
	shows := func(when string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(screen(), part) {
				t.Errorf("%s: %q lacks %q", when, screen(), part)
			}
		}
	}
	if out.Len() != 0 {
		t.Errorf("written before the first step: %q", out.String())
	}
	console.Progress(1, 2.25)
	shows("first step", "(1/200)", "loss 2.2500", "top-1 -")
	n := out.Len()
	clock = 0.05
	console.Progress(2, 7)
	if out.Len() != n {
		t.Error("redrawn after 50 ms")
	}
	clock = 1
	console.Progress(100, 1.5)
	shows("half", "(100/200)", "loss 1.5000", " 50%", "|")
	r := record.Record{Step: 100, ImagesPerSecond: 5000}
	r.TestTop1, r.TestLoss = evaluated(0.5, 1)
	_ = console.Record(r)
	console.Progress(200, 0.5)
	r.Step, r.ImagesPerSecond = 200, 6000
	r.TestTop1, r.TestLoss = evaluated(0.75, 1)
	_ = console.Record(r)
	console.Finish()
	shows("end", "(200/200)", "loss 0.5000", "6,000 images/s", "top-1 75.0 %", "100%")
	if !strings.HasSuffix(out.String(), "\n") || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("the end of the line: %q", out.String())
	}
}

func TestConsoleQuiet(t *testing.T) {
	var out bytes.Buffer
	console := NewConsole(&out, None, columns(80), 10)
	console.Progress(10, 1)
	r := record.Record{Step: 10}
	r.TestTop1, r.TestLoss = evaluated(1, 0)
	_ = console.Record(r)
	console.Finish()
	if out.Len() != 0 {
		t.Errorf("%q", out.String())
	}
}

// Fails if a note is lost, or a quiet console prints it.
func TestConsoleNote(t *testing.T) {
	for mode, want := range map[Mode]string{Lines: "lte: listen\n", Bar: "lte: listen\n", None: ""} {
		var out bytes.Buffer
		NewConsole(&out, mode, columns(80), 10).Note("listen")
		if out.String() != want {
			t.Errorf("%s: %q", mode, out.String())
		}
	}
}

// Fails if a quiet console drops a warning, or if a line is written behind a bar.
func TestConsoleWarn(t *testing.T) {
	for _, mode := range []Mode{None, Lines, Bar} {
		for want, write := range map[string]func(*Console){
			"lte: warning: beware\n": func(c *Console) { c.Warn("beware") },
			"lte: listen\n":          func(c *Console) { c.Note("listen") },
			"rank 0/2 here: out\n":   func(c *Console) { _, _ = io.WriteString(c, "rank 0/2 here: out\n") },
		} {
			if mode == None && strings.Contains(want, "listen") {
				continue
			}
			var out bytes.Buffer
			console := NewConsole(&out, mode, columns(80), 10)
			console.Progress(5, 1)
			bar := out.Len() - 1
			write(console)
			frames := strings.Split(out.String(), "\r")
			if last := frames[len(frames)-1]; last != want || (len(frames) > 1) != (mode == Bar) {
				t.Errorf("%s: %q", mode, out.String())
			}
			if blank := frames[max(0, len(frames)-2)]; mode == Bar && (len([]rune(blank)) > bar || strings.Trim(blank, " ") != "") {
				t.Errorf("%s: the bar is erased by %q", mode, blank)
			}
		}
	}
}

// writes collects single writes.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// A bar is one line, redrawn in place, on terminals of any width: no frame reaches the last column, each covers the previous one, and
// each is a single write, since a launcher may insert the output of other ranks between two writes.
func TestConsoleBarFitsTheTerminal(t *testing.T) {
	for _, width := range []int{1, 2, 10, 40, 60, 79, 80, 81, 100, 250} {
		var out writes
		console := NewConsole(&out, Bar, func() int { return width }, 18400)
		clock := 0.0
		console.now = func() time.Time { return at(clock) }
		before, most := 0, 0
		for _, step := range []int{1, 2, 9000, 18399, 18400} {
			clock++
			console.Progress(step, 1e6/float64(step*step))
			r := record.Record{Step: step, ImagesPerSecond: float64(123456 * (1 + step%2))}
			r.TestTop1, r.TestLoss = evaluated(1, 1)
			_ = console.Record(r)
		}
		console.Finish()
		for i, frame := range out[:len(out)-1] {
			text, ok := strings.CutPrefix(frame, "\r")
			n := len([]rune(text))
			if !ok || strings.ContainsAny(text, "\r\n") || n > max(1, width-1) || n < min(before, width-1) {
				t.Errorf("%d columns, frame %d of %d columns behind one of %d: %q", width, i, n, before, frame)
			}
			before, most = len([]rune(strings.TrimRight(text, " "))), max(most, n)
		}
		if out[len(out)-1] != "\n" || width >= 60 && (most < 57 || !strings.Contains(out[len(out)-2], "(18400/18400) [0s]")) {
			t.Errorf("%d columns: %d of them used, at last %q", width, most, out[len(out)-2:])
		}
	}
}

// Fails if a second Finish writes anything.
func TestConsoleFinishesOnce(t *testing.T) {
	for _, mode := range []Mode{None, Lines, Bar} {
		var out bytes.Buffer
		console := NewConsole(&out, mode, columns(80), 10)
		console.Progress(5, 1)
		_ = console.Record(record.Record{Step: 5})
		console.Finish()
		n := out.Len()
		console.Finish()
		if out.Len() != n {
			t.Errorf("%s: %q", mode, out.String())
		}
	}
}

func TestConsoleUntouched(t *testing.T) {
	for _, mode := range []Mode{None, Lines, Bar} {
		var out bytes.Buffer
		NewConsole(&out, mode, columns(80), 0).Finish()
		if out.Len() != 0 {
			t.Errorf("%s: %q", mode, out.String())
		}
	}
}
