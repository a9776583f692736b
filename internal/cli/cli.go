// Package cli is the command line of lte: one file per command, with its flags and its output. What commands do is left to the packages
// that they call.
package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"lte/config"
	"lte/data/fetch"
	"lte/experiment"
	"lte/internal/quote"
	"lte/internal/session"
	"lte/method"
	"lte/mpi"

	"github.com/alecthomas/kong"
)

// commandLine is all commands. Each has a Run method.
type commandLine struct {
	Train      trainCommand       `cmd:"" default:"withargs" help:"Train (the default). Under mpirun or srun every rank owns one LoRA head; alone, there is one head."`
	Bench      benchCommands      `cmd:"" help:"Measure matrix products, a step, a merge, messages, waiting, or reading images."`
	Data       dataCommands       `cmd:"" help:"Prepare image sets."`
	Plan       planCommand        `cmd:"" help:"Predict time, traffic and memory of a run on other machines."`
	Experiment experimentCommands `cmd:"" help:"Repeat the paper's comparisons."`
	Checkpoint checkpointCommands `cmd:"" help:"Inspect checkpoints."`
	Report     reportCommand      `cmd:"" help:"Compare finished runs: a page with figures and tables, each method compared with full."`
	Config     configCommand      `cmd:"" help:"Print the complete effective configuration as TOML with comments."`
	Version    versionCommand     `cmd:"" help:"Print version, MPI library, compute back end and CPU features."`
}

// process is what a command runs in.
type process struct {
	session.Program
	stdout, stderr io.Writer // of the first rank; the others discard what all would print alike
	own            streams
	code           int // exit code of a command that has printed its errors
}

// streams are standard output and standard error of this rank.
type streams struct{ stdout, stderr io.Writer }

// Run executes a command line and returns the exit code. version is that of the program.
func Run(version string, args []string, stdout, stderr io.Writer) int {
	p := &process{Program: session.Program{Version: version, Started: time.Now()}, stdout: stdout, stderr: stderr, own: streams{stdout, stderr}}
	first := mpi.LauncherRank() == 0
	if !first {
		p.stdout, p.stderr = io.Discard, io.Discard
	}
	done := -1
	parser := kong.Must(new(commandLine), kong.Name("lte"), kong.Writers(p.stdout, p.stderr), kong.Exit(func(code int) { done = code }),
		kong.Description("Trains neural networks from scratch with parallel low-rank adapters (arXiv 2402.16828)."),
		kong.Vars{"runs": strings.Join(experiment.Names(), ", "), "sets": strings.Join(fetch.Names(), ", "), "method": method.Default().Name,
			"recipes": strings.Join(config.Recipes(), ", "),
			"methods": strings.Join(method.Names(), ", ")},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}))
	command, err := parser.Parse(args)
	if done >= 0 { // --help
		return done
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "lte: %s (see lte --help)\n", quote.Text(err.Error()))
		if !first {
			return 0 // a launcher kills the rank that prints once another one has exited with an error
		}
		return session.ExitUsage
	}
	if err := command.Run(p); err != nil {
		return session.PrintError(p.stderr, err)
	}
	return p.code
}

// sayer returns a function that prints a line, on rank 0.
func (p *process) sayer(w *mpi.World) func(format string, args ...any) {
	return func(format string, args ...any) {
		if w.Rank() == 0 {
			fmt.Fprintf(p.stdout, format+"\n", args...)
		}
	}
}

// launch runs a task on the ranks of MPI.
func (p *process) launch(task func(*mpi.World) error) error {
	p.code = session.Launch(p.own.stderr, task)
	return nil
}

// keys are the flags that set keys of a configuration.
type keys struct {
	Recipe string   `help:"A recommended configuration (${recipes}; docs/recipes.md), which the file and --set change." placeholder:"NAME"`
	Config string   `help:"Configuration file (TOML)." placeholder:"FILE.toml"`
	Set    []string `help:"Set one key; overrides the file. Repeatable." placeholder:"SECTION.KEY=VALUE" sep:"none"`
	Seed   *uint64  `help:"Seed of every random stream." placeholder:"N"`
}

// load reads the effective configuration, with more settings after those of the flags.
func (k keys) load(more ...string) (config.Config, error) {
	set := slices.Concat(k.Set, more)
	if k.Seed != nil {
		set = append(set, fmt.Sprintf("seed=%d", *k.Seed))
	}
	return config.LoadRecipe(k.Recipe, k.Config, set)
}

// settings are the flags of commands that read the configuration of a run.
type settings struct {
	keys
	RunDir string `help:"Run directory; a new one under runs/ by default." placeholder:"DIR"`
}

// load reads the effective configuration.
func (s settings) load() (config.Config, error) {
	if s.RunDir == "" {
		return s.keys.load()
	}
	return s.keys.load("run.dir=" + strconv.Quote(s.RunDir))
}

// Largest values of flags.
const (
	maxImage   = 16384 // pixels
	maxClasses = 1_000_000
	maxRounds  = 1_000_000_000
)

// inRange is the usage error of a flag whose value is out of range, or NaN.
func inRange[T int | float64 | time.Duration](flag string, x, least, most T) error {
	if x >= least && x <= most {
		return nil
	}
	return &config.Error{Problem: fmt.Sprintf("--%s must be at least %v and at most %v, not %v", flag, least, most, x)}
}
