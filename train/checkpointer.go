package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lte/checkpoint"
	"lte/collective"
	"lte/method"
)

// CheckpointOptions say how a run writes checkpoints.
type CheckpointOptions struct {
	Store   *checkpoint.Store
	Version string // of the program
	Config  string // the run's, as TOML
	// Sync, on rank 0, flushes to the disk what the observer has written.
	Sync func() error
	// Stop is asked about once a second why this rank wants the run to end now: 0 if it does not. All ranks end if one does.
	Stop func() (reason uint64)
}

// Checkpoint makes Run write checkpoints, as the configuration says.
func (t *Trainer) Checkpoint(o CheckpointOptions) {
	t.checkpoints = &checkpointer{CheckpointOptions: o, trainer: t, gap: 1, next: t.step + 1, asked: time.Now(), began: time.Now(), last: none}
	if t.step > 0 {
		t.checkpoints.last = t.step
	}
}

// checkpointer writes a rank's part of the checkpoints. State is copied between two steps and written while training continues. The ranks
// agree between two steps, about once a second: on whether all have written their parts, one wants to stop, or a checkpoint is due. If
// a merge follows, the checkpoint waits for it. A nil checkpointer writes none.
type checkpointer struct {
	CheckpointOptions
	trainer *Trainer
	gap     int                // steps between two agreements
	next    int                // step of the next one
	asked   time.Time          // of the last one
	stop    uint64             // why the run is to end here, or after the merge that follows
	due     bool               // a checkpoint is, here or after the merge that follows
	began   time.Time          // of the last checkpoint
	last    int                // step of the last checkpoint, or that the run was resumed at
	pending *pendingCheckpoint // nil: none is being written
	memory  []byte             // of snapshots
}

const none = -1

// pendingCheckpoint is a checkpoint that is being written. All ranks have one or none.
type pendingCheckpoint struct {
	manifest   checkpoint.Manifest // on rank 0
	best       bool
	committing bool              // on rank 0: all parts are written
	idle       chan struct{}     // closed when what was begun last has ended, and the following are set
	parts      []checkpoint.File // on rank 0 the shared one, then this rank's
	err        error
}

// Words of a rank's message to the others.
const (
	saysElapsed = iota // ns since the last agreement
	saysStop           // why
	saysDue            // 1: a checkpoint is due by this rank's clock
	saysFailing        // 1: a value was not finite
	saysState          // of the checkpoint: one of the following
	saysBytes          // of its own part
	saysSum            // XXH64 of it
	words
)

// States of a rank's checkpoint.
const (
	isNone uint64 = iota
	isBusy
	isWritten   // this rank's parts
	isCommitted // on rank 0: complete
	isFailed
)

// InterruptedError ends a run before its last step, on all ranks after the same one.
type InterruptedError struct {
	Step   int
	Reason uint64 // the largest of all ranks' CheckpointOptions.Stop
	Path   string // of the checkpoint of that step
	Saved  bool   // it was written
}

func (e *InterruptedError) Error() string {
	if !e.Saved {
		return fmt.Sprintf("stopped after step %d without a checkpoint of it", e.Step)
	}
	return fmt.Sprintf("stopped after step %d: %s is written", e.Step, e.Path)
}

// CheckpointError is a checkpoint that could not be written. All ranks have the same one.
type CheckpointError struct {
	Step, Rank int    // the first rank that failed
	Problem    string // on that rank
}

func (e *CheckpointError) Error() string {
	return fmt.Sprintf("the checkpoint of step %d was not written, those before it stay valid: rank %d: %s", e.Step, e.Rank, e.Problem)
}

