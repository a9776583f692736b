// Command lte trains neural networks from scratch with parallel low-rank adapters (LoRA-the-Explorer, Huh et al. 2024,
// arXiv 2402.16828): every MPI rank trains one LoRA head alone, and now and then all merge their factors in lockstep.
//
//	mpirun -np 8 lte
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/data/picture"
	"lte/experiment"
	"lte/internal/quote"
	"lte/internal/session"
	"lte/method"
	"lte/model"
	"lte/mpi"
	"lte/record"
	"lte/report"
	"lte/train"

	"github.com/alecthomas/kong"
)

// version is set by the Makefile from git.
var version = "devel"

// Exit codes, beside 0.
const (
	failed      = 1
	usage       = 2
	interrupted = 75 // a checkpoint is written: start again with --resume
)

// splitSeed fixes the split of a data set: the same for every seed of a run.
const splitSeed = 0

type settings struct {
	Config string   `help:"Configuration file (TOML)." placeholder:"FILE.toml"`
	Set    []string `help:"Set one key; wins over the file. Repeatable." placeholder:"SECTION.KEY=VALUE" sep:"none"`
	RunDir string   `help:"Run directory; a new one under runs/ by default." placeholder:"DIR"`
	Seed   *uint64  `help:"Seed of every random stream." placeholder:"N"`
}

// load reads the effective configuration.
func (s settings) load() (config.Config, error) {
	set := s.Set
	if s.RunDir != "" {
		set = append(set, "run.dir="+strconv.Quote(s.RunDir))
	}
	if s.Seed != nil {
		set = append(set, fmt.Sprintf("seed=%d", *s.Seed))
	}
	return config.Load(s.Config, set)
}

type trainCommand struct {
	settings
	Resume    string         `help:"Resume the run in that directory from its newest valid checkpoint; auto: that of --run-dir, or start it." placeholder:"DIR|auto"`
	TimeLimit *time.Duration `help:"When the job will be ended, from now: before that the run writes a checkpoint and exits with 75." placeholder:"1h30m"`
	progressFlags
}

// progressFlags say how runs show how far they are.
type progressFlags struct {
	Progress string `help:"How progress is shown: bar, redrawn in its line; lines, a few a minute; none; auto: the bar where a terminal shows standard error, also by way of a launcher, else lines. Warnings and the table at the end are printed always." enum:"auto,bar,lines,none" default:"auto" placeholder:"MODE"`
	Quiet    bool   `help:"The same as --progress none."`
}

// check finds flags that contradict one another.
func (f progressFlags) check() error {
	if f.Quiet && f.Progress != "auto" && f.Progress != "none" {
		return &config.Error{Problem: fmt.Sprintf("--quiet and --progress %s contradict one another: leave one of the two out", f.Progress)}
	}
	return nil
}

// console is what shows the progress of a run.
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

// Help lists every key, for lte train --help.
func (trainCommand) Help() string {
	var keys strings.Builder
	_ = config.Help(&keys) // a strings.Builder takes everything
	// Indented text is what kong leaves unwrapped.
	return "Keys of the configuration, with type, default and unit:\n\n\t" +
		strings.ReplaceAll(strings.TrimRight(keys.String(), "\n"), "\n", "\n\t")
}

