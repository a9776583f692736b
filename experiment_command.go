package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"lte/collective"
	"lte/config"
	"lte/experiment"
	"lte/mpi"
	"lte/report"
)

type experimentCommands struct {
	Observations observationsCommand `cmd:"" help:"Train all methods on equally many images and judge the paper's five observations."`
}

// observationsCommand is lte experiment observations.
type observationsCommand struct {
	Data   string             `help:"Image set: whatever data.path may name; empty: the embedded digits." placeholder:"PATH"`
	Out    string             `help:"Folder of the runs, the tables and the curves; runs that it holds, finished, are not repeated. A new one under runs/ by default." placeholder:"DIR"`
	Heads  int                `help:"Heads N of lte and mhlora, shared out among the ranks." default:"8"`
	Rank   int                `help:"Rank r of a head." default:"16"`
	Images int                `help:"Images that a run sees." default:"96000"`
	Batch  int                `help:"Images of a step, of all ranks and heads together." default:"128"`
	Seeds  int                `help:"Runs of each method: seeds 1 to N." default:"1"`
	LR     map[string]float64 `name:"lr" help:"Peak learning rate of a run. Repeatable." placeholder:"NAME=RATE"`
	Only   []string           `help:"Train these alone (${runs}); what is finished is judged." placeholder:"NAME"`
	More   bool               `help:"Also lte with 40 % more images."`
	Set    []string           `help:"Set one key in all runs. Repeatable." placeholder:"SECTION.KEY=VALUE" sep:"none"`
	List   bool               `help:"Print the runs, each its name and what lte train is to --set for it, between tabs; train nothing." xor:"what"`
	Judge  bool               `help:"Judge what is finished; train nothing." xor:"what"`
	Ranks  int                `help:"Ranks that train, for --list and --judge, which need no launcher." default:"1"`
	progressFlags
}

func (o observationsCommand) options() experiment.Options {
	return experiment.Options{Data: o.Data, Out: o.Out, Heads: o.Heads, Rank: o.Rank, Images: o.Images, Batch: o.Batch,
		Seeds: o.Seeds, Rates: o.LR, Only: o.Only, More: o.More, Set: o.Set}
}

// runObservations trains what is missing and writes what was found.
func runObservations(command observationsCommand, stdout, stderr io.Writer) int {
	o := command.options()
	common, err := o.Common()
	if err == nil {
		err = command.check()
	}
	if err == nil {
		waitPolitely(common.Compute.Threads)
	}
	if o.Out == "" {
		o.Out = filepath.Join("runs", "observations-"+time.Now().Format("20060102-150405")) // rank 0's counts
	}
	if command.List {
		return complain(stderr, list(o, command.Ranks, stdout))
	}
	return launch(os.Stderr, func(w *mpi.World) error {
		runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
		if err := collective.Agree(w, err); err != nil {
			return err
		}
		ranks := w.Size()
		if command.Judge {
			ranks = command.Ranks
		}
		plan, err := o.Plan(ranks)
		if err := collective.Agree(w, err); err != nil {
			return err
		}
		for i := range plan {
			plan[i].Wanted = plan[i].Wanted && !command.Judge
		}
		return observe(w, plan, o.Out, common, command.progressFlags, stdout, os.Stderr)
	})
}

// list prints the runs as the tasks of jobs/observations.sh.
func list(o experiment.Options, ranks int, stdout io.Writer) error {
	runs, err := o.Plan(ranks)
	for _, r := range runs {
		if r.Wanted {
			fmt.Fprintln(stdout, strings.Join(append([]string{filepath.Base(r.Config.Run.Dir)}, r.Settings()...), "\t"))
		}
	}
	return err
}

// observe is the experiment on one rank.
func observe(world *mpi.World, plan []experiment.Run, out string, common config.Config, progress progressFlags, stdout, stderr io.Writer) error {
	site, err := openSite(world, common, stderr)
	if err != nil {
		return err
	}
	if world.Rank() != 0 {
		stdout = io.Discard
	}
	say := func(format string, args ...any) { fmt.Fprintf(stdout, format+"\n", args...) }
	results, err := experiment.Train(world, plan, func(c config.Config) error {
		how := ""
		if report.HoldsRun(c.Run.Dir) {
			how = auto
		}
		if err := agreeToResume(world, how, c.Run.Dir); err != nil {
			return err
		}
		console := progress.console(stderr, c.Train.Steps)
		e, err := enter(world, c, how, console)
		if err != nil {
			return err
		}
		defer e.leave()
		return site.train(c, e, new(ending), console, io.Discard)
	}, say)
	if err != nil {
		return err
	}
	if world.Rank() == 0 {
		var verdicts []experiment.Verdict
		if verdicts, err = experiment.Write(out, results, site.set.Test.Len()); err == nil {
			for _, v := range verdicts {
				say("%-3s %-14s %s (%s)", v.Observation, v.Outcome+":", v.Claim, v.Found)
			}
			say("written to %s", filepath.Join(out, "observations.md"))
		}
	}
	return collective.Agree(world, err)
}
