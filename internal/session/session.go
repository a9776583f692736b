// Package session is the runtime of a job around its training: it starts MPI, ends all ranks when one fails, takes signals and time limits,
// watches for ranks that hang, locks the run directory, and resumes a run from its checkpoints.
package session

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"time"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/data/picture"
	"lte/internal/footprint"
	"lte/method"
	"lte/model"
	"lte/mpi"
	"lte/record"
	"lte/report"
	"lte/train"
)

// SplitSeed fixes the split of a data set into training and test images: the same for every seed of a run.
const SplitSeed = 0

// Program is this process.
type Program struct {
	Version string
	Started time.Time // from which run.time_limit counts
}

// Train makes a run, or resumes one, on this rank. resume is a run directory, Auto, or "" for a new run. console shows progress on standard
// error; stdout gets the table at the end.
func Train(world *mpi.World, p Program, c config.Config, resume string, console *report.Console, stdout io.Writer) error {
	runtime.LockOSThread() // OpenMP's threads belong to the thread that computes
	if err := agreeToResume(world, resume, c.Run.Dir); err != nil {
		return err
	}
	if resume != "" {
		if done, err := finished(world, c, console); done || err != nil {
			return err
		}
	}
	stop := newStopRequest(world, p, c, console)
	if err := collective.Agree(world, c.Resolve(world.Size())); err != nil {
		return err
	}
	d, err := p.openDirectory(world, c, resume, console)
	if err != nil {
		return err
	}
	defer d.release()
	s, err := Open(world, p, c, console)
	if err != nil {
		return err
	}
	return s.train(c, d, stop, console, stdout)
}

// Session is the back end and the data of this rank, for one run or for several that differ in neither.
type Session struct {
	program Program
	world   *mpi.World
	threads int
	backend compute.Backend
	Set     *data.Set // the same on all ranks
}

// Open starts the back end and reads the data, on all ranks. Warnings go to stderr on rank 0.
func Open(world *mpi.World, p Program, c config.Config, stderr io.Writer) (*Session, error) {
	warn := func(format string, args ...any) {
		if world.Rank() == 0 {
			fmt.Fprintf(stderr, "lte: warning: "+format+"\n", args...)
		}
	}
	threads, err := Threads(c.Compute.Threads, world)
	if err := collective.Agree(world, err); err != nil {
		return nil, err
	}
	if cores := world.MachineCores(); threads > 1 && threads*world.MachineSize() > cores {
		warn("%d ranks of %d threads share %d cores of this machine: slower than one thread per rank; lower compute.threads or OMP_NUM_THREADS",
			world.MachineSize(), threads, cores)
	}
	ranks, cores := world.MostLoaded()
	if text := oversubscribed(ranks, cores, c); text != "" {
		warn("%s", text)
	}
	if err := world.SharedMemoryError(); err != nil {
		warn("every rank has its own copy of W, because the ranks of a node cannot share memory: %v", err)
	}
	backend, err := compute.New(c.Compute.Backend, threads, compute.DType(c.Compute.DType))
	if err != nil {
		err = &config.Error{Problem: err.Error(), Err: err}
	}
	if err := collective.Agree(world, err); err != nil {
		return nil, err
	}
	if err := footprint.CheckSizes(world, world.NodeSize(), c); err != nil {
		return nil, err
	}
	set, err := data.Open(Source(c, threads), SplitSeed)
	return &Session{p, world, threads, backend, set}, collective.Agree(world, err)
}

// oversubscribed is a warning with advice where more than 8 ranks share each core of a machine; else "".
func oversubscribed(ranks, cores int, c config.Config) string {
	if ranks <= 8*cores {
		return ""
	}
	instead := ""
	switch {
	case c.Spec().Trains != method.OwnHeads:
		instead = " and raise train.batch for as many images per step"
	case c.LoRA.Heads > 0: // resolved
		instead = fmt.Sprintf(" and give each several heads (lora.heads = %d)", c.LoRA.Heads)
	}
	return fmt.Sprintf("ranks on a machine: %d; cores that they may use: %d; more than 8 ranks per core start slowly and wait for each other: start fewer%s",
		ranks, cores, instead)
}

