package session

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"lte/checkpoint"
	"lte/collective"
	"lte/config"
	"lte/internal/quote"
	"lte/mpi"
	"lte/report"
	"lte/train"
)

// Auto resumes the run that is in the run directory, or starts a new one where there is none.
const Auto = "auto"

// directory is the run directory of a job.
type directory struct {
	resume bool         // it holds the run already
	from   *train.Saved // the checkpoint to resume from; nil: start at the first step
	lock   *Lock        // on rank 0; nil: not locked yet
}

// agreeToResume is the error of ranks that do not agree on whether a run is to be resumed, and which.
func agreeToResume(world *mpi.World, resume, dir string) error {
	texts, err := collective.Texts(world, resume+"\x00"+dir)
	if err != nil {
		return err
	}
	var e error
	if slices.ContainsFunc(texts, func(text string) bool { return text != texts[0] }) {
		e = &config.Error{Where: "--resume " + Auto, Problem: fmt.Sprintf("the ranks do not agree on whether %s holds a run: another job has just started there, or they do not see the same file system", dir)}
	}
	return collective.Agree(world, e)
}

// openDirectory locks the directory of a run that is to be resumed and finds the checkpoint. Without resume it refuses a directory that holds a
// run; the directory is then made and locked by prepare, when the data are open.
func (p Program) openDirectory(world *mpi.World, c config.Config, resume string, stderr io.Writer) (d *directory, err error) {
	d = &directory{resume: resume != ""}
	if world.Rank() == 0 {
		switch {
		case d.resume:
			err = d.acquire(world, c.Run.Dir, stderr)
		case c.Run.Dir != "":
			err = report.CheckFree(c.Run.Dir)
		}
	}
	if err := collective.Agree(world, err); err != nil {
		return nil, err
	}
	if d.resume {
		if d.from, err = p.findCheckpoint(world, c, resume, stderr); err != nil {
			d.release()
			return nil, err
		}
	}
	return d, nil
}

// acquire locks the directory. If the lock is lost, the job ends.
func (d *directory) acquire(world *mpi.World, dir string, stderr io.Writer) (err error) {
	note := func(text string) { fmt.Fprintf(stderr, "lte: %s\n", quote.Text(text)) }
	abort := aborter(world, stderr, ExitFailed)
	d.lock, err = Acquire(dir, note, func(err error) { abort(err) })
	return err
}

// release unlocks the directory.
func (d *directory) release() {
	if d.lock != nil {
		_ = d.lock.Release() // if it fails, the next job finds out that no process holds the lock
		d.lock = nil
	}
}

// findCheckpoint returns the newest valid checkpoint, on all ranks the same one, and warns of newer ones that are not valid. It is nil where
// resume is Auto and no checkpoint was ever completed: the run starts again. The configuration must not contradict the checkpoint.
func (p Program) findCheckpoint(world *mpi.World, c config.Config, resume string, stderr io.Writer) (*train.Saved, error) {
	store := openStore(c)
	steps, err := store.Steps()
	if err := collective.Agree(world, err); err != nil {
		return nil, err
	}
	var wrong []string
	for i := 0; ; i++ {
		next := uint64(0) // rank 0's counts, from 1
		if i < len(steps) {
			next = uint64(steps[i]) + 1
		}
		all, err := collective.Numbers(world, next)
		if err != nil {
			return nil, err
		}
		if all[0] == 0 {
			break
		}
		step := int(all[0]) - 1
		saved, err := readCheckpoint(world, store, step)
		texts, broken := collective.Tell(world, err)
		if broken != nil {
			return nil, broken
		}
		at := slices.IndexFunc(texts, func(text string) bool { return text != "" })
		if at < 0 {
			return saved, collective.Agree(world, p.validateResume(world, c, saved, stderr))
		}
		problem := fmt.Sprintf("%s: %s", store.Path(step), texts[at])
		if wrong = append(wrong, problem); world.Rank() == 0 {
			fmt.Fprintf(stderr, "lte: warning: %s; trying the one before\n", quote.Text(problem))
		}
	}
	return nil, collective.Agree(world, checkRestart(world, c, resume, slices.ContainsFunc(steps, store.Finished), wrong, stderr))
}

// checkRestart prints on rank 0 that a run without a valid checkpoint starts again. It is an error where that would overwrite a checkpoint
// that was completed, perhaps by another version of the program, or a finished run. wrong says what is wrong with each checkpoint.
func checkRestart(world *mpi.World, c config.Config, resume string, completed bool, wrong []string, stderr io.Writer) error {
	if world.Rank() != 0 {
		return nil
	}
	_, ended := report.Finished(c.Run.Dir)
	found, advice := "it has none", "--resume auto starts it again"
	if wrong != nil {
		found = strings.Join(wrong, "; ")
	}
	switch {
	case completed:
		advice = "repair one, or start in another run directory; this one stays as it is"
	case ended:
		advice = "the run is finished; start in another run directory"
	case resume == Auto:
		fmt.Fprintf(stderr, "lte: %s has no complete checkpoint: the run starts again\n", quote.Text(c.Run.Dir))
		return nil
	}
	return &config.Error{Where: "--resume " + c.Run.Dir, Problem: fmt.Sprintf("no valid checkpoint to resume from (%s); %s", found, advice)}
}

