package report

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/schollz/progressbar/v3"

	"lte/train"
)

// The rates at which a console is written to.
const (
	redrawEvery = 100 * time.Millisecond // the bar of a terminal
	lineEvery   = 10 * time.Second       // lines elsewhere
	evalEvery   = 2 * time.Second        // lines that tell of an evaluation
)

// Console draws the progress of a run: a bar on a terminal, lines at a sane rate elsewhere. What goes wrong in
// writing it is ignored: a run of hours does not end because nobody looks.
type Console struct {
	w     io.Writer
	steps int
	quiet bool
	bar   *progressbar.ProgressBar // nil: lines
	now   func() time.Time

	drawn   time.Time // of the last bar or line; zero before the first
	loss    float64   // of the last step on a terminal, of the last record elsewhere
	last    train.Record
	top1    *float64 // of the last evaluation; nil before the first
	pending bool     // the last record has no line yet
}

// NewConsole returns the console of a run of steps steps. Nothing is written before the first step. Where quiet is
// set, nothing is written but warnings.
func NewConsole(w io.Writer, isTerminal bool, steps int, quiet bool) *Console {
	c := &Console{w: w, steps: steps, quiet: quiet, loss: math.NaN(), now: time.Now}
	if isTerminal && !quiet {
		c.bar = progressbar.NewOptions(max(steps, 1),
			progressbar.OptionSetWriter(w),
			progressbar.OptionSetWidth(20),
			progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionShowElapsedTimeOnFinish())
	}
	return c
}

// Progress implements train.Observer.
func (c *Console) Progress(step int, loss float64) {
	if c.bar == nil {
		return
	}
	c.loss = loss
	if now := c.now(); step >= c.steps || now.Sub(c.drawn) >= redrawEvery {
		c.drawn = now
		c.bar.Describe(c.state())
		_ = c.bar.Set(step)
	}
}

// Record implements train.Observer; the error is nil.
func (c *Console) Record(r train.Record) error {
	c.last = r
	evaluated := r.TestTop1 != nil
	if evaluated {
		c.top1 = r.TestTop1
	}
	switch {
	case c.quiet:
	case c.bar != nil:
		if !c.drawn.IsZero() {
			c.bar.Describe(c.state())
		}
	default:
		c.loss = r.TrainLoss
		c.pending = true
		since := c.now().Sub(c.drawn) // of the zero time: longer than any
		if since >= lineEvery || evaluated && since >= evalEvery {
			c.line()
		}
	}
	return nil
}

// Note implements train.Observer: a line.
func (c *Console) Note(text string) {
	if !c.quiet {
		fmt.Fprintf(c.w, "lte: %s\n", text)
	}
}

// Warn implements train.Observer: a line, also where the console is quiet.
func (c *Console) Warn(text string) {
	if c.bar != nil && !c.drawn.IsZero() {
		_ = c.bar.Clear()
	}
	fmt.Fprintf(c.w, "lte: warning: %s\n", text)
}

// Finish writes what the rates held back and ends the bar's line. It is for runs that fail, too.
func (c *Console) Finish() {
	switch {
	case c.quiet:
	case c.bar != nil:
		if !c.drawn.IsZero() {
			c.bar.Describe(c.state())
			fmt.Fprintln(c.w)
		}
	case c.pending:
		c.line()
	}
}

// line writes the last record.
func (c *Console) line() {
	c.drawn, c.pending = c.now(), false
	width := len(fmt.Sprint(c.steps))
	fmt.Fprintf(c.w, "step %*d/%d  %s  elapsed %s  left %s\n", width, c.last.Step, c.steps, c.state(),
		seconds(c.last.Seconds), seconds(c.left()))
}

// left is the time remaining, in seconds, at the mean rate so far.
func (c *Console) left() float64 {
	if c.last.Step <= 0 {
		return math.NaN()
	}
	return c.last.Seconds / float64(c.last.Step) * float64(max(c.steps-c.last.Step, 0))
}

// state is what bar and lines have in common.
func (c *Console) state() string {
	top1 := "-"
	if c.top1 != nil {
		top1 = percent(*c.top1)
	}
	return fmt.Sprintf("loss %.4f  %s images/s  top-1 %s", c.loss, rate(c.last.ImagesPerSecond), top1)
}
