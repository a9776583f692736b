package report

import (
	stdbytes "bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"lte/config"
	"lte/train"
)

// Read returns what a finished run left in its directory: its configuration, its summary, and its records. The error is
// a fs.ErrNotExist where there is no run, or none that came to its end. A number that was not finite reads as 0.
func Read(dir string) (c config.Config, s train.Summary, records []train.Record, err error) {
	wrap := func(name string, err error) error {
		return fmt.Errorf("report: reading %s: %w", filepath.Join(dir, name), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, summaryFile))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return c, s, nil, wrap(summaryFile, err)
	}
	if text, err = os.ReadFile(filepath.Join(dir, metricsFile)); err != nil {
		return c, s, nil, wrap(metricsFile, err)
	}
	for line := range stdbytes.Lines(text) {
		var r train.Record
		if err := json.Unmarshal(line, &r); err != nil {
			return c, s, nil, wrap(metricsFile, fmt.Errorf("line %d: %w", len(records)+1, err))
		}
		records = append(records, r)
	}
	c, err = config.Load(filepath.Join(dir, configFile), nil)
	return c, s, records, err
}