// readCheckpoint reads a checkpoint: the shared part, this rank's own, and, where the checkpoint has more ranks, those of further ranks, so
// that all ranks together verify all of it.
func readCheckpoint(world *mpi.World, store *checkpoint.Store, step int) (*train.Saved, error) {
	m, err := store.Read(step)
	if err != nil {
		return nil, err
	}
	var own *checkpoint.Part
	s := &train.Saved{Manifest: m}
	if _, err = s.About(); err != nil {
		return nil, err
	}
	if s.Shared, err = store.Shared(m); err != nil {
		return nil, err
	}
	for rank := world.Rank(); rank < m.Ranks; rank += world.Size() {
		part, err := store.Rank(m, rank)
		if err != nil {
			return nil, err
		}
		if rank == world.Rank() {
			own = part
		}
	}
	s.Of = func(rank int) (*checkpoint.Part, error) {
		if rank == world.Rank() {
			return own, nil
		}
		return store.Rank(m, rank)
	}
	return s, nil
}

// validateResume prints what the configuration changes of the run, and is an error of changes that are not possible.
func (p Program) validateResume(world *mpi.World, c config.Config, s *train.Saved, stderr io.Writer) error {
	was, err := config.Read("config of the checkpoint", s.Manifest.Config)
	if err != nil {
		return err
	}
	changes := c.Changes(was)
	if err := config.Contradictions("--resume "+c.Run.Dir, changes); err != nil {
		return err
	}
	elastic, err := s.Elastic(c, world.Size())
	if err != nil || world.Rank() != 0 {
		return err
	}
	fmt.Fprintf(stderr, "lte: resumes %s after step %d\n", quote.Text(c.Run.Dir), s.Manifest.Step)
	for _, change := range changes {
		if change.Key != "run.dir" {
			fmt.Fprintf(stderr, "lte: from here on %s\n", quote.Text(change.String()))
		}
	}
	for _, text := range elastic {
		fmt.Fprintf(stderr, "lte: %s\n", quote.Text(text))
	}
	if v := s.Manifest.Version; v != p.Version {
		fmt.Fprintf(stderr, "lte: warning: the checkpoint was written by version %s, and this is %s: results may differ\n", quote.Text(v), p.Version)
	}
	return nil
}

func openStore(c config.Config) *checkpoint.Store {
	return checkpoint.Open(c.Run.Dir, c.Checkpoint.Keep, c.Checkpoint.Zstd)
}

// prepare makes and locks the directory of a new run, or readies that of a run that is resumed for more records. It returns the path.
func (d *directory) prepare(world *mpi.World, c config.Config, dataset string, console *report.Console) (string, error) {
	if !d.resume {
		dir, err := report.CreateRunDir(c, dataset, time.Now())
		if err != nil {
			return "", err
		}
		return dir, d.acquire(world, dir, console)
	}
	records := 0
	if d.from != nil {
		about, err := d.from.About()
		if err != nil {
			return "", err
		}
		records = about.Records
	}
	lost, err := report.ResumeRunDir(c, records)
	if err == nil && lost > 0 {
		console.Warn(fmt.Sprintf("metrics.jsonl lacks the last %d records before the checkpoint", lost))
	}
	return c.Run.Dir, err
}

// finished says, on all ranks, whether the run that is to be resumed has already ended.
func finished(world *mpi.World, c config.Config, stderr io.Writer) (bool, error) {
	done := uint64(0) // rank 0's counts
	if steps, ok := report.Finished(c.Run.Dir); ok && c.Train.Steps == steps {
		done = 1
	}
	all, err := collective.Numbers(world, done)
	if err == nil && all[0] == 1 && world.Rank() == 0 {
		fmt.Fprintf(stderr, "lte: %s is finished after %d steps; to train longer, raise train.steps\n", quote.Text(c.Run.Dir), c.Train.Steps)
	}
	return all[0] == 1, err
}

// keepCheckpoints makes a run write checkpoints into its directory; o is empty but on rank 0.
func (s *Session) keepCheckpoints(t *train.Trainer, c config.Config, o *output, stop *stopRequest) {
	var text strings.Builder
	_ = c.Write(&text) // a strings.Builder returns no error
	k := train.CheckpointOptions{Store: openStore(c), Version: s.program.Version, Config: text.String(), Stop: stop.reason}
	if o.files != nil {
		k.Sync = o.files.Sync
	}
	t.Checkpoint(k)
}
