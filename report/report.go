// Package report is what a run says of itself: progress on the console, the files of its run directory (described in
// docs/run-directory.md), and the table at its end. It sees train's records and nothing else of a run, and it works on
// rank 0 alone.
//
// Sources: TensorFlow's event.proto and record_writer.cc for the event files.
package report

import (
	"errors"

	"lte/record"
)

// Multi returns an observer that tells every one of observers, in order; nil ones are left out. Where one fails the
// others are told nevertheless.
func Multi(observers ...record.Observer) record.Observer {
	var m multi
	for _, o := range observers {
		if o != nil {
			m = append(m, o)
		}
	}
	return m
}

type multi []record.Observer

func (m multi) Progress(step int, loss float64) {
	for _, o := range m {
		o.Progress(step, loss)
	}
}

func (m multi) Record(r record.Record) error {
	var errs []error
	for _, o := range m {
		errs = append(errs, o.Record(r))
	}
	return errors.Join(errs...)
}

func (m multi) Note(text string) {
	for _, o := range m {
		o.Note(text)
	}
}

func (m multi) Warn(text string) {
	for _, o := range m {
		o.Warn(text)
	}
}
