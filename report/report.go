// Package report shows and stores the progress of a run on rank 0: on the console, in the files of the run directory
// (docs/run-directory.md), and as a table at the end. Package train calls it through record.Observer.
//
// Sources: TensorFlow's event.proto and record_writer.cc for the event files.
package report

import (
	"errors"

	"lte/record"
)

// Multi returns an observer that calls all observers in order, those behind one that fails included. Nil observers are dropped.
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
