package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"lte/collective"
	"lte/config"
	"lte/internal/session"
	"lte/mpi"
	"lte/report"
)

// trainCommand is lte train.
type trainCommand struct {
	settings
	Resume    string         `help:"Resume the run in that directory from its newest valid checkpoint; auto: that of --run-dir, or start it." placeholder:"DIR|auto"`
	TimeLimit *time.Duration `help:"When the job will be ended, from now: before that the run writes a checkpoint and exits with 75." placeholder:"1h30m"`
	progressFlags
}

// progressFlags say how progress is shown.
type progressFlags struct {
	Progress string `help:"How progress is shown: bar, redrawn in its line; lines, a few per minute; none; auto: the bar where a terminal shows standard error, directly or through the launcher, else lines. Warnings and the final table are always printed." enum:"auto,bar,lines,none" default:"auto" placeholder:"MODE"`
	Quiet    bool   `help:"The same as --progress none."`
}

// Help lists every key, for lte train --help.
func (trainCommand) Help() string {
	var keys strings.Builder
	_ = config.Help(&keys) // a strings.Builder returns no error
	// kong does not wrap indented text.
	return "Keys of the configuration, with type, default and unit:\n\n\t" +
		strings.ReplaceAll(strings.TrimRight(keys.String(), "\n"), "\n", "\n\t")
}

// Run trains.
func (t trainCommand) Run(p *process) error {
	c, err := t.load()
	if err == nil {
		err = t.check()
	}
	if err == nil {
		session.DisableSpinning(c.Compute.Threads)
	}
	return p.launch(func(w *mpi.World) error {
		if err := collective.Agree(w, err); err != nil {
			return err
		}
		return session.Train(w, p.Program, c, t.Resume, t.console(p.own.stderr, c.Train.Steps), p.own.stdout)
	})
}

// load reads the effective configuration: that of the run to be resumed, unless --config names another, then what --set sets. Resume
// is "" afterwards where there is nothing to resume.
func (t *trainCommand) load() (c config.Config, err error) {
	if t.TimeLimit != nil {
		t.Set = append(t.Set, "run.time_limit="+strconv.FormatFloat(t.TimeLimit.Minutes(), 'g', -1, 64))
	}
	if t.Resume == "" {
		return t.settings.load()
	}
	dir := t.Resume
	if dir == session.Auto {
		if c, err = t.settings.load(); err != nil {
			return c, err
		}
		if dir = c.Run.Dir; dir == "" {
			return c, &config.Error{Where: "--resume auto", Keys: []string{"run.dir"}, Problem: "which run? Name its directory with --run-dir"}
		}
		if !report.HoldsRun(dir) {
			t.Resume = ""
			return c, nil
		}
	} else if !report.HoldsRun(dir) {
		return c, &config.Error{Where: "--resume " + dir, Problem: "there is no run; expected its run directory, such as runs/NAME, or auto with --run-dir"}
	}
	s := t.settings
	s.RunDir = dir
	own := settings{keys: keys{Config: report.ConfigPath(dir)}}
	if s.Config == "" {
		s.Recipe, s.Config = "", own.Config // which has all keys
	}
	if c, err = s.load(); err != nil || c.LoRA.Heads > 0 {
		return c, err
	}
	was, err := own.load() // lora.heads = 0, one per rank, keeps the number of heads on any number of ranks
	c.LoRA.Heads = was.LoRA.Heads
	return c, err
}

// check finds flags that contradict each other.
func (f progressFlags) check() error {
	if f.Quiet && f.Progress != "auto" && f.Progress != "none" {
		return &config.Error{Problem: fmt.Sprintf("--quiet and --progress %s contradict each other: leave out one of them", f.Progress)}
	}
	return nil
}

// console shows the progress of a run.
func (f progressFlags) console(stderr io.Writer, steps int) *report.Console {
	mode, terminal := report.Mode(f.Progress), mpi.StandardError()
	switch {
	case f.Quiet:
		mode = report.None
	case f.Progress == "auto" && terminal != nil:
		mode = report.Bar
	case f.Progress == "auto":
		mode = report.Lines
	}
	return report.NewConsole(stderr, mode, terminal.Width, steps)
}