type commandLine struct {
	Train      trainCommand       `cmd:"" default:"withargs" help:"Train (the default). Under mpirun or srun every rank owns one LoRA head; alone, there is one head."`
	Bench      benchCommands      `cmd:"" help:"Measure products, a step, a merge, messages, or waiting."`
	Data       dataCommands       `cmd:"" help:"Prepare image sets."`
	Plan       planCommand        `cmd:"" help:"Predict time, traffic and memory of a run on other machines."`
	Experiment experimentCommands `cmd:"" help:"Repeat the paper's comparisons."`
	Checkpoint checkpointCommands `cmd:"" help:"Look at checkpoints."`
	Report     reportCommand      `cmd:"" help:"Compare finished runs: a page with figures and tables, each method beside full."`
	Config     settings           `cmd:"" help:"Print the complete effective configuration as TOML with comments."`
	Version    struct{}           `cmd:"" help:"Print version, MPI library, compute back end and CPU features."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// waitPolitely starts the program anew without OpenMP's spinning where ranks and threads outnumber the cores: a waiting
// thread then takes the core from a working one, hundreds of times slower. libgomp asks the environment, before main.
func waitPolitely(threads int) {
	if threads == 0 {
		threads, _ = strconv.Atoi(os.Getenv("OMP_NUM_THREADS"))
	}
	_, count := os.LookupEnv("GOMP_SPINCOUNT")
	_, policy := os.LookupEnv("OMP_WAIT_POLICY")
	if count || policy || !compute.Oversubscribed(mpi.LaunchedHere(), threads) {
		return
	}
	if self, err := os.Executable(); err == nil {
		_ = syscall.Exec(self, os.Args, append(os.Environ(), "OMP_WAIT_POLICY=passive")) // returns only where it cannot
	}
}

// run is main without the exit.
func run(args []string, stdout, stderr io.Writer) int {
	first := mpi.FirstOfLaunch()
	if !first { // every rank reads the same command line: one of them talks about it
		stdout, stderr = io.Discard, io.Discard
	}
	var cli commandLine
	done := -1
	parser := kong.Must(&cli, kong.Name("lte"), kong.Writers(stdout, stderr), kong.Exit(func(code int) { done = code }),
		kong.Description("Trains neural networks from scratch with parallel low-rank adapters (arXiv 2402.16828)."),
		kong.Vars{"runs": strings.Join(experiment.Names(), ", "), "sets": setNames()},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}))
	ctx, err := parser.Parse(args)
	if done >= 0 { // --help
		return done
	}
	if err != nil {
		fmt.Fprintf(stderr, "lte: %s (see lte --help)\n", quote.Text(err.Error()))
		if !first {
			return 0 // a launcher kills the rank that talks once another has left with an error
		}
		return usage
	}
	switch ctx.Command() {
	case "version":
		fmt.Fprintf(stdout, "lte %s\nMPI: %s\ncompute: %s\nCPU: %s, %s\n", version, mpi.Library(), compute.Describe(), runtime.GOARCH, compute.Features())
		return 0
	case "config":
		c, err := cli.Config.load()
		if err == nil {
			err = c.Write(stdout)
		}
		return complain(stderr, err)
	case "bench gemm":
		return runBench("gemm", cli.Bench.Gemm, stdout, stderr)
	case "bench step":
		return runBench("step", cli.Bench.Step, stdout, stderr)
	case "bench merge":
		return runBench("merge", cli.Bench.Merge, stdout, stderr)
	case "bench data", "bench data <path>":
		return complain(stderr, runDataBench(cli.Bench.Data, stdout))
	case "bench wait":
		return runWait(cli.Bench.Wait, stdout)
	case "bench messages":
		return runMessages(cli.Bench.Messages, stdout)
	case "data fetch <name>", "data fetch <name> <dir>":
		return complain(stderr, runFetch(cli.Data.Fetch, stdout, stderr))
	case "data info", "data info <path>":
		return complain(stderr, runInfo(cli.Data.Info, stdout))
	case "data pack <src> <dst>":
		return complain(stderr, runPack(cli.Data.Pack, stdout, stderr))
	case "plan":
		return runPlan(cli.Plan, stdout, stderr)
	case "checkpoint inspect <path>":
		return runInspect(cli.Checkpoint.Inspect, stdout, stderr)
	case "report <run>":
		return runReport(cli.Report, stdout, stderr)
	case "experiment observations":
		return runObservations(cli.Experiment.Observations, stdout, stderr)
	}
	c, err := cli.Train.load()
	if err == nil {
		err = cli.Train.check()
	}
	if err == nil {
		waitPolitely(c.Compute.Threads)
	}
	return launch(os.Stderr, func(w *mpi.World) error {
		if err := collective.Agree(w, err); err != nil {
			return err
		}
		return trainOn(w, c, cli.Train, os.Stdout, os.Stderr)
	})
}

// complain prints an error and returns its exit code.
func complain(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "lte: %s\n", quote.Error(err))
	if stop := new(stopped); errors.As(err, &stop) && stop.Saved {
		return interrupted
	}
	if errors.As(err, new(*config.Error)) || errors.As(err, new(*data.OptionError)) || errors.As(err, new(*session.HeldError)) {
		return usage
	}
	return failed
}

// launch brings MPI up and does the task on this rank. An error that all ranks share is printed once and all leave in order; whatever
// befalls one rank alone, a panic too, is printed by that rank and ends the whole job at once, so that none waits.
func launch(stderr io.Writer, task func(*mpi.World) error) (code int) {
	started := mpi.Announce(stderr)
	world, err := mpi.Start()
	started()
	if err != nil { // the wrong launcher: every process takes itself for rank 0, the launcher knows better
		if !mpi.FirstOfLaunch() {
			return 0
		}
		fmt.Fprintf(stderr, "lte: %s\n", quote.Error(err))
		return failed
	}
	abort := aborter(world, stderr, failed)
	defer func() {
		if cause := recover(); cause != nil {
			fmt.Fprintf(stderr, "%s", debug.Stack())
			abort(fmt.Sprintf("panic: %v", cause))
			code = failed
		}
	}()
	err = task(world)
	if err != nil && !shared(err) {
		abort(err)
		return failed
	}
	// Said before the barrier in Stop: a launcher kills the other ranks once one has left with an error.
	code = complainOnce(stderr, err, world.Rank())
	if err := world.Stop(); err != nil {
		abort(err)
		return failed
	}
	return code
}

// aborter returns a function that names this rank, says why, and ends all ranks with that exit code.
func aborter(world *mpi.World, stderr io.Writer, code int) func(cause any) {
	return func(cause any) {
		if world.Rank() > 0 && mpi.StandardError() != nil { // rank 0's bar may stand in the terminal's last line
			fmt.Fprintln(stderr)
		}
		fmt.Fprintf(stderr, "rank %d/%d %s: %s\n", world.Rank(), world.Size(), quote.Text(world.Host()), quote.Text(fmt.Sprint(cause)))
		world.Abort(code)
	}
}

// shared says whether all ranks have an error of that kind at the same point.
func shared(err error) bool {
	return errors.As(err, new(*collective.Failure)) || errors.As(err, new(*train.NonFiniteError)) || errors.As(err, new(*collective.LockstepError)) ||
		errors.As(err, new(*train.CheckpointError)) || errors.As(err, new(*stopped))
}

// complainOnce prints a shared error on one rank: the first that has it.
func complainOnce(stderr io.Writer, err error, rank int) int {
	first := 0
	if f := new(collective.Failure); errors.As(err, &f) {
		if first = f.Rank; f.Err == nil {
			return 0 // this rank is well; launchers report the code of one that is not
		}
	}
	if rank != first {
		stderr = io.Discard
	}
	return complain(stderr, err)
}

// trainOn is the run of one rank.
func trainOn(world *mpi.World, c config.Config, command trainCommand, stdout, stderr io.Writer) error {
	runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
	if err := agreeToResume(world, command.Resume, c.Run.Dir); err != nil {
		return err
	}
	console := command.console(stderr, c.Train.Steps)
	stderr = console // until the run is over
	if command.Resume != "" {
		if done, err := finished(world, c, stderr); done || err != nil {
			return err
		}
	}
	end := watch(world, c, stderr)
	if err := collective.Agree(world, c.Resolve(world.Size())); err != nil {
		return err
	}
	e, err := enter(world, c, command.Resume, stderr)
	if err != nil {
		return err
	}
	defer e.leave()
	s, err := openSite(world, c, stderr)
	if err != nil {
		return err
	}
	return s.train(c, e, end, console, stdout)
}

// site is where runs take place that differ neither in data nor in how they compute.
type site struct {
	world   *mpi.World
	threads int
	backend compute.Backend
	set     *data.Set
}

// openSite makes the back end ready and reads the data, on all ranks.
func openSite(world *mpi.World, c config.Config, stderr io.Writer) (s site, err error) {
	s.world = world
	s.threads, err = threadsPerRank(c.Compute.Threads, world)
	if err := collective.Agree(world, err); err != nil {
		return s, err
	}
	if cores := world.MachineCores(); s.threads > 1 && s.threads*world.MachineSize() > cores && world.Rank() == 0 {
		fmt.Fprintf(stderr, "lte: warning: %d ranks of %d threads share %d cores of this machine: slower than one thread a rank; lower compute.threads or OMP_NUM_THREADS\n",
			world.MachineSize(), s.threads, cores)
	}
	ranks, cores := world.Fullest()
	if text := tooMany(ranks, cores, c); text != "" && world.Rank() == 0 {
		fmt.Fprintf(stderr, "lte: warning: %s\n", text)
	}
	if err := world.Unshared(); err != nil && world.Rank() == 0 {
		fmt.Fprintf(stderr, "lte: warning: every rank holds W for itself, as those of a node cannot share memory: %v\n", err)
	}
	s.backend, err = compute.New(c.Compute.Backend, s.threads, compute.DType(c.Compute.DType))
	if err != nil {
		err = &config.Error{Problem: err.Error(), Err: err}
	}
	if err := collective.Agree(world, err); err != nil {
		return s, err
	}
	if err := checkSizes(world, c); err != nil {
		return s, err
	}
	s.set, err = data.Open(source(c, s.threads), splitSeed)
	return s, collective.Agree(world, err)
}

// tooMany says what to do where so many ranks share the cores of a machine, if they are more than 8 a core.
func tooMany(ranks, cores int, c config.Config) string {
	if ranks <= 8*cores {
		return ""
	}
	instead := ""
	switch {
	case c.Spec().Trains != method.OwnHeads:
		instead = " and raise train.batch for as many images a step"
	case c.LoRA.Heads > 0: // resolved
		instead = fmt.Sprintf(" and give each several heads (lora.heads = %d)", c.LoRA.Heads)
	}
	return fmt.Sprintf("ranks on a machine: %d; cores that they may use: %d; more than 8 ranks a core start slowly and wait for one another: start fewer%s",
		ranks, cores, instead)
}

// source is where the configuration says that images come from.
func source(c config.Config, threads int) data.Source {
	d := c.Data
	o := data.Source{Synthetic: data.Synthetic(c.Synthetic), Kind: d.Kind, Path: d.Path, Classes: d.Classes, TestFraction: d.TestPart, Size: d.Size, Fit: data.Fit{Keep: d.Keep}, Normalize: d.Norm, Workers: d.Workers}
	if d.Resize == "bilinear" {
		o.Fit.Filter = picture.Bilinear
	}
	if o.Workers == 0 {
		o.Workers = threads
	}
	return o
}

// train makes a run of a resolved configuration, or resumes one; stdout gets the table at its end. end says why the run is to be
// interrupted.
func (s site) train(c config.Config, e *entry, end *ending, console *report.Console, stdout io.Writer) error {
	world := s.world
	defer console.Finish()
	if err := checkRun(world, c, s.set); err != nil {
		return err
	}
	t, err := s.trainer(c, e.from)
	if err := collective.Agree(world, err); err != nil {
		return err
	}
	var o *output
	var observer record.Observer
	if world.Rank() == 0 {
		if o, err = newOutput(world, c, s.set.Name, e, console); err == nil {
			observer = o
			defer o.files.Close()
		}
	}
	if err := collective.Agree(world, err); err != nil {
		return err
	}
	if c.Run.Dir, err = s.tellDir(o); err != nil {
		return err
	}
	if c.Checkpoint.Keep > 0 {
		if err := s.keep(t, c, o, end); err != nil {
			return err
		}
	}
	if c.Run.Watchdog > 0 && world.Size() > 1 {
		defer s.watchdog(t, c, console).start()()
	}

	end.arm()
	summary, err := t.Run(observer)
	console.Finish()
	if stop := new(train.InterruptedError); errors.As(err, &stop) {
		return &stopped{InterruptedError: stop, why: end.why(stop.Reason)}
	}
	if err != nil && !shared(err) {
		return err
	}
	// After a shared error too: the weights are those of the last merge.
	var saved error
	if world.Rank() == 0 {
		saved = model.Save(filepath.Join(o.dir, "model.safetensors"), t.Model().Parameters())
		if err == nil && saved == nil {
			if average := t.Average(); average != nil {
				saved = model.Save(filepath.Join(o.dir, "model_ema.safetensors"), average)
			}
		}
		if err == nil && saved == nil {
			summary.Threads, summary.MPI, summary.Version = s.threads, mpi.Library(), version
			if saved = record.WriteSummary(o.dir, summary); saved == nil {
				report.Table(stdout, summary, o.dir)
			}
		}
	}
	return errors.Join(err, collective.Agree(world, saved))
}

// trainer makes the trainer of a run, or of one that is resumed.
func (s site) trainer(c config.Config, from *train.Saved) (*train.Trainer, error) {
	if from == nil {
		return train.New(c, s.world, s.set, s.backend)
	}
	return train.Resume(c, s.world, s.set, s.backend, *from)
}

// output is what rank 0 writes while it trains: the console and the run directory.
type output struct {
	record.Observer
	dir   string
	files *report.Files
}

// newOutput makes the run directory of a run, or prepares that of one that is resumed.
func newOutput(world *mpi.World, c config.Config, dataset string, e *entry, console *report.Console) (*output, error) {
	dir, err := e.runDir(world, c, dataset, console)
	if err != nil {
		return nil, err
	}
	files, err := report.NewFiles(dir)
	if err == nil && e.from != nil {
		err = files.Resumed(e.from.Manifest.Step)
	}
	if err != nil {
		return nil, err
	}
	return &output{Observer: report.Multi(console, files), dir: dir, files: files}, nil
}