// afterStep follows every step; merging says that a merge follows.
func (c *checkpointer) afterStep(merging bool) error {
	if c == nil || c.trainer.step < c.next || c.trainer.config.Exchange.Overlap && !merging { // an exchange is pending
		return nil
	}
	all, err := c.agree()
	if err != nil {
		return err
	}
	c.due, c.stop = all[0][saysDue] > 0 && c.pending == nil, 0
	failing := false
	for _, said := range all {
		c.stop, failing = max(c.stop, said[saysStop]), failing || said[saysFailing] > 0
	}
	if failing { // the merge returns the error
		c.due, c.stop = false, 0
	}
	elapsed := max(1, time.Duration(all[0][saysElapsed])) // the same for all ranks
	c.gap = max(1, int(float64(c.gap)*min(2, float64(time.Second)/float64(elapsed))))
	c.next = c.trainer.step + c.gap
	if merging {
		return nil
	}
	return c.act(false)
}

// afterMerge follows a merge and its report, after an interval of k steps.
func (c *checkpointer) afterMerge(k int) error {
	if c == nil {
		return nil
	}
	t := c.trainer
	if every := t.config.Checkpoint.Merges; every > 0 {
		if t.config.Spec().Merges != method.Nothing {
			c.due = c.due || t.algorithm.counts().merges%every == 0
		} else {
			c.due = c.due || t.step/every > (t.step-k)/every
		}
	}
	return c.act(t.isBest && t.config.Checkpoint.Best)
}

// atEnd saves the end of the run, before the report of its last interval of k steps: that is made again if the run is to become longer.
func (c *checkpointer) atEnd(k int) error {
	if c == nil || c.trainer.step < c.trainer.config.Train.Steps {
		return nil
	}
	c.trainer.unreported = k
	return c.saveNow(false)
}

// act does what was found to be due.
func (c *checkpointer) act(best bool) error {
	step := c.trainer.step
	switch {
	case step == c.trainer.config.Train.Steps: // atEnd has saved it
		if best {
			return c.markBest()
		}
	case c.stop > 0:
		if err := c.saveNow(best); err != nil {
			return err
		}
		return &InterruptedError{Step: step, Reason: c.stop, Path: c.Store.Path(step), Saved: c.last == step}
	case c.due || best:
		c.due = false
		if err := c.finish(); err != nil { // checkpoints faster than the disk wait for it
			return err
		}
		return c.save(best)
	}
	return nil
}

// markBest makes the last checkpoint the best.
func (c *checkpointer) markBest() error {
	if c.last != c.trainer.step {
		return nil // it could not be written
	}
	var err error
	if c.trainer.meter.Rank() == 0 {
		err = c.Store.MarkBest(c.trainer.step)
	}
	return c.agreeOnFailure(err)
}

// saveNow writes a checkpoint and waits for it.
func (c *checkpointer) saveNow(best bool) error {
	if err := c.finish(); err != nil {
		return err
	}
	if err := c.save(best); err != nil {
		return err
	}
	return c.finish()
}

// save begins a checkpoint, unless the last one is of this step, or the run has failed: after a failure, resume from the previous
// checkpoint.
func (c *checkpointer) save(best bool) error {
	t := c.trainer
	if c.last == t.step || t.algorithm.settle() {
		return nil
	}
	if err := t.meter.For(collective.Control).NodeBarrier(); err != nil { // all have written to shared memory
		return err
	}
	state, rank := t.state(), t.meter.Rank()
	p := &pendingCheckpoint{best: best, idle: make(chan struct{})}
	all := []checkpoint.Tensor(state.Own)
	if rank == 0 {
		run, err := json.Marshal(t.about())
		if err != nil {
			return fmt.Errorf("describing the run for a checkpoint: %w", err)
		}
		p.manifest = checkpoint.Manifest{Version: c.Version, Created: time.Now().UTC().Truncate(time.Second), Step: t.step,
			Ranks: t.meter.Size(), Run: run, Config: c.Config}
		all = append(state.Shared, state.Own...)
	}
	var copies []checkpoint.Tensor
	copies, c.memory = checkpoint.Snapshot(c.memory, all)
	own := copies[len(all)-len(state.Own):]
	c.began, c.last, c.pending = time.Now(), t.step, p
	step := t.step
	go func() {
		defer close(p.idle)
		write := func(f checkpoint.File, err error) {
			p.parts, p.err = append(p.parts, f), errors.Join(p.err, err)
		}
		if rank == 0 {
			write(c.Store.WriteShared(step, copies[:len(state.Shared)]))
		}
		if p.err == nil {
			write(c.Store.WriteRank(step, rank, own))
		}
	}()
	return nil
}

