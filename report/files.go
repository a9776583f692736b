package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"lte/internal/file"
	"lte/record"
)

// Files writes the records of a run, without a buffer, to metrics.jsonl and to a TensorBoard event file.
type Files struct {
	metrics *os.File
	events  *eventFile
	now     func() time.Time
}

// NewFiles opens the files in dir, which exists. An existing metrics.jsonl is appended to.
func NewFiles(dir string) (*Files, error) {
	metrics, err := file.OpenOwn(filepath.Join(dir, record.MetricsFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND)
	if err != nil {
		return nil, fmt.Errorf("report: cannot write metrics: %w", err)
	}
	events, err := newEventFile(dir, time.Now())
	if err != nil {
		metrics.Close()
		return nil, fmt.Errorf("report: cannot write TensorBoard events: %w", err)
	}
	return &Files{metrics: metrics, events: events, now: time.Now}, nil
}

// Sync flushes the metrics to disk.
func (f *Files) Sync() error {
	if err := f.metrics.Sync(); err != nil {
		return fmt.Errorf("report: cannot flush the metrics to disk: %w", err)
	}
	return nil
}

// Resumed tells TensorBoard that the run resumes after that step, so that it drops later events of older files.
func (f *Files) Resumed(step int) error {
	if err := f.events.resumed(f.now(), int64(step)+1); err != nil {
		return fmt.Errorf("report: cannot write TensorBoard events: %w", err)
	}
	return nil
}

// Record writes a record.
func (f *Files) Record(r record.Record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("report: cannot encode the record of step %d: %w", r.Step, err)
	}
	if _, err := f.metrics.Write(append(line, '\n')); err != nil { // one write: no reader sees half a line
		return fmt.Errorf("report: cannot write the metrics of step %d: %w", r.Step, err)
	}
	if err := f.events.scalars(f.now(), int64(r.Step), scalarsOf(r)); err != nil {
		return fmt.Errorf("report: cannot write the TensorBoard event of step %d: %w", r.Step, err)
	}
	return nil
}

// Close closes the files.
func (f *Files) Close() error {
	return errors.Join(f.metrics.Close(), f.events.close())
}

// scalarsOf lists the TensorBoard scalars that a record has.
func scalarsOf(r record.Record) []scalar {
	all := []scalar{
		{"train/loss", &r.TrainLoss},
		{"train/lr", &r.LR},
		{"train/images_per_second", &r.ImagesPerSecond},
		{"train/data_wait", &r.DataWait},
		{"train/merges", new(float64(r.Merges))},
		{"train/moments_cleared", new(float64(r.MomentsCleared))},
		{"traffic/bytes_sent_per_rank", new(float64(r.BytesSent))},
		{"traffic/merge/sent", new(float64(r.Traffic.Merge.Sent))},
		{"traffic/merge/received", new(float64(r.Traffic.Merge.Received))},
		{"traffic/gradients/sent", new(float64(r.Traffic.Gradients.Sent))},
		{"traffic/gradients/received", new(float64(r.Traffic.Gradients.Received))},
		{"traffic/evaluation/sent", new(float64(r.Traffic.Evaluation.Sent))},
		{"traffic/evaluation/received", new(float64(r.Traffic.Evaluation.Received))},
		{"traffic/control/sent", new(float64(r.Traffic.Control.Sent))},
		{"traffic/control/received", new(float64(r.Traffic.Control.Received))},
		{"test/top1", r.TestTop1},
		{"test/loss", r.TestLoss},
		{"test/ema_top1", r.AverageTop1},
		{"test/ema_loss", r.AverageLoss},
		{"measure/gradient_rank", r.GradientRank},
		{"measure/update_rank", r.UpdateRank},
		{"measure/alignment", r.Alignment},
		{"measure/grassmann", r.Grassmann},
		{"measure/gradient_norm", r.GradientNorm},
		{"measure/update_norm", r.UpdateNorm},
		{"measure/weight_norm", r.WeightNorm},
	}
	return slices.DeleteFunc(all, func(s scalar) bool { return s.value == nil })
}
