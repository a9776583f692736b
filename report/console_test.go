package report

import (
	stdbytes "bytes"
	"strings"
	"testing"
	"time"

	"lte/train"
)

// at is a clock of the tests: seconds since the start of the test's run.
func at(s float64) time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(s * float64(time.Second)))
}

func evaluated(top1, loss float64) (a, b *float64) { return &top1, &loss }

func TestConsoleLines(t *testing.T) {
	type event struct {
		at     float64 // s
		record train.Record
		top1   float64 // of an evaluation; 0: none
	}
	record := func(step int, seconds, loss float64) train.Record {
		return train.Record{Step: step, Seconds: seconds, TrainLoss: loss, ImagesPerSecond: 1234.4}
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
			var out stdbytes.Buffer
			console := NewConsole(&out, false, 1000, false)
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

// TestConsoleBar runs a terminal's bar to its end; what is on the screen is what follows the last carriage return.
func TestConsoleBar(t *testing.T) {
	var out stdbytes.Buffer
	console := NewConsole(&out, true, 200, false)
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
	r := train.Record{Step: 100, ImagesPerSecond: 5000}
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
	for _, terminal := range []bool{false, true} {
		var out stdbytes.Buffer
		console := NewConsole(&out, terminal, 10, true)
		console.Progress(10, 1)
		r := train.Record{Step: 10}
		r.TestTop1, r.TestLoss = evaluated(1, 0)
		_ = console.Record(r)
		console.Finish()
		if out.Len() != 0 {
			t.Errorf("terminal %t: %q", terminal, out.String())
		}
	}
}

// Fails if a note is lost, or a quiet console tells of it.
func TestConsoleNote(t *testing.T) {
	for quiet, want := range map[bool]string{false: "lte: listen\n", true: ""} {
		var out stdbytes.Buffer
		NewConsole(&out, false, 10, quiet).Note("listen")
		if out.String() != want {
			t.Errorf("quiet %t: %q", quiet, out.String())
		}
	}
}

// Fails if a quiet console keeps a warning to itself, or if one stands in the line of a bar.
func TestConsoleWarn(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		for _, terminal := range []bool{false, true} {
			var out stdbytes.Buffer
			console := NewConsole(&out, terminal, 10, quiet)
			console.Progress(5, 1)
			console.Warn("beware")
			const want = "lte: warning: beware\n"
			frames := strings.Split(out.String(), "\r")
			if last := frames[len(frames)-1]; last != want || (len(frames) > 1) != (terminal && !quiet) {
				t.Errorf("quiet %t, terminal %t: %q", quiet, terminal, out.String())
			}
		}
	}
}

func TestConsoleUntouched(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var out stdbytes.Buffer
		NewConsole(&out, terminal, 0, false).Finish()
		if out.Len() != 0 {
			t.Errorf("terminal %t: %q", terminal, out.String())
		}
	}
}
