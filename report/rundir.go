package report

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"lte/config"
	"lte/internal/file"
	"lte/record"
)

// CreateRunDir creates the directory of a run and its config.toml: c.Run.Dir, or a new runs/METHOD-DATASET-TIME if that is empty. The
// error is a *config.Error if the directory holds a run already; of processes that race for a directory, one gets it.
func CreateRunDir(c config.Config, dataset string, now time.Time) (dir string, err error) {
	if dir = c.Run.Dir; dir == "" {
		dir, err = newRunDir(fmt.Sprintf("%s-%s-%s", c.Method, dataset, now.Format("20060102-150405")))
	} else {
		err = useRunDir(dir)
	}
	if err != nil {
		return "", err
	}
	err = createSynced(ConfigPath(dir), encode(c))
	switch {
	case errors.Is(err, fs.ErrExist): // another process was quicker
		return "", taken(dir, record.ConfigFile)
	case err != nil:
		return "", fmt.Errorf("report: cannot write the run directory %s: %w", dir, err)
	}
	return dir, nil
}

// Finished reports whether the directory holds a finished run, and its steps.
func Finished(dir string) (steps int, ok bool) {
	s, err := record.ReadSummary(dir)
	return s.Steps, err == nil
}

// HoldsRun reports whether the directory holds a run, finished or not.
func HoldsRun(dir string) bool {
	_, err := os.Stat(ConfigPath(dir))
	return err == nil
}

// ConfigPath returns the path of the run's configuration.
func ConfigPath(dir string) string { return filepath.Join(dir, record.ConfigFile) }

// ResumeRunDir prepares the directory of a run to be resumed: it writes the new config.toml, removes the summary and shortens
// metrics.jsonl to its first records; lost counts those that it lacks.
func ResumeRunDir(c config.Config, records int) (lost int, err error) {
	dir, text := c.Run.Dir, encode(c)
	if old, unread := file.Read(ConfigPath(dir), int64(len(text))); unread != nil || !bytes.Equal(old, text) {
		err = file.WriteBytes(ConfigPath(dir), text)
	}
	if err == nil {
		if err = os.Remove(filepath.Join(dir, record.SummaryFile)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		lost, err = record.TruncateMetrics(dir, records)
	}
	if err != nil {
		return 0, fmt.Errorf("report: cannot resume in the run directory %s: %w", dir, err)
	}
	return lost, nil
}

func encode(c config.Config) []byte {
	var text bytes.Buffer
	_ = c.Write(&text) // a bytes.Buffer returns no error
	return text.Bytes()
}

// newRunDir creates runs/name, or the first of runs/name-2, runs/name-3, … that is free.
func newRunDir(name string) (string, error) {
	if err := os.MkdirAll("runs", 0o755); err != nil {
		return "", fmt.Errorf("report: cannot make the folder of run directories: %w", err)
	}
	dir := filepath.Join("runs", name)
	for i := 2; ; i++ {
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("report: cannot make the run directory: %w", err)
		}
		dir = filepath.Join("runs", fmt.Sprintf("%s-%d", name, i))
	}
}

// CheckFree returns the error of CreateRunDir if the directory holds any file of a run.
func CheckFree(dir string) error {
	for _, name := range []string{record.ConfigFile, record.MetricsFile, record.SummaryFile, "checkpoints", "model.safetensors", "model_ema.safetensors"} {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
			return taken(dir, name)
		}
	}
	return nil
}

// useRunDir creates the directory that the user named, or checks that it holds no run.
func useRunDir(dir string) error {
	if err := CheckFree(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return &config.Error{Where: dir, Keys: []string{"run.dir"}, Err: err,
			Problem: fmt.Sprintf("cannot make the run directory (%v); choose another --run-dir", err)}
	}
	return nil
}

func taken(dir, found string) error {
	return &config.Error{Where: dir, Keys: []string{"run.dir"},
		Problem: fmt.Sprintf("the run directory holds a run already (%s), which stays as it is; resume it with --resume, or choose another --run-dir", found)}
}

// createSynced writes a new file and flushes it to disk. The error is fs.ErrExist if it exists.
func createSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
