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

// The rates at which a console is written to.
const (
	redrawEvery = 100 * time.Millisecond // the bar of a terminal
	lineEvery   = 10 * time.Second       // lines elsewhere
	evalEvery   = 2 * time.Second        // lines that tell of an evaluation
)

// Mode is how a console shows progress.
type Mode string

// The modes.
const (
	Bar   Mode = "bar"   // redrawn in its line
	Lines Mode = "lines" // at a sane rate
	None  Mode = "none"  // warnings alone
)

const barWidth = 20 // columns of the bar itself, where the terminal has room for it

// Console shows the progress of a run, and is the standard error of what runs beside it: as an io.Writer it takes whole lines, which
// never stand in the line of a bar. What goes wrong in writing is ignored: a run of hours does not end because nobody looks. Its
// methods may be called from any goroutine.
type Console struct {
	mu    sync.Mutex
	w     io.Writer
	steps int
	mode  Mode
	width func() int // columns of the terminal
	bar   *progressbar.ProgressBar
	frame int // columns of the bar that stands in the terminal's last line; 0: none does
	now   func() time.Time

	drawn   time.Time // of the last bar or line; zero before the first
	loss    float64   // of the last step with a bar, of the last record with lines
	last    record.Record
	top1    *float64 // of the last evaluation; nil before the first
	pending bool     // the last record has no line yet
}

// NewConsole returns the console of a run of steps steps. Nothing is written before the first step. width tells how many columns a
// bar's terminal has, whenever it is drawn.
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
	c.last = r
	evaluated := r.TestTop1 != nil
	if evaluated {
		c.top1 = r.TestTop1
	}
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

// Write puts lines where the bar stands, if one does; its next step draws it below them.
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

// Finish writes what the rates held back and ends the bar's line. It is for runs that fail, too; what is finished stays so.
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

// draw writes the bar over the last one, in one piece and short of the terminal's last column: a terminal that wraps its lines keeps
// what was in the first ones for good. Where there is little room, first the bar itself gives way, then the rate.
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

// render is a bar of that many columns behind a text, in characters of a column each.
func (c *Console) render(width int, text string) []rune {
	progressbar.OptionSetWidth(width)(c.bar)
	c.bar.Describe(text)
	return []rune(strings.Trim(c.bar.String(), "\r "))
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
	return fmt.Sprintf("loss %.4f  %s images/s  top-1 %s", c.loss, rate(c.last.ImagesPerSecond), c.accuracy())
}

// accuracy is that of the last evaluation.
func (c *Console) accuracy() string {
	if c.top1 == nil {
		return "-"
	}
	return percent(*c.top1)
}
