package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"lte/collective"
	"lte/config"
	"lte/experiment"
	"lte/internal/session"
	"lte/mpi"
	"lte/train"
)

// ratesCommand is lte experiment rates.
type ratesCommand struct {
	keys
	Out     string  `help:"Folder of the runs and of rates.csv; finished runs in it are not repeated, an interrupted one is resumed. A new one under runs/ by default." placeholder:"DIR"`
	Factor  float64 `help:"Factor between neighbouring rates. The first is optimizer.lr." default:"2"`
	Seeds   int     `help:"Runs of each rate, of which the mean counts: the configuration's seed and those after it." default:"1"`
	Longest int     `help:"Largest number of rates. The search ends before where the best one has a worse one on both sides." default:"7"`
	progressFlags
}

// Run trains the runs that are missing and prints the best rate.
func (command ratesCommand) Run(p *process) error {
	c, err := command.load()
	if err == nil {
		err = command.check()
	}
	if err == nil {
		session.DisableSpinning(c.Compute.Threads)
	}
	search := experiment.Rates{Config: c, Out: command.Out, Factor: command.Factor, Seeds: command.Seeds, Longest: command.Longest}
	if search.Out == "" {
		search.Out = newFolder("rates")
	}
	return p.launch(func(w *mpi.World) error {
		runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
		if err := collective.Agree(w, err); err != nil {
			return err
		}
		if err := collective.Agree(w, search.Prepare(w.Size())); err != nil {
			return err
		}
		return command.search(w, search, p)
	})
}

// search makes the runs on one rank.
func (command ratesCommand) search(world *mpi.World, search experiment.Rates, p *process) error {
	s, err := session.Open(world, p.Program, search.Config, p.own.stderr)
	if err != nil {
		return err
	}
	say := p.sayer(world)
	rate, top1, err := search.Search(world, func(c config.Config) error {
		err := s.TrainOrResume(c, command.console(p.own.stderr, c.Train.Steps))
		if errors.As(err, new(*train.NonFiniteError)) {
			err = fmt.Errorf("%w: %w", experiment.ErrDiverged, err)
		}
		return err
	}, say)
	if err != nil {
		return err
	}
	say("best: optimizer.lr=%g, top-1 %.1f %% on validation images; all runs are in %s", rate, 100*top1, filepath.Join(search.Out, "rates.csv"))
	return nil
}
