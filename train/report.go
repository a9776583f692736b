package train

import (
	"fmt"
	"runtime"
	"syscall"
	"time"

	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/method"
	"lte/record"
	"lte/task"
)

// evaluation is what reports are made of, and the last of them.
type evaluation struct {
	probe  *probe // nil: nothing is measured
	last   record.Record
	isBest bool // the last step's test_top1 is the largest
}

// report evaluates, measures and records if one of the last k steps was a multiple of the interval for it, or the last.
func (t *Trainer) report(k int) error {
	t.unreported, t.isBest = 0, false
	due := func(every int) bool { return every > 0 && t.step/every > (t.step-k)/every }
	end := t.step == t.config.Train.Steps
	evaluate := end || due(t.config.Run.EvalEvery)
	measure := t.probe != nil && (end || due(t.config.Measure.Every))
	if !evaluate && !measure && !due(t.config.Run.LogEvery) {
		return nil
	}
	t.algorithm.loadMerged()
	now, images := time.Now(), t.images()
	done := t.algorithm.counts()
	r := record.Record{Step: t.step, Images: int64(images), LR: t.lr, Merges: done.merges, MomentsCleared: done.cleared,
		TrainLoss:       t.losses / float64(t.merged),
		ImagesPerSecond: float64(images-t.lastImages) / now.Sub(t.seconds.lastAt).Seconds()}
	if evaluate {
		if err := t.evaluateInto(&r); err != nil {
			return err
		}
	}
	if measure {
		if err := t.measure(&r); err != nil {
			return err
		}
	}
	r.Seconds, r.BytesSent = time.Since(t.seconds.started).Seconds(), t.meter.Sent()
	r.Traffic, r.DataWait = t.Traffic(), t.waited
	t.losses, t.merged, t.lastImages, t.seconds.lastAt, t.last = 0, 0, images, time.Now(), r
	t.records++
	if t.observer == nil {
		return nil
	}
	t.keepFinite()
	return t.observer.Record(r)
}

// evaluateInto records the evaluation of the merged weights, and of their moving average if there is one.
func (t *Trainer) evaluateInto(r *record.Record) error {
	loss, top1, err := t.evaluate()
	if err != nil {
		return err
	}
	r.TestLoss, r.TestTop1 = &loss, &top1
	t.isBest, t.best = top1 > t.best, max(t.best, top1)
	return t.withAverage(func() error {
		loss, top1, err := t.evaluate()
		r.AverageLoss, r.AverageTop1 = &loss, &top1
		return err
	})
}

// evaluate returns the mean loss and the accuracy of the merged weights W on the test split, which is divided among the ranks.
func (t *Trainer) evaluate() (loss, top1 float64, err error) {
	t.model.UseMerged()
	var score task.Score
	err = data.EachBatch(t.set, t.set.Test, t.config.Train.EvalBatch, t.meter.Rank(), t.meter.Size(), func(b *data.Batch) error {
		t.activity.begin(evaluating, t.step)
		t.task.Score(&score, t.model.Forward(b.Images), b)
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	sums := []float64{score.Loss, score.Right, score.Examples}
	if err := collective.Sum(t.meter.For(collective.Evaluation), sums); err != nil {
		return 0, 0, err
	}
	return sums[0] / sums[2], sums[1] / sums[2], nil
}

// images is the number of images that all workers of all ranks have seen.
func (t *Trainer) images() int { return t.shift + t.step*imagesPerStep(t.config, t.meter.Size()) }

// imagesPerStep is the number that they see in a step.
func imagesPerStep(c config.Config, ranks int) int {
	switch {
	case c.Data.Share == "same":
		return c.Train.Batch
	case c.Spec().Trains == method.OwnHeads:
		return c.Train.Batch * c.LoRA.Heads
	}
	return c.Train.Batch * ranks
}

func (t *Trainer) summary() record.Summary {
	c, size := t.config, t.meter.Size()
	weights := len(t.model.Flat())
	done := t.algorithm.counts()
	s := record.Summary{Method: c.Method, Model: ModelName(c.Model), Dataset: t.set.Name, Ranks: size, Wire: c.Exchange.Wire, Steps: t.step,
		Merges: done.merges, MomentsCleared: done.cleared, Images: t.last.Images, Seconds: t.last.Seconds,
		ImagesPerSecond: float64(t.last.Images) / t.last.Seconds, DataWait: t.last.DataWait,
		TestTop1: *t.last.TestTop1, TestLoss: *t.last.TestLoss, TrainLoss: t.last.TrainLoss,
		AverageTop1: t.last.AverageTop1, AverageLoss: t.last.AverageLoss,
		BytesSentPerRank: t.last.BytesSent, Traffic: t.last.Traffic,
		DDPBytesPerRank: int64(t.step) * collective.AllreduceBytes(int64(weights), size),
		PeakMemory:      PeakMemory(),
		WeightsDigest:   t.digest(), Parameters: int64(weights), Trained: int64(t.Trained()),
		Seed: c.Seed, Backend: t.backend.Name()}
	if c.Spec().HasHeads() {
		s.Heads, s.LoRARank, s.LoRAAlpha = c.LoRA.Heads, c.LoRA.Rank, c.LoRA.Alpha
	}
	r, _ := t.route()
	s.Transports, s.Network = r.Transports, (*record.Network)(r.Network)
	if c.Spec().Merges != method.Nothing {
		s.MergeEvery = c.Merge.Every
	}
	return s
}

// digest is that of the bits of all parameters, in order.
func (t *Trainer) digest() string {
	var all []float32
	for _, p := range t.model.Parameters() {
		all = append(all, p.Value...)
	}
	return fmt.Sprintf("%016x", collective.Digest(all))
}

// PeakMemory is the largest resident set of this process so far, in bytes; 0 where the system does not report it.
func PeakMemory() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return u.Maxrss
	}
	return u.Maxrss * 1024
}

// ModelName is the preset's name, or "KIND-WIDTHxDEPTH/PATCH".
func ModelName(m config.Model) string {
	if m.Preset != "" {
		return m.Preset
	}
	return fmt.Sprintf("%s-%dx%d/%d", m.Kind, m.Width, m.Depth, m.Patch)
}
