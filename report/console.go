// Package report shows and stores the progress of a run on rank 0: on the console, in the files of the run directory
// (docs/run-directory.md), and as a table at the end.
//
// Sources: TensorFlow's event.proto and record_writer.cc for the event files.
package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"lte/record"
)

// Least time between two outputs.
const (
	redrawEvery = 100 * time.Millisecond // of the bar
	lineEvery   = 10 * time.Second       // of lines
	evalEvery   = 2 * time.Second        // of lines after an evaluation
)

// Mode is how a console shows progress.
type Mode string

const (
	Bar   Mode = "bar"   // a progress bar, redrawn in place
	Lines Mode = "lines" // a line every few seconds
	None  Mode = "none"  // warnings only
)

const barWidth = 20 // columns of the bar itself, less on a narrow terminal

// Console is the observer that shows the progress of a run on a terminal or in a log. It is also an io.Writer for the standard error of
// the rest of the program: lines written to it clear the bar first. Write errors are ignored, so that a closed terminal ends no run. All
// methods are safe for concurrent use.
type Console struct {
	mu    sync.Mutex
	w     io.Writer
	steps int
	mode  Mode
	width func() int // columns of the terminal
	bar   *progressbar.ProgressBar
	frame int // columns of the bar on the screen; 0: none
	now   func() time.Time

	drawn   time.Time     // of the last bar or line; zero before the first
	loss    float64       // of the last step with a bar, of the last record with lines
	last    record.Record // its TestTop1 is that of the last evaluation, nil before the first
	pending bool          // the last record has not been printed
}

// NewConsole returns the console of a run of that many steps. It writes nothing before the first step. width returns the columns of
// the terminal; it is called whenever the bar is drawn.
func NewConsole(w io.Writer, mode Mode, width func() int, steps int) *Console {
	c := &Console{w: w, steps: steps, mode: mode, width: width, loss: math.NaN(), now: time.Now}
	if mode == Bar {
		c.bar = progressbar.NewOptions(max(steps, 1),
			progressbar.OptionSetWriter(io.Discard), // draw writes it
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionShowElapsedTimeOnFinish())
	}
	return c
}

// Progress implements record.Observer.
func (c *Console) Progress(step int, loss float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode != Bar {
		return
	}
	c.loss = loss
	if now := c.now(); step >= c.steps || now.Sub(c.drawn) >= redrawEvery {
		c.drawn = now
		_ = c.bar.Set(step)
		c.draw()
	}
}

// Record implements record.Observer; the error is nil.
func (c *Console) Record(r record.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	evaluated := r.TestTop1 != nil
	if !evaluated {
		r.TestTop1 = c.last.TestTop1
	}
	c.last = r
	switch {
	case c.mode == Bar && evaluated && !c.drawn.IsZero():
		c.draw()
	case c.mode == Lines:
		c.loss = r.TrainLoss
		c.pending = true
		since := c.now().Sub(c.drawn) // of the zero time: longer than any
		if since >= lineEvery || evaluated && since >= evalEvery {
			c.line()
		}
	}
	return nil
}

// Note implements record.Observer: a line, unless the mode is None.
func (c *Console) Note(text string) {
	if c.mode != None {
		fmt.Fprintf(c, "lte: %s\n", text)
	}
}

// Warn implements record.Observer: a line in every mode.
func (c *Console) Warn(text string) { fmt.Fprintf(c, "lte: warning: %s\n", text) }

// Write clears the bar and writes lines in its place; the next step draws the bar below them.
func (c *Console) Write(lines []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frame == 0 {
		return c.w.Write(lines)
	}
	blank := "\r" + strings.Repeat(" ", c.frame) + "\r"
	c.frame = 0
	n, err := c.w.Write(append([]byte(blank), lines...))
	return max(0, n-len(blank)), err
}

// Finish prints the last state and ends the line of the bar. Call it after failed runs too; a second call does nothing.
func (c *Console) Finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mode == Bar && !c.drawn.IsZero():
		c.draw()
		fmt.Fprintln(c.w)
		c.frame, c.drawn = 0, time.Time{}
	case c.pending:
		c.line()
	}
}

// draw redraws the bar in a single write that leaves the terminal's last column free: a bar that wraps could not be erased. On a narrow
// terminal it shortens the bar itself, then drops the rate.
func (c *Console) draw() {
	most := max(1, c.width()-1)
	text := c.render(barWidth, c.state())
	if excess := len(text) - most; excess > 0 {
		text = c.render(max(0, barWidth-excess), c.state())
	}
	if len(text) > most {
		text = c.render(0, fmt.Sprintf("loss %.4f  top-1 %s", c.loss, c.accuracy()))
	}
	text = text[:min(len(text), most)]
	blank := strings.Repeat(" ", min(max(0, c.frame-len(text)), most-len(text)))
	c.frame = len(text)
	fmt.Fprintf(c.w, "\r%s%s", string(text), blank)
}

// render returns a text followed by a bar of that many columns; every rune takes one column.
func (c *Console) render(width int, text string) []rune {
	progressbar.OptionSetWidth(width)(c.bar)
	c.bar.Describe(text)
	return []rune(strings.Trim(c.bar.String(), "\r "))
}

// line prints the last record.
func (c *Console) line() {
	c.drawn, c.pending = c.now(), false
	width := len(fmt.Sprint(c.steps))
	fmt.Fprintf(c.w, "step %*d/%d  %s  elapsed %s  left %s\n", width, c.last.Step, c.steps, c.state(),
		seconds(c.last.Seconds), seconds(c.left()))
}

// left returns the remaining time in seconds at the mean rate so far.
func (c *Console) left() float64 {
	if c.last.Step <= 0 {
		return math.NaN()
	}
	return c.last.Seconds / float64(c.last.Step) * float64(max(c.steps-c.last.Step, 0))
}

// state returns the text shared by bar and lines.
func (c *Console) state() string {
	return fmt.Sprintf("loss %.4f  %s images/s  top-1 %s", c.loss, rate(c.last.ImagesPerSecond), c.accuracy())
}

// accuracy returns the top-1 of the last evaluation.
func (c *Console) accuracy() string {
	if c.last.TestTop1 == nil {
		return "-"
	}
	return percent(*c.last.TestTop1)
}