// Source is where the configuration says that images come from. threads prepare them where it sets no number of workers.
func Source(c config.Config, threads int) data.Source {
	d := c.Data
	o := data.Source{Synthetic: data.Synthetic(c.Synthetic), Kind: d.Kind, Path: d.Path, Classes: d.Classes, TestFraction: d.TestPart, Validation: d.Validate,
		Size: d.Size, Fit: data.Fit{Keep: d.Keep}, Normalize: d.Norm, Workers: d.Workers}
	if d.Resize == "bilinear" {
		o.Fit.Filter = picture.Bilinear
	}
	if o.Workers == 0 {
		o.Workers = threads
	}
	return o
}

// TrainOrResume makes a run in the configured directory, or resumes the one that is there, without a table and without taking signals.
func (s *Session) TrainOrResume(c config.Config, console *report.Console) error {
	resume := ""
	if report.HoldsRun(c.Run.Dir) {
		resume = Auto
	}
	if err := agreeToResume(s.world, resume, c.Run.Dir); err != nil {
		return err
	}
	d, err := s.program.openDirectory(s.world, c, resume, console)
	if err != nil {
		return err
	}
	defer d.release()
	return s.train(c, d, new(stopRequest), console, io.Discard)
}

// train makes a run of a resolved configuration, or resumes one, until it ends or stop says so.
func (s *Session) train(c config.Config, d *directory, stop *stopRequest, console *report.Console, stdout io.Writer) error {
	world := s.world
	defer console.Finish()
	if err := footprint.CheckRun(world, world.NodeSize(), c, s.Set); err != nil {
		return err
	}
	var t *train.Trainer
	var err error
	if d.from == nil {
		t, err = train.New(c, world, s.Set, s.backend)
	} else {
		t, err = train.Resume(c, world, s.Set, s.backend, *d.from)
	}
	if err := collective.Agree(world, err); err != nil {
		return err
	}
	o := new(output)             // empty but on rank 0
	var observer record.Observer // nil but on rank 0
	if world.Rank() == 0 {
		if o, err = newOutput(world, c, s.Set.Name, d, console); err == nil {
			observer = o
			defer o.files.Close()
		}
	}
	if err := collective.Agree(world, err); err != nil {
		return err
	}
	dirs, err := collective.Texts(world, o.dir)
	if err != nil {
		return err
	}
	c.Run.Dir = dirs[0]
	if c.Checkpoint.Keep > 0 {
		s.keepCheckpoints(t, c, o, stop)
	}
	if c.Run.Watchdog > 0 && world.Size() > 1 {
		defer s.watchdog(t, c, console).start()()
	}

	stop.training.Store(true)
	summary, err := t.Run(observer)
	console.Finish()
	if e := new(train.InterruptedError); errors.As(err, &e) {
		return &interruptedError{InterruptedError: e, reason: reasonText(e.Reason)}
	}
	if err != nil && !shared(err) {
		return err
	}
	var saved error // after a shared error too: the weights are those of the last merge
	if world.Rank() == 0 {
		if saved = o.saveModel(t, err == nil); saved == nil && err == nil {
			summary.Threads, summary.MPI, summary.Version = s.threads, mpi.Library(), s.program.Version
			if saved = record.WriteSummary(o.dir, summary); saved == nil {
				report.Table(stdout, summary, o.dir)
			}
		}
	}
	return errors.Join(err, collective.Agree(world, saved))
}

// output is the observer of a run on rank 0: the console and the files of the run directory.
type output struct {
	*report.Console
	dir   string
	files *report.Files
}

// Record implements record.Observer.
func (o *output) Record(r record.Record) error {
	return errors.Join(o.Console.Record(r), o.files.Record(r))
}

// newOutput makes the run directory of a run, or prepares that of one that is resumed.
func newOutput(world *mpi.World, c config.Config, dataset string, d *directory, console *report.Console) (*output, error) {
	dir, err := d.prepare(world, c, dataset, console)
	if err != nil {
		return nil, err
	}
	files, err := report.NewFiles(dir)
	if err == nil && d.from != nil {
		err = files.Resumed(d.from.Manifest.Step)
	}
	if err != nil {
		return nil, err
	}
	return &output{console, dir, files}, nil
}

// saveModel writes the weights, and their average where there is one and the run is complete.
func (o *output) saveModel(t *train.Trainer, complete bool) error {
	if err := model.Save(filepath.Join(o.dir, "model.safetensors"), t.Model().Parameters()); err != nil || !complete {
		return err
	}
	if average := t.Average(); average != nil {
		return model.Save(filepath.Join(o.dir, "model_ema.safetensors"), average)
	}
	return nil
}
