package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"lte/collective"
	"lte/config"
	"lte/experiment"
	"lte/internal/session"
	"lte/mpi"
)

// experimentCommands are those of lte experiment.
type experimentCommands struct {
	Observations observationsCommand `cmd:"" help:"Train all methods on equally many images and test the paper's five observations."`
	Rates        ratesCommand        `cmd:"" help:"Find the best learning rate of a configuration, on images held out from the training images."`
}

// observationsCommand is lte experiment observations.
type observationsCommand struct {
	Data   string             `help:"Image set: whatever data.path may name; empty: the embedded digits." placeholder:"PATH"`
	Out    string             `help:"Folder of the runs, the tables and the curves; finished runs in it are not repeated. A new one under runs/ by default." placeholder:"DIR"`
	Heads  int                `help:"Heads N of lte and mhlora, divided among the ranks." default:"8"`
	Rank   int                `help:"Rank r of a head." default:"16"`
	Images int                `help:"Images per run." default:"96000"`
	Batch  int                `help:"Images per step, of all ranks and heads together." default:"128"`
	Seeds  int                `help:"Runs of each method: seeds 1 to N." default:"1"`
	LR     map[string]float64 `name:"lr" help:"Peak learning rate of a run. Repeatable." placeholder:"NAME=RATE"`
	Only   []string           `help:"Train only these (${runs}); finished runs are judged." placeholder:"NAME"`
	More   bool               `help:"Also lte with 40 % more images."`
	Set    []string           `help:"Set one key in all runs. Repeatable." placeholder:"SECTION.KEY=VALUE" sep:"none"`
	List   bool               `help:"Print each run's name and the settings of lte train for it, separated by tabs; train nothing." xor:"what"`
	Judge  bool               `help:"Judge the finished runs; train nothing." xor:"what"`
	Ranks  int                `help:"Ranks that train, for --list and --judge, which need no launcher." default:"1"`
	progressFlags
}

// Run trains the runs that are missing and writes the results.
func (command observationsCommand) Run(p *process) error {
	o := experiment.Options{Data: command.Data, Out: command.Out, Heads: command.Heads, Rank: command.Rank, Images: command.Images,
		Batch: command.Batch, Seeds: command.Seeds, Rates: command.LR, Only: command.Only, More: command.More, Set: command.Set}
	common, err := o.Common()
	if err == nil {
		err = command.check()
	}
	if err == nil {
		session.DisableSpinning(common.Compute.Threads)
	}
	if o.Out == "" {
		o.Out = newFolder("observations")
	}
	if command.List {
		return list(o, command.Ranks, p.stdout)
	}
	return p.launch(func(w *mpi.World) error {
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
		return command.observe(w, plan, o.Out, common, p)
	})
}

// newFolder is a folder below runs/, named after the time. That of rank 0 counts.
func newFolder(name string) string {
	return filepath.Join("runs", name+"-"+time.Now().Format("20060102-150405"))
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

// observe makes the runs on one rank.
func (command observationsCommand) observe(world *mpi.World, plan []experiment.Run, out string, common config.Config, p *process) error {
	s, err := session.Open(world, p.Program, common, p.own.stderr)
	if err != nil {
		return err
	}
	say := p.sayer(world)
	results, err := experiment.Train(world, plan, func(c config.Config) error {
		return s.TrainOrResume(c, command.console(p.own.stderr, c.Train.Steps))
	}, say)
	if err != nil {
		return err
	}
	return onFirst(world, func() error {
		verdicts, err := experiment.Write(out, results, s.Set.Test.Len())
		if err != nil {
			return err
		}
		for _, v := range verdicts {
			say("%-3s %-14s %s (%s)", v.Observation, v.Outcome+":", v.Claim, v.Found)
		}
		say("written to %s", filepath.Join(out, "observations.md"))
		return nil
	})
}