// finish waits for the checkpoint that is being written.
func (c *checkpointer) finish() error {
	for c.pending != nil {
		<-c.pending.idle
		if _, err := c.agree(); err != nil {
			return err
		}
	}
	return nil
}

// agree exchanges the ranks' messages, and takes their checkpoint one stage further when all are ready for it.
func (c *checkpointer) agree() (all [][words]uint64, err error) {
	t := c.trainer
	t.activity.begin(agreeing, t.step)
	t.algorithm.settle()
	own := c.message()
	flat := make([]uint64, words*t.meter.Size())
	if err := collective.Allgather(t.meter.For(collective.Control), flat, own[:]); err != nil {
		return nil, fmt.Errorf("agreeing on checkpoints: %w", err)
	}
	c.asked = time.Now()
	count := map[uint64]int{}
	for rank := range t.meter.Size() {
		all = append(all, [words]uint64(flat[rank*words:]))
		count[all[rank][saysState]]++
	}
	switch p := c.pending; {
	case p == nil || count[isBusy] > 0:
	case count[isFailed] > 0:
		c.pending = nil
		return all, c.agreeOnFailure(p.err)
	case count[isCommitted] > 0:
		c.pending = nil
	case t.meter.Rank() == 0:
		p.commit(c.Store, c.Sync, all)
	}
	return all, nil
}

// message is what this rank tells the others.
func (c *checkpointer) message() (w [words]uint64) {
	w[saysElapsed] = uint64(time.Since(c.asked))
	w[saysStop] = c.Stop()
	if m := c.trainer.config.Checkpoint.Minutes; m > 0 && time.Since(c.began).Minutes() >= m {
		w[saysDue] = 1
	}
	if c.trainer.sinceMerge.status.Failed > 0 {
		w[saysFailing] = 1
	}
	p := c.pending
	if p == nil {
		return w
	}
	select {
	case <-p.idle:
	default:
		w[saysState] = isBusy
		return w
	}
	switch {
	case p.err != nil:
		w[saysState] = isFailed
	case p.committing:
		w[saysState] = isCommitted
	default:
		own := p.parts[len(p.parts)-1]
		w[saysState], w[saysBytes], w[saysSum] = isWritten, uint64(own.Bytes), own.Sum()
	}
	return w
}

// commit completes the checkpoint whose parts all ranks have written, on rank 0.
func (p *pendingCheckpoint) commit(store *checkpoint.Store, sync func() error, all [][words]uint64) {
	p.manifest.Parts = p.parts
	for rank, said := range all[1:] {
		p.manifest.Parts = append(p.manifest.Parts, store.RankFile(rank+1, int64(said[saysBytes]), said[saysSum]))
	}
	p.committing, p.idle = true, make(chan struct{})
	go func() {
		defer close(p.idle)
		if p.err = sync(); p.err == nil {
			p.err = store.Commit(p.manifest, p.best)
		}
	}()
}

// agreeOnFailure gives the last checkpoint up if any rank has an error, and warns rank 0's observer or ends the run.
func (c *checkpointer) agreeOnFailure(err error) error {
	t := c.trainer
	texts, err := collective.Tell(t.meter.For(collective.Control), err)
	if err != nil {
		return err
	}
	rank := slices.IndexFunc(texts, func(text string) bool { return text != "" })
	if rank < 0 {
		return nil
	}
	e := &CheckpointError{Step: c.last, Rank: rank, Problem: texts[rank]}
	c.last = none
	if t.config.Checkpoint.OnError == "stop" {
		return e
	}
	if t.observer != nil {
		t.observer.Warn(e.Error())
	}
	return nil
}
